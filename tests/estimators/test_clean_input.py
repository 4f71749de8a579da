"""Arrays that need no validation give the fit and the errors that validated ones give."""

import warnings

import numpy as np
import pandas
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
WITH_NAN, WITH_INF, HUGE = X.copy(), X.copy(), X.copy()
WITH_NAN[3, 1], WITH_INF[3, 1], HUGE[:2] = np.nan, -np.inf, 1e308
CLASSES = np.arange(40) % 3

INPUTS = {
    "float32": X.astype("f4"),
    "float64": X,
    "by columns": np.asfortranarray(X),
    "every second row": np.repeat(X, 2, axis=0)[::2],
    "other byte order": X.astype(">f8"),
    "integers": (10 * X).astype(int),
    "a list": X.tolist(),
    "a frame": pandas.DataFrame(X, columns=list("abc")),
    "NaN": WITH_NAN,
    "infinity": WITH_INF,
    "a sum that overflows": HUGE,
    "one row less": X[1:],
    "one dimension": X[:, 0],
    "no columns": X[:, :0],
    "complex": X + 1j,
}
LABELS = {
    "int64": CLASSES,
    "int8": CLASSES.astype("i1"),
    "two": CLASSES > 0,
    "texts": np.array(["one", "two", "three"]).astype("U9")[CLASSES],
    "objects": np.array(["one", "two", "three"], object)[CLASSES],
    "floats": CLASSES / 1.0,
    "one class": np.zeros(40, int),
    "too many": np.arange(40),
    "a column": CLASSES[:, None],
    "multilabel": np.eye(3, dtype=int)[CLASSES],
    "a list": CLASSES.tolist(),
    "none": None,
}
TARGETS = {
    "float64": X[:, 0],
    "float32": X[:, 0].astype("f4"),
    "integers": CLASSES,
    "two outputs": X[:, :2],
    "a column": X[:, :1],
    "NaN": WITH_NAN[:, 1],
    "texts": LABELS["texts"],
}
CALLS = [
    *((MLPClassifier, inputs, CLASSES, {}) for inputs in INPUTS.values()),
    *((MLPRegressor, inputs, X[:, 0], {}) for inputs in INPUTS.values()),
    *((MLPClassifier, X, labels, {}) for labels in LABELS.values()),
    *((MLPRegressor, X, targets, {}) for targets in TARGETS.values()),
    (MLPClassifier, X, CLASSES, {"loss": "squared_error", "target_values": (0.1, 0.9)}),
    (MLPClassifier, X, CLASSES, {"class_weight": "balanced"}),
    (MLPClassifier, X, CLASSES > 0, {"early_stopping": True}),
    (MLPRegressor, X, np.abs(X[:, 0]), {"loss": "poisson"}),
    (MLPRegressor, X, X[:, 0], {"loss": "poisson"}),
    (MLPRegressor, X, X[:, :2], {"scale": "standard"}),
    (MLPClassifier, X, CLASSES, {"dtype": "float32"}),
]


def fitted(kind, X, y, given):
    """(attributes or error, warnings) of an estimator that has been fitted to a frame before."""
    model = kind(hidden_layer_sizes=3, max_iter=3, random_state=0)
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            model.fit(INPUTS["a frame"], CLASSES).set_params(**given).fit(X, y)
        except ValueError as error:
            return str(error), [str(one.message) for one in issued]
    return vars(model), [str(one.message) for one in issued]


@pytest.mark.parametrize("call", CALLS)
def test_a_fit_is_the_same_without_the_short_way(call, monkeypatch):
    model, issued = fitted(*call)
    monkeypatch.setattr(MLPClassifier, "_clean_input", lambda *given: None)
    monkeypatch.setattr(MLPRegressor, "_clean_input", lambda *given: None)
    expected, expected_issued = fitted(*call)
    assert issued == expected_issued
    if isinstance(expected, str):
        assert model == expected
        return
    assert model.keys() == expected.keys()
    assert_array_equal(model["_net"].parameters, expected["_net"].parameters)
    for name in model.keys() - {"_net", "_random_state"}:
        assert_array_equal(model[name], expected[name])
        assert getattr(model[name], "dtype", None) == getattr(expected[name], "dtype", None), name


def test_the_short_way_is_taken(monkeypatch):
    for kind in (MLPClassifier, MLPRegressor):
        monkeypatch.setattr(kind, "_validate_input", None)
        kind(hidden_layer_sizes=3, tol=1.0).fit(X, CLASSES)


@pytest.mark.parametrize("invalid", [{"max_iter": 50.0}, {"shuffle": 1}, {"hidden_layer_sizes": (3.0,)}])
def test_a_value_that_equals_a_valid_one_is_still_refused(invalid):
    valid = {"max_iter": 50, "shuffle": True, "hidden_layer_sizes": (3,)}
    MLPRegressor(**{name: valid[name] for name in invalid}, tol=1.0).fit(X, CLASSES)
    with pytest.raises(ValueError, match=next(iter(invalid))):
        MLPRegressor(**invalid).fit(X, CLASSES)
