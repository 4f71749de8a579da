"""Conversion of estimators to and from scikit-learn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris

from fastmlp import MLPClassifier, from_sklearn, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
iris = load_iris()
texts = np.array(["setosa", "versicolor", "virginica"])[iris.target]
several = np.column_stack([iris.target == 0, iris.target > 0]).astype(int)
CLASSIFIER, REGRESSOR = neural_network.MLPClassifier, neural_network.MLPRegressor
THEIRS = {  # class of scikit-learn, and its data
    "text": (CLASSIFIER((9,), "tanh", max_iter=15, random_state=0), texts),
    "two": (CLASSIFIER((9, 4), max_iter=15, random_state=0), texts == "setosa"),
    "several": (CLASSIFIER((9,), max_iter=9, random_state=0), several),
    "sgd": (CLASSIFIER((9,), "logistic", solver="sgd", max_iter=9), texts),
    "number": (REGRESSOR("squared_error", (9,), max_iter=9), iris.data[:, 0]),
    "counts": (REGRESSOR("poisson", (9,), max_iter=9), iris.target),
    "numbers": (REGRESSOR("squared_error", (9,), "identity", solver="lbfgs"), iris.data),
}


@pytest.mark.parametrize("name", THEIRS)
def test_conversion_to_and_from_scikit_learn(name):
    theirs, target = THEIRS[name]
    theirs = clone(theirs).fit(iris.data, target)
    ours = from_sklearn(theirs, backend="numpy")
    again = to_sklearn(ours)
    assert ours.backend_ == "numpy"
    assert type(again) is type(theirs)
    assert again.get_params() == theirs.get_params()
    for found in (ours, again):
        if name == "several" or isinstance(theirs, neural_network.MLPRegressor):
            assert_allclose(found.predict(iris.data), theirs.predict(iris.data), rtol=1e-9)
        else:
            assert_array_equal(found.predict(iris.data), theirs.predict(iris.data))
            assert_allclose(found.predict_proba(iris.data), theirs.predict_proba(iris.data), rtol=1e-9, atol=1e-12)
        assert (found.n_iter_, found.t_, found.loss_) == (theirs.n_iter_, theirs.t_, theirs.loss_)
    if theirs.solver != "lbfgs":
        for found in (ours, again):
            before = found.coefs_[0].copy()
            assert (found.partial_fit(iris.data, target).coefs_[0] != before).any()


@pytest.mark.parametrize("early", [False, True])
def test_converted_estimators_are_independent_and_continue_training(early):
    options = {"max_iter": 4, "warm_start": True, "early_stopping": early, "random_state": np.random.RandomState(0)}
    ours, theirs = MLPClassifier(**options), CLASSIFIER(**options)
    for given, convert in ((ours, to_sklearn), (theirs, from_sklearn)):
        given.fit(iris.data, texts)
        n, state = len(given.loss_curve_), given.random_state.get_state()[1].copy()
        made = convert(given)
        made.fit(iris.data, texts)
        made.classes_[:] = "x"
        assert len(given.loss_curve_) == n < len(made.loss_curve_)
        assert_array_equal(given.random_state.get_state()[1], state)
        assert given.classes_[0] == "setosa"


def test_parameters_set_after_the_fit():
    ours = MLPClassifier((4,), "tanh", max_iter=3).fit(iris.data, texts).set_params(activation="relu")
    with pytest.raises(ValueError, match="set after the fit"):
        to_sklearn(ours)
    theirs = REGRESSOR(hidden_layer_sizes=(4,), max_iter=3).fit(iris.data, iris.target).set_params(loss="poisson")
    with pytest.raises(ValueError, match="set after the fit"):
        from_sklearn(theirs)


@pytest.mark.parametrize("params", [
    {"activation": "gelu"}, {"loss": "squared_error"}, {"skip": 2}, {"hidden_layer_sizes": (9,)}, {"width": 3},
])  # fmt: skip
def test_given_parameters_must_not_change_the_network(params):
    theirs = CLASSIFIER((4, 4), max_iter=3).fit(iris.data, texts)
    with pytest.raises(ValueError, match="change the network of the fitted"):
        from_sklearn(theirs, **params)
    random = from_sklearn(theirs, dropout=0.5, alpha=0.1)
    assert random.predict_proba(iris.data, mc_samples=4)[1].max() > 0


@pytest.mark.parametrize("params", [
    {"dropout": 0}, {"dropout": [0.0]}, {"l1": np.float64(0)}, {"skip": np.int64(0)}, {"skip_weights": False},
    {"target_values": [0.1, 0.9]}, {"n_layers": 1, "width": 7},
])  # fmt: skip
def test_unused_options_do_not_prevent_conversion(params):
    ours = MLPClassifier(hidden_layer_sizes=(7,), max_iter=3, **params).fit(iris.data, texts)
    assert_array_equal(to_sklearn(ours).predict(iris.data), ours.predict(iris.data))


def test_n_layers_and_width_are_converted():
    for ours in (
        MLPClassifier(n_layers=2, width=6),
        MLPClassifier(n_layers=2, width=6, max_iter=3).fit(iris.data, texts),
    ):
        assert to_sklearn(ours).hidden_layer_sizes == (6, 6)
    assert [W.shape for W in to_sklearn(ours).partial_fit(iris.data, texts).coefs_] == [(4, 6), (6, 6), (6, 3)]
    with pytest.raises(ValueError, match="change the network of the fitted"):
        from_sklearn(CLASSIFIER((4,), max_iter=3).fit(iris.data, texts), scale="standard")


def test_arrays_of_wrong_shapes():
    theirs = CLASSIFIER((4,), max_iter=3).fit(iris.data, texts)
    theirs.coefs_[0] = theirs.coefs_[0][:, :1]
    with pytest.raises(ValueError, match="do not match"):
        from_sklearn(theirs)
    ours = MLPClassifier((4,), max_iter=3).fit(iris.data, texts)
    ours.coefs_[0] = np.ones((4, 7))
    with pytest.raises(ValueError, match="must keep their shapes"):
        to_sklearn(ours)


def test_unfitted_estimators():
    theirs = neural_network.MLPClassifier((3, 4), alpha=0.5)
    ours = from_sklearn(theirs)
    assert (ours.hidden_layer_sizes, ours.alpha) == ((3, 4), 0.5)
    assert not hasattr(ours, "coefs_")
    assert to_sklearn(ours).get_params() == theirs.get_params()


@pytest.mark.parametrize("params, named", [
    ({"dropout": 0.1}, "dropout"), ({"activation": "gelu"}, "activation"), ({"solver": "adamw"}, "solver"),
    ({"skip": 2, "l1": 0.1}, "l1, skip"), ({"loss": "squared_error"}, "loss"),
])  # fmt: skip
def test_options_that_scikit_learn_lacks_are_named(params, named):
    with pytest.raises(ValueError, match=named):
        to_sklearn(MLPClassifier(**params))


def test_unsupported_objects():
    with pytest.raises(TypeError, match=r"of sklearn\.neural_network"):
        from_sklearn(MLPClassifier())
    with pytest.raises(TypeError, match="of fastmlp, got"):
        to_sklearn(CLASSIFIER())
