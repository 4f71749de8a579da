"""Table estimators try variants of the recipe on held-out rows."""

import numpy as np
import pytest

from fastmlp import MLP, TabularMLPClassifier, TabularMLPRegressor, to_numpy_source
from fastmlp.estimators.tabular import budget, recipe, trials
from fastmlp.estimators.tabular.members import Options
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
    monkeypatch.setattr(trials, "train_for_trial", lambda *given: pytest.fail("a trial"))
    weights = None if weight is None else np.r_[1.0, np.full(n - 1, weight)]
    model = quick(TabularMLPRegressor).set_params(**options).fit(X[:n], EFFECT[SHOP[:n]], weights)
    assert variant(model) == [(False, 0.15)]


def test_variants_that_diverge_are_not_chosen(monkeypatch):
    diverged = property(lambda member: member.layers[0].dropout < 0.3, lambda member, value: None)
    monkeypatch.setattr(MLP, "diverged", diverged, raising=False)
    model = quick(TabularMLPRegressor, n_members=2).fit(frame(), EFFECT[SHOP])
    assert variant(model) == [(True, 0.3)] * 2


def test_bins_between_denormal_numbers_are_not_made(monkeypatch):
    """The engine takes these as 0, exported models do not."""
    rng = np.random.RandomState(0)
    numbers = np.r_[-1 - rng.rand(50), np.geomspace(1e-37, 1e-45, 100), 1 + rng.rand(50)][:, None]
    monkeypatch.setattr(recipe, "VARIANTS", recipe.VARIANTS[2:])
    model = quick(TabularMLPRegressor).fit(numbers, np.sign(numbers[:, 0]) + rng.rand(200))
    made = {}
    exec(to_numpy_source(model), made)
    assert variant(model)[0][0]
    np.testing.assert_allclose(made["predict"](numbers), model.predict(numbers), atol=1e-4)


def test_bins_of_many_columns_are_bounded():
    wide = np.random.RandomState(0).standard_normal((300, 400))
    model = quick(TabularMLPRegressor).set_params(epochs=10).fit(wide, wide[:, 0])
    assert model.members_[0].network.sizes[0] <= 1000 + wide.shape[1]


FAST, SLOW = recipe.VARIANTS[0], recipe.VARIANTS[2]


@pytest.mark.parametrize(
    ("variants", "expected"), [([FAST], 90), ([SLOW], 45), ([FAST, SLOW], 45), ([FAST, FAST, SLOW, SLOW, SLOW], 18)]
)
def test_a_time_limit_counts_with_the_variants_of_the_members(variants, expected, monkeypatch):
    """With 2 threads and rows of 1 or 2 seconds; measurements take no time."""
    clock = [0.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])

    def measure(variant, n_members):
        clock[0] += 1 + variant.binned
        return 1

    limit = budget.TimeLimit(1000, measure, n_jobs=2)
    limit.epochs(1, [FAST, SLOW], 1), limit.epochs(1, [FAST], 1), limit.epochs(1, [SLOW], 1)
    clock[0] = 0
    assert limit.epochs(1000, variants, 10) == expected
    clock[0] = 1001
    assert limit.epochs(1000, variants, 10) == 0


def test_measurements_for_a_time_limit_end_with_it(monkeypatch):
    clock, measured = [0.0], []
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])

    def measure(variant, n_members):
        clock[0] += 1
        measured.append(n_members)
        return 1

    limit = budget.TimeLimit(0.5, measure, n_jobs=2)
    assert [limit.epochs(9, [FAST] * n, 1) for n in (1, 2, 2)] == [0, 0, 0] and measured == [1]


@pytest.mark.parametrize("n", [100, 8000])
def test_measurements_pass_over_a_bounded_number_of_rows(n, monkeypatch):
    """And over as large a part of the rows that choose the best epoch, whatever the weights."""
    model, numbers = quick(TabularMLPRegressor), np.random.RandomState(0).standard_normal((n, 2))
    rows, fits = model._fit_rows(numbers, numbers[:, 0], np.r_[np.zeros(n - 1), 1]), []
    monkeypatch.setattr(budget, "train_for_trial", lambda *given: fits.append(given))
    options = Options((rows.matrix[: n // 2], rows.targets[: n // 2]), None, None, True)
    n_measured = budget.measurement_of(model._task(n), rows, options)(FAST, 2)
    ((members, trained_on, plan, options),) = fits
    assert n_measured == budget.ROWS == plan.n_epochs * len(plan.rows[1]) and len(members) == 2
    assert trained_on.weight is None and not options.progress
    assert len(options.validation[0]) == len(options.validation[1]) == len(plan.rows[0]) // 2


def test_ctrl_c_in_a_trial_ends_the_fit(monkeypatch):
    model = quick(TabularMLPRegressor).fit(X, EFFECT[SHOP])
    before = model.predict(X)
    asked = iter([False] * 6)  # then in every fit
    monkeypatch.setattr(Interruption, "requested", property(lambda self: next(asked, True)))
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        model.fit(X, SHOP)
    np.testing.assert_array_equal(model.predict(X), before)
