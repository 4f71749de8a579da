"""Table estimators try variants of the recipe on held-out rows."""

import numpy as np
import pytest

from fastmlp import TabularMLPClassifier, TabularMLPRegressor
from fastmlp.estimators.tabular import trials
from fastmlp.model.inputs import PiecewiseLinear
from fastmlp.training.interruption import Interruption

N = 1200
RNG = np.random.RandomState(0)
SHOP, X = RNG.randint(0, 40, N), RNG.standard_normal((N, 3))
EFFECT = RNG.standard_normal(40)


def frame():
    return {"shop": SHOP, "a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}


def variant(model):
    """(whether numbers are coded piecewise linearly, dropout) of each member."""
    return [
        (any(isinstance(one, PiecewiseLinear) for one in member.inputs), member.layers[0].dropout)
        for member in model.members_
    ]


def quick(kind, **options):
    return kind(hidden_layer_sizes=(32, 32), epochs=60, random_state=0, **options)


def test_each_table_gets_its_variant():
    codes = quick(TabularMLPRegressor).fit(frame(), EFFECT[SHOP])  # numbers that are names of shops
    assert variant(codes) == [(True, 0.15)]
    smooth = quick(TabularMLPRegressor).fit(frame(), np.sin(X[:, 0]) * X[:, 1] + X[:, 2])
    assert variant(smooth) == [(False, 0.15)]
    noise = quick(TabularMLPClassifier).fit(frame(), np.random.RandomState(1).randint(0, 2, N))
    assert variant(noise)[0][1] == 0.3


def test_members_are_chosen_together():
    y = EFFECT[SHOP] / 2 + np.sin(X[:, 0]) + np.random.RandomState(1).standard_normal(N) / 2
    model = quick(TabularMLPRegressor, n_members=4).fit(frame(), y)
    alone = quick(TabularMLPRegressor).fit(frame(), y)
    assert variant(alone) == variant(model)[:1] and len(set(variant(model))) > 1
    folds = variant(quick(TabularMLPRegressor, n_members=2, n_folds=3).fit(frame(), y))
    assert folds == folds[:2] * 3
    in_one_thread = quick(TabularMLPRegressor, n_members=4, n_jobs=1).fit(frame(), y)
    np.testing.assert_array_equal(in_one_thread.predict(frame()), model.predict(frame()))


WITHOUT = {
    "few rows": ({}, trials.FEWEST_ROWS - 1, None),
    "few epochs": ({"epochs": trials.FEWEST_EPOCHS - 1}, N, None),
    "little time": ({"time_limit": 0.05}, N, None),
    "no weights where it matters": ({}, N, 0.0),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_without_trials(case, monkeypatch):
    options, n, weight = WITHOUT[case]
    monkeypatch.setattr(trials, "train", lambda *given: pytest.fail("a trial"))
    weights = None if weight is None else np.r_[1.0, np.full(n - 1, weight)]
    model = quick(TabularMLPRegressor).set_params(**options).fit(X[:n], EFFECT[SHOP[:n]], weights)
    assert variant(model) == [(False, 0.15)]


def test_bins_of_many_columns_are_bounded():
    wide = np.random.RandomState(0).standard_normal((300, 400))
    model = quick(TabularMLPRegressor).set_params(epochs=10).fit(wide, wide[:, 0])
    assert model.members_[0].network.sizes[0] <= 1000 + wide.shape[1]


def test_ctrl_c_in_a_trial_ends_the_fit(monkeypatch):
    model = quick(TabularMLPRegressor).fit(X, EFFECT[SHOP])
    before = model.predict(X)
    asked = iter([False] * 6)  # then in every fit
    monkeypatch.setattr(Interruption, "requested", property(lambda self: next(asked, True)))
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        model.fit(X, SHOP)
    np.testing.assert_array_equal(model.predict(X), before)
