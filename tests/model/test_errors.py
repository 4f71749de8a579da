"""Invalid input raises one error before training, and the model does not change."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastmlp import MLP, MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor, make_optimizer
from fastmlp.backends import registry
from fastmlp.kernels.spec import Optimizer

rng = np.random.RandomState(0)
X, y = rng.standard_normal((30, 3)), np.arange(30) % 2


def network(**options):
    return MLP([(4, "tanh"), (2, "softmax")], **{"loss": "categorical_cross_entropy", "random_state": 0} | options)


def spoiled(array, value):
    array = np.array(array, float)
    array.flat[4] = value
    return array


BAD_ROWS = [
    (spoiled(X, np.nan), y, "NaN"),
    (spoiled(X, np.inf), y, "infinity"),
    (spoiled(X, 1e300), y, "too large"),
    (X, spoiled(y, np.nan), "NaN"),
    (X, spoiled(y, -np.inf), "infinity"),
    (X[:20], y, "inconsistent numbers of samples"),
    (X[0], y, "2D array"),
    (X[:0], y[:0], "0 sample"),
    (X[:, :0], y, "0 feature"),
    (np.array([["a", "b"]] * 30), y, "could not convert"),
    (X, None, "y"),
    (csr_matrix(spoiled(X, np.nan)), y, "NaN"),
    (X + 1j, y, "[Cc]omplex"),
]


@pytest.mark.parametrize("data, target, message", BAD_ROWS, ids=lambda v: v if isinstance(v, str) else "")
def test_invalid_samples(data, target, message):
    fitted = network().fit(X, y, epochs=1)
    before = fitted.parameters.copy()
    for model in (network(), fitted):
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(data, target)
    np.testing.assert_array_equal(fitted.parameters, before)
    if message == "too large":
        return  # not too large for float64, which the estimators use
    for estimator in (MLPClassifier(max_iter=1), MLPRegressor(max_iter=1)):
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(data, target)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MLP([]), "at least one layer, the output layer"),
        (lambda: MLP([(0, "relu")]), "units of a layer must be an integer of at least 1, got 0"),
        (lambda: MLP([(2.5, "relu")]), "integer"),
        (lambda: MLP([5, 3]), r"a layer must be a Layer or a pair \(units, activation\), got 5"),
        (lambda: MLP([(1, "softmax")], "categorical_cross_entropy"), "a softmax of one unit is always 1"),
        (lambda: MLP([(2, "relu")], dtype=None), "dtype must be"),
        (
            lambda: MLP([(1, "identity")]).fit(X, np.array(["a", "b"] * 15)),
            "y must be numbers: could not convert string",
        ),
        (lambda: MLPRegressor().fit(X, np.array(["2020-01-01"] * 30, "M8[D]")), "y must be numbers, got datetime64"),
        (lambda: network().fit(X, y, sample_weight=np.full(30, 1e38)), "its sum is not finite in float32"),
        (lambda: MLPRegressor().fit(X, y, np.full(30, 1e307)), "its sum is not finite in float64"),
        (lambda: MLP([(2, "swish")]), "unknown activation 'swish'. Known: identity, step, sign, .*relu"),
        (lambda: MLP([(2, "softmax"), (1, "identity")]), "only be used in the output layer"),
        (lambda: MLP([(2, "relu")], "hinge"), "unknown loss 'hinge'. Known: squared_error, .*categorical"),
        (lambda: MLP([(2, "relu")], "poisson"), "needs the output activation 'exp', got 'relu'"),
        (lambda: MLP([(2, "relu")], optimizer="lion"), "unknown optimizer 'lion'. Known: sgd, .*lbfgs"),
        (lambda: MLP([(2, "relu")], dtype="float16"), "float32"),
        (lambda: MLP([(2, "relu")], dtype="nonsense"), "nonsense"),
        (lambda: MLP([(2, "relu")], alpha=-1), r"alpha must be a number in \[0, inf\), got -1"),
        (lambda: MLP([(2, "relu")], alpha=np.nan), "alpha"),
        (lambda: MLP([(2, "relu")], backend="cuda11"), "backend must be one of 'auto', 'cython', 'numba', 'numpy'"),
        (lambda: MLP([(2, "relu")], n_jobs=0), "n_jobs"),
        (lambda: make_optimizer("adam", beta_3=1), "no option 'beta_3'. Known: beta_1, beta_2, epsilon"),
        (lambda: make_optimizer("sgd", momentum=1), r"momentum must be a number in \[0, 1\), got 1"),
        (lambda: network().fit(X, np.ones((30, 2))), "rows of y that sum to 1"),
        (lambda: MLP([(2, "relu")], optimizer=Optimizer("adam", 0.1)), "the result of make_optimizer"),
        (lambda: network().fit(X, y, validation_data=(X[0], y)), "2D array"),
        (lambda: network().fit(X, y, validation_data=(X, y, y)), "must be a pair"),
        (lambda: make_optimizer("adam", beta_1=1.0), r"beta_1 must be a number in \[0, 1\)"),
        (lambda: make_optimizer("adam", epsilon=0), r"epsilon must be a number in \(0, "),
        (lambda: make_optimizer("sgd", -0.1), r"learning_rate must be a number in \(0, inf\)"),
        (lambda: make_optimizer("sgd", "fast"), "learning_rate"),
        (lambda: network().fit(X, y, epochs=0), "epochs must be an integer of at least 1, got 0"),
        (lambda: network().fit(X, y, batch_size=0), "batch_size"),
        (lambda: network().fit(X, y + 1), "integers from 0 to 1"),
        (lambda: network().fit(X, y + 0.5), "integers from 0 to 1"),
        (lambda: network().fit(X, np.eye(3)[y]), "y has 3 columns, but the network has 2 outputs"),
        (lambda: network().fit(X, np.eye(2)[y] * 2), r"needs targets in \[0, 1\], got values from 0 to 2"),
        (lambda: MLP([(1, "exp")], "poisson").fit(X, y - 1), "needs targets"),
        (lambda: network().fit(X, y, sample_weight=np.zeros(30)), "at least one non-zero"),
        (lambda: network().fit(X, y, sample_weight=-np.ones(30)), "[Nn]egative"),
        (lambda: network().fit(X, y, sample_weight=np.ones(29)), "sample_weight"),
        (lambda: network().fit(X, y, validation_data=(X[:, :2], y)), "validation_data has 2 columns, but X has 3"),
        (lambda: network().fit(X, y, epochs=1).predict(X[:, :2]), "X has 2 columns, but the network has 3 inputs"),
        (lambda: network().fit(X, y, epochs=1).fit(X[:, :2], y), "X has 2 columns"),
        (lambda: network().build(0), "n_inputs"),
        (lambda: network().fit(None, y), "X must be an array, a frame or a list of numbers, got NoneType"),
        (lambda: network().fit({"a": [1]}, y), "X must be an array, a frame or a list of numbers, got dict"),
        (
            lambda: network().fit([[1, 2], [3]], y),
            "X must be .* or of rows of one length",
        ),
        (lambda: network().fit(X, 1.0), "y must be an array, a frame or a list of numbers, got float"),
        (lambda: network().fit(X, y, sample_weight={0: 1}), "a number for each sample, got {0: 1}.* class_weight"),
        (lambda: network().fit(X, y, sample_weight="balanced"), "each sample, got 'balanced'. .* class_weight"),
        (lambda: network().fit(X, y, sample_weight=1j), "sample_weight must be an array"),
        (lambda: network().fit(X, y, sample_weight=-1), r"sample_weight must be a number in \[0, inf\), got -1"),
        (lambda: network().fit(X, y, shuffle=np.arange(3)), "shuffle must be True or False, got array"),
        (lambda: network().fit(X, y, monitor=np.arange(3)), "monitor must be True or False, got array"),
        (lambda: network().fit(X, y, progress="yes"), "progress must be True or False, got 'yes'"),
        (lambda: network().fit_stream([(X, y)], shuffle=None), "shuffle must be True or False, got None"),
        (lambda: network().fit_stream([(X, y)], class_weight=np.ones(2)), "class_weight"),
        (lambda: network().fit(X, y, validation_data=(X, y), metric=np.arange(3)), "metric must be 'accuracy' for"),
        (lambda: network().fit(X, y, validation_data=(X, "y")), "validation_data: y must be an array"),
        (lambda: network().evaluate(X, y), "no weights yet"),
    ],
)
def test_invalid_arguments_of_the_model(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize(
    "params, message",
    [
        ({"activation": "swish"}, "'activation' parameter .*'tanh'"),
        ({"solver": "newton"}, "solver"),
        ({"backend": "gpu"}, "'backend' parameter .*'cython'"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"n_jobs": 1.5}, "n_jobs"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": (3.5,)}, "hidden_layer_sizes"),
        ({"alpha": -1}, "alpha"),
        ({"learning_rate_init": 0}, "learning_rate_init"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "validation set is too small|should be greater"),
    ],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_invalid_parameters_of_the_estimators(kind, params, message):
    with pytest.raises(ValueError, match=message):
        kind(**params).fit(X, y)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"X": None}, "X must be an array, a frame or a list of numbers, got NoneType"),
        ({"X": {"a": [1]}}, "X must be an array, a frame or a list of numbers, got dict"),
        ({"y": "labels"}, "y must be an array, a frame or a list.*, got str"),
        ({"y": 1.0}, "y must be an array, a frame or a list.*, got float"),
        ({"sample_weight": {0: 1}}, "sample_weight must be a number for each sample, got {0: 1}.* class_weight"),
        ({"eval_set": 3}, "eval_set must be a list with one entry per set, got int"),
        ({"eval_set": {"held": (X, y)}}, "eval_set must be a list with one entry per set, got dict"),
        ({"eval_set": []}, "eval_set must have at least one set, or be None, got an empty list"),
        ({"eval_set": (X, y), "eval_names": 3}, "eval_names must be a list with one entry per set, got int"),
        ({"eval_set": (X[:, :2], y)}, "evaluation set 'validation_0': X has 2 features"),
    ],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_invalid_arguments_of_the_estimators(kind, given, message):
    with pytest.raises(ValueError, match=message):
        kind(max_iter=1).fit(**{"X": X, "y": y} | given)


@pytest.mark.parametrize("classes", ["ab", 3, [], [None, 1], {0: 1}, np.array(1)])
def test_invalid_classes(classes):
    for call in (
        lambda: MLPClassifier().partial_fit(X, y, classes=classes),
        lambda: MLPClassifier().fit_stream([(X, y)], classes),
    ):
        with pytest.raises(ValueError, match="classes must be a list of every possible label"):
            call()


REFUSED = [
    ({}, lambda: {"X": X[:, :2], "sample_weight": np.ones(3)}),
    ({}, lambda: {"X": spoiled(X, np.nan)}),
    ({}, lambda: {"X": X.astype("f4"), "y": y * 1e300}),
    ({}, lambda: {"X": X[:, :2], "y": y[:9]}),
    ({"early_stopping": True, "validation_fraction": 0.01}, lambda: {"y": 1 - y}),
    ({"hidden_layer_sizes": (3, 0)}, lambda: {"X": X[:, :2]}),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("params, change", REFUSED)
def test_a_refused_fit_leaves_a_fitted_estimator_unchanged(kind, params, change):
    """Attributes, weights, classes and number of features stay the same."""
    model = kind(random_state=0, max_iter=3).fit(X, y)
    before, prediction = dict(vars(model)), model.predict(X)
    coefs = [W.copy() for W in model.coefs_]
    given = {"X": X, "y": y, **change()}
    if kind is MLPClassifier and given["y"].max() > 1:
        given["y"] = np.full(30, np.nan)
    model.set_params(**params)
    with pytest.raises(ValueError, match=r"\w"):
        model.fit(**given)
    after = {**vars(model), **{name: before[name] for name in params}}
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    for found, expected in zip(model.coefs_, coefs):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.predict(X), prediction)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_fit_that_fails_in_the_first_epoch_keeps_the_old_weights(monkeypatch, solver):
    """Here stdout is closed. The new weights are initialized but not trained, so the old ones are kept."""
    model = MLPClassifier(random_state=0, solver=solver, max_iter=30).fit(X, y)
    before, prediction = dict(vars(model)), model.predict_proba(X)

    def closed(*args, **kwargs):
        raise OSError("stdout is closed")

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(OSError, match="stdout is closed"):
        model.set_params(verbose=True).fit(X, y)
    assert {**vars(model), "verbose": False} == before
    np.testing.assert_array_equal(model.predict_proba(X), prediction)


@pytest.mark.filterwarnings("error")
def test_a_warning_raised_as_an_error_leaves_the_weights_unchanged():
    model = MLPRegressor(random_state=0, max_iter=3, tol=1e9, n_iter_no_change=1).fit(X, y)
    prediction = model.predict(X)
    with pytest.raises(UserWarning, match="batch_size"):
        model.set_params(batch_size=500).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), prediction)


@pytest.mark.parametrize("n_rows", [1, 5, 5000])
@pytest.mark.parametrize("bad, message", [(np.nan, "NaN"), (-np.inf, "infinity"), (1e39, "infinity")])
def test_invalid_numbers_to_predict(backend, n_rows, bad, message):
    data = np.zeros((n_rows, 3))
    data[-1, 1] = bad
    model = network(backend=backend).build(3)
    with pytest.raises(ValueError, match=message):
        model.predict(data)
    if np.isfinite(bad):
        return
    with pytest.raises(ValueError, match=message):
        model.predict(data.astype("float32"))


@pytest.mark.parametrize("params", [{"batch_size": -5}, {"batch_size": 2.5}, {"activation": "softmax"}, {"alpha": "x"}])
def test_every_partial_fit_validates_parameters(params):
    model = MLPRegressor(random_state=0).partial_fit(X, y).set_params(**params)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=next(iter(params))):
        model.partial_fit(X, y)
    assert vars(model) == before


def test_a_refused_first_partial_fit_leaves_nothing():
    model = MLPClassifier()
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(spoiled(X, np.nan), y, classes=[0, 1])
    assert not hasattr(model, "classes_")
    model.partial_fit(X, y, classes=[0, 1, 2])


def test_unfitted_estimators_raise():
    for kind in (MLPClassifier, MLPRegressor, MLPEnsembleClassifier, MLPEnsembleRegressor):
        with pytest.raises(NotFittedError):
            kind().predict(X)
        with pytest.raises(NotFittedError):
            kind().score(X, y)


def test_new_classes_are_refused():
    model = MLPClassifier(random_state=0).partial_fit(X, y, classes=[0, 1])
    before = model.coefs_[0].copy()
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, y + 1)
    np.testing.assert_array_equal(model.coefs_[0], before)
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="same classes"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(warm_start=True, max_iter=1).fit(X, y).fit(X, y + 1)


def test_poisson_requires_targets_that_are_not_negative():
    with pytest.raises(ValueError, match="requires y >= 0, but the smallest y is -1"):
        MLPRegressor(loss="poisson").fit(X, y - 1)


def test_targets_beyond_float32():
    with pytest.raises(ValueError, match="too large for float32"), np.errstate(over="ignore"):
        MLPRegressor().fit(X.astype("f4"), y * 1e300)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_architecture_cannot_change_under_warm_start():
    model = MLPRegressor(warm_start=True, max_iter=1).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"layer sizes \(3, 100, 1\), .* \(3, 7, 1\)"):
        model.set_params(hidden_layer_sizes=(7,)).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_error_of_a_backend_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(registry.MODULES, "cython", "no_such_module")
    registry.why_not.cache_clear()
    try:
        with pytest.raises(ImportError, match=r"'cython' does not work here: .*no_such_module.*backend='auto'"):
            MLP([(1, "identity")], backend="cython")
        chosen = registry.choose("auto")
        assert chosen.name == "numba"
        assert chosen.reason.startswith(
            "compiled at the first fit, because backend 'cython' does not work here: Module"
        )
    finally:
        monkeypatch.undo()
        registry.why_not.cache_clear()
    assert registry.choose("auto").name == "cython"
