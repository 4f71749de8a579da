"""Calls of partial_fit that skip the validation of parameters give what validated calls give."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from fastmlp import MLPClassifier, MLPRegressor, load, make_optimizer
from fastmlp.estimators import base

RNG = np.random.RandomState(0)
X = RNG.standard_normal((60, 4))
VALUES = {"one output": X[:, 0] + 1, "two outputs": X[:, :2] * 2, "float32 y": X[:, 0].astype("f4"),
          "integers": np.arange(60) % 5}  # fmt: skip
NUMBERS = np.arange(60) % 3
LABELS = {"binary": np.arange(60) % 2, "multiclass": NUMBERS, "strings": np.array(list("abc"))[NUMBERS],
          "booleans": np.arange(60) % 2 == 0, "one class": 0 * NUMBERS, "multilabel": np.eye(3, dtype=int)[NUMBERS],
          }  # fmt: skip
OPTIONS = {
    "defaults": {},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling", "batch_size": 7},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.5},
    "made optimizer": {"solver": make_optimizer("adamw", clip_norm=0.5)},
    "noise": {"dropout": 0.2, "input_noise": 0.1},
    "scaled": {"scale": "standard"},
    "no shuffling": {"shuffle": False},
    "penalties": {"alpha": 0.1, "l1": 0.01},
    "numpy": {"backend": "numpy"},
}


@pytest.fixture
def validated(monkeypatch):
    """Whether each call has been validated, in order."""
    calls, prepared = [], base.prepared

    def noted(*given):
        calls.append(True)
        return prepared(*given)

    monkeypatch.setattr(base, "prepared", noted)
    return calls


def parts(y, dtype="float64"):
    """Blocks of different sizes, down to one sample."""
    return [(X[i:j].astype(dtype), y[i:j]) for i, j in ((0, 30), (30, 45), (45, 46), (46, 60), (0, 30))]


def trained(made, y, continues, monkeypatch, dtype, **given):
    if not continues:
        monkeypatch.setattr(base, "continued", lambda *given: None)
    for block in parts(y, dtype):
        made.partial_fit(*block, **given)
    monkeypatch.undo()
    return made


def state_of(made):
    state = made._net.training
    return [*made.coefs_, *made.intercepts_, state.slots, state.step, state.optimizer, made.loss_curve_, made.t_,
            made.n_iter_, made.best_loss_, made._no_improvement_count, made.backend_, made.backend_reason_]  # fmt: skip


def assert_equal(found, expected):
    for one, other in zip(state_of(found), state_of(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(one, object), np.asarray(other, object))


@pytest.mark.filterwarnings("ignore:Got `batch_size`")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", [*VALUES, *LABELS])
def test_continued_calls_are_validated_calls(kind, options, dtype, monkeypatch):
    made, y = (MLPRegressor, VALUES[kind]) if kind in VALUES else (MLPClassifier, LABELS[kind])
    given = {"epochs": 2}
    if kind in LABELS:
        given["classes"] = np.arange(3) if kind == "multilabel" else np.unique(y)
    found, expected = (
        trained(made(hidden_layer_sizes=(6,), random_state=0, **options), y, continues, monkeypatch, dtype, **given)
        for continues in (True, False)
    )
    assert_equal(found, expected)


def test_only_the_first_of_equal_calls_is_validated(validated):
    for made, y, given in (
        (MLPRegressor(), X[:, 0], {}),
        (MLPClassifier(), LABELS["strings"], {"classes": ["a", "b", "c"]}),
    ):
        for block in parts(y):
            made.partial_fit(*block, **given)
            given = {}
        made.partial_fit(*parts(y)[0])
        assert len(validated) == 1
        validated.clear()


CHANGES = {
    "alpha": lambda m: setattr(m, "alpha", 1.5),
    "alpha, twice the same": lambda m: m.set_params(alpha=float("0.0001")),
    "solver": lambda m: m.set_params(solver="sgd"),
    "rate": lambda m: m.set_params(learning_rate_init=0.1),
    "seed": lambda m: m.set_params(random_state=5),
    "shuffle": lambda m: m.set_params(shuffle=False),
    "backend": lambda m: m.set_params(backend="numpy"),
    "weights": lambda m: m.coefs_[0].fill(0.5),
    "assigned weights": lambda m: m.coefs_.__setitem__(0, np.full((4, 6), 0.5)),
    "fit": lambda m: m.set_params(max_iter=3).fit(X, X[:, 0]),
    "warm fit with another activation": lambda m: (
        m.set_params(max_iter=3, warm_start=True, activation="logistic", dropout=0.3).fit(X, X[:, 0]),
        m.set_params(max_iter=200, warm_start=False, activation="relu", dropout=0.0),
    ),
    "network": lambda m: m.set_params(hidden_layer_sizes=(5,)).fit(X, X[:, 0]),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_between_calls_count(change, monkeypatch):
    results = []
    for continues in (True, False):
        if not continues:
            monkeypatch.setattr(base, "continued", lambda *given: None)
        made = MLPRegressor(hidden_layer_sizes=(6,), random_state=0)
        for _ in range(2):
            made.partial_fit(X, X[:, 0])
        change(made)
        for _ in range(2):
            made.partial_fit(X, X[:, 0])
        results.append(made)
    assert_equal(*results)


class Doubled(MLPRegressor):
    """A subclass that computes a parameter."""

    factor = 1.0

    @property
    def alpha(self):
        return self._alpha * self.factor

    @alpha.setter
    def alpha(self, value):
        self._alpha = value


def test_a_parameter_that_a_subclass_computes_counts():
    changed, fixed = (Doubled(hidden_layer_sizes=(6,), alpha=1.0, random_state=0) for _ in range(2))
    for made in (changed, fixed):
        made.partial_fit(X, X[:, 0]).partial_fit(X, X[:, 0])
    changed.factor = 1000.0
    assert changed.partial_fit(X, X[:, 0]).loss_ > 2 * fixed.partial_fit(X, X[:, 0]).loss_


def test_targets_that_do_not_fit_the_network_are_refused():
    """Also if attributes of the fit were changed: kernels do not check."""
    made = MLPRegressor(hidden_layer_sizes=(6,)).partial_fit(X, X[:, :2])
    made.n_outputs_ = 1
    with pytest.raises(ValueError):
        made.partial_fit(X, X[:, 0])


def test_a_parameter_modified_in_place_counts():
    """A list can change without being replaced, so such calls are always validated."""
    made = MLPRegressor(hidden_layer_sizes=[6], random_state=0)
    made.partial_fit(X, X[:, 0]).partial_fit(X, X[:, 0])
    made.hidden_layer_sizes.append(3)
    with pytest.raises(ValueError, match="cannot change the architecture"):
        made.partial_fit(X, X[:, 0])


def test_the_generator_of_a_user_is_drawn_from():
    """As in scikit-learn, a RandomState goes on from call to call, and the global one too."""
    draws = []
    for seeded in (lambda: np.random.RandomState(3), lambda: np.random.seed(3)):
        made = MLPRegressor(hidden_layer_sizes=(6,), random_state=seeded())
        for _ in range(4):
            made.partial_fit(X, X[:, 0])
        draws.append(made.coefs_[0])
    np.testing.assert_array_equal(*draws)


COPIES = {
    "pickle": lambda m, path: pickle.loads(pickle.dumps(m)),
    "copy": lambda m, path: copy.copy(m),
    "deepcopy": lambda m, path: copy.deepcopy(m),
    "file": lambda m, path: (m.save(path / "m"), load(path / "m"))[1],
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_continue_on_their_own(duplicate, tmp_path):
    made = MLPClassifier((6,), random_state=0)
    for _ in range(2):
        made.partial_fit(X, LABELS["multiclass"], classes=range(3))
    other = duplicate(made, tmp_path)
    for _ in range(2):
        made.partial_fit(X[:7], LABELS["multiclass"][:7])
    assert not np.array_equal(made.coefs_[0], other.coefs_[0])
    for _ in range(2):
        other.partial_fit(X[:7], LABELS["multiclass"][:7])
    assert_equal(made, other)


nan, inf = X[:5].copy(), X[:5].copy()
nan[2, 1], inf[2, 1] = np.nan, np.inf
BAD = {
    "NaN in X": ((nan, [0, 1, 2, 0, 1]), "NaN"),
    "infinity in X": ((inf, [0, 1, 2, 0, 1]), "infinity"),
    "columns": ((X[:5, :3], [0, 1, 2, 0, 1]), "3 features"),
    "rows": ((X[:5], [0, 1, 2, 0]), "inconsistent"),
    "one dimension": ((X[0], [0]), "2D array"),
    "no samples": ((X[:0], []), "0 sample|minimum of 1"),
    "new class": ((X[:5], [0, 1, 2, 3, 1]), "classes"),
    "smaller class": ((X[:5], [0, 1, -2, 0, 1]), "classes"),
    "other type": ((X[:5], list("abcab")), "classes|mix"),
    "no class": ((X[:5], [0.5, 1, 2, 0, 1]), "continuous|Unknown label"),
    "other classes": ((X[:5], [0, 1, 2, 0, 1], None, np.arange(4)), "classes"),
    "fewer classes": ((X[:5], [0, 1, 2, 0, 1], None, np.arange(2)), "classes"),
    "weights": ((X[:5], [0, 1, 2, 0, 1], [1, 2]), "sample_weight"),
}  # fmt: skip


@pytest.mark.parametrize("given, message", BAD.values(), ids=BAD)
@pytest.mark.parametrize("as_arrays", [True, False])
def test_bad_input_is_refused_after_good_calls(given, message, as_arrays):
    made = MLPClassifier((6,), random_state=0)
    for _ in range(2):
        made.partial_fit(X, LABELS["multiclass"], classes=np.arange(3))
    before = copy.deepcopy(made)
    given = (given[0], np.array(given[1]), *given[2:]) if as_arrays else given
    with pytest.raises(ValueError, match=message):
        made.partial_fit(*given)
    assert_equal(made, before)


def test_other_kinds_of_input_are_validated(validated):
    """A frame, a sparse matrix, other dtypes and orders between plain arrays: the same weights; names are checked."""
    made, plain = (MLPRegressor(hidden_layer_sizes=(6,), random_state=0) for _ in range(2))
    y = X[:, 0]
    for other in (X.tolist(), csr_array(X), np.asfortranarray(X), X.astype(">f8"), X[::-1][::-1]):
        for given in (X, other):
            made.partial_fit(given, y)
            plain.partial_fit(X, y)
        np.testing.assert_array_equal(made.coefs_[0], plain.coefs_[0])
    named = pd.DataFrame(X, columns=list("abcd"))
    framed = MLPRegressor(hidden_layer_sizes=(6,), random_state=0).partial_fit(named, y)
    validated.clear()
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        framed.partial_fit(X, y)
    assert validated == [True]


def test_a_call_that_fails_leaves_later_calls_alone():
    made = MLPRegressor(hidden_layer_sizes=(6,), random_state=0)
    made.partial_fit(X, X[:, 0])
    for bad in ({"alpha": -1}, {"early_stopping": True}, {"hidden_layer_sizes": (3,)}, {"backend": "none"}):
        good = {name: getattr(made, name) for name in bad}
        with pytest.raises(ValueError):
            made.set_params(**bad).partial_fit(X, X[:, 0])
        made.set_params(**good)
    whole = MLPRegressor(hidden_layer_sizes=(6,), random_state=0).partial_fit(X, X[:, 0]).partial_fit(X, X[:, 0])
    assert_equal(made.partial_fit(X, X[:, 0]), whole)
