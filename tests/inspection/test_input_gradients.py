"""input_gradient and jacobian, against central differences."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, input_gradient, jacobian
from fastmlp.inspection import input_gradients
from fastmlp.kernels.rules import ACTIVATIONS

rng = np.random.RandomState(0)
X = rng.standard_normal((7, 4))


def randomized(model):
    model.build(4).parameters[:] += rng.uniform(-0.3, 0.3, model.n_parameters)
    return model


def numeric(outputs, X, step=1e-6):
    found = np.empty((len(X), outputs(X).shape[1], X.shape[1]))
    for i in range(X.shape[1]):
        moved = step * np.eye(X.shape[1])[i]
        found[:, :, i] = (outputs(X + moved) - outputs(X - moved)) / (2 * step)
    return found


HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
NETWORKS = {name: [Layer(6, name), Layer(5, name), Layer(3, "identity")] for name in HIDDEN} | {
    "softmax": [Layer(6, "tanh"), Layer(3, "softmax")],
    "weighted skips": [Layer(6, "gelu"), Layer(4, "tanh", skip=2), Layer(2, "identity", skip=3)],
    "added skips": [Layer(6, "tanh"), Layer(4, "silu", skip=2, skip_weights=False), Layer(2, "logistic")],
    "linear": [Layer(2, "identity")],
    "own": [Layer(5, (lambda z: math.sin(z), lambda z: math.cos(z))), Layer(2, "identity")],
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_equal_central_differences(name):
    loss = "categorical_cross_entropy" if name == "softmax" else "squared_error"
    model = randomized(MLP(NETWORKS[name], loss, dtype="float64", backend="numba", random_state=0))
    found = jacobian(model, X)
    assert found.shape == (7, model.layers[-1].units, 4)
    assert_allclose(found, numeric(model.predict, X), rtol=1e-5, atol=1e-7)
    assert_allclose(input_gradient(model, X, output=1), found[:, 1], rtol=1e-9, atol=1e-14)


def test_derivatives_of_estimators():
    regressor = MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=1, solver="sgd", tol=1e9)
    for derivative in (jacobian, input_gradient):
        for unfitted in (regressor, MLPClassifier()):
            with pytest.raises(NotFittedError):
                derivative(unfitted, X)
    with pytest.warns(UserWarning, match="converged"):
        regressor.fit(X, X[:, 0])
    outputs = numeric(lambda rows: regressor.predict(rows)[:, None], X)
    assert_allclose(input_gradient(regressor, X), outputs[:, 0], rtol=1e-5, atol=1e-8)
    with pytest.warns(UserWarning, match="converged"):
        classifier = MLPClassifier(hidden_layer_sizes=(6,), max_iter=1).fit(X, X[:, 0] > 0)
    outputs = numeric(classifier.predict_proba, X)
    assert_allclose(input_gradient(classifier, X), outputs[:, 1], rtol=1e-5, atol=1e-8)


def test_derivatives_in_blocks_and_in_single_precision(monkeypatch):
    model = randomized(MLP([Layer(6, "tanh"), Layer(2, "identity")], random_state=0))
    whole = jacobian(model, X)
    assert whole.dtype == np.float32
    monkeypatch.setattr(input_gradients, "BLOCK_NUMBERS", 30)
    assert_allclose(jacobian(model, X), whole, rtol=1e-6)


def test_invalid_arguments():
    model = MLP([Layer(2, "identity")])
    with pytest.raises(ValueError, match="no weights yet"):
        jacobian(model, X)
    model.build(4)
    for wrong, message in ((X[:, :3], "3 columns"), (np.full((2, 4), np.nan), "NaN"), (X[0], "1D array")):
        with pytest.raises(ValueError, match=message):
            jacobian(model, wrong)
    for wrong, message in ((None, "has 2 outputs"), (2, "below 2"), (-1, "at least 0"), (0.5, "an integer")):
        with pytest.raises(ValueError, match=message):
            input_gradient(model, X, wrong)
