"""Worked examples of lectures: numbers computed by hand."""

import numpy as np
import pytest

from fastmlp import MLP, make_optimizer
from fastmlp.kernels.spec import Network

EXAMPLE = {"loss": "squared_error", "dtype": "float64"}


@pytest.fixture
def worked_example(backend):
    """Logistic units: 2 inputs, 2 hidden, 1 output; all weights and biases 0.1; learning rate 0.2, momentum 0.9."""
    optimizer = make_optimizer("momentum", learning_rate=0.2, momentum=0.9)
    model = MLP([(2, "logistic"), (1, "logistic")], optimizer=optimizer, backend=backend, **EXAMPLE).build(2)
    model.parameters[:] = 0.1
    return model


def test_forward_phase_of_the_worked_example(worked_example, kernels):
    X = np.array([[1.0, 0.0]])
    hidden = kernels.dense_forward("logistic", X, worked_example.weights[0], worked_example.biases[0])
    np.testing.assert_allclose(hidden, [[0.549834, 0.549834]], atol=5e-7)
    np.testing.assert_allclose(worked_example.predict(X), [[0.552300]], atol=5e-7)


def test_backward_phase_of_the_worked_example(worked_example):
    """Input (1, 0), target 0.9, one step."""
    worked_example.fit([[1.0, 0.0]], [0.9], epochs=1)
    (hidden_weights, output_weights), (hidden_biases, output_biases) = worked_example.weights, worked_example.biases
    np.testing.assert_allclose(output_biases, [0.117195], atol=5e-7)
    np.testing.assert_allclose(output_weights, [[0.109454], [0.109454]], atol=5e-7)
    np.testing.assert_allclose(hidden_biases, [0.100426, 0.100426], atol=5e-7)
    np.testing.assert_allclose(hidden_weights, [[0.100426, 0.100426], [0.1, 0.1]], atol=5e-7)


def test_momentum_adds_the_last_step_to_the_next(worked_example):
    """Delta w(t) = eta delta h + alpha Delta w(t-1), with the deltas computed here."""
    eta, alpha, x, target = 0.2, 0.9, np.array([1.0, 0.0]), 0.9
    W1, b1, W2, b2 = np.full((2, 2), 0.1), np.full(2, 0.1), np.full(2, 0.1), 0.1
    steps = [0.0] * 4
    for _ in range(3):
        h = 1 / (1 + np.exp(-(x @ W1 + b1)))
        o = 1 / (1 + np.exp(-(h @ W2 + b2)))
        output_delta = o * (1 - o) * (target - o)
        hidden_delta = h * (1 - h) * W2 * output_delta
        uphill = np.outer(x, hidden_delta), hidden_delta, output_delta * h, output_delta
        steps = [eta * slope + alpha * step for slope, step in zip(uphill, steps)]
        W1, b1, W2, b2 = W1 + steps[0], b1 + steps[1], W2 + steps[2], b2 + steps[3]
    worked_example.fit([x], [target], epochs=3)
    expected = np.concatenate([W1.ravel(), b1, W2, [b2]])
    np.testing.assert_allclose(worked_example.parameters, expected, rtol=1e-12)


def test_softmax_of_three_scores(kernels):
    scores = np.array([[1.2, 0.9, 0.4]])
    p = kernels.dense_forward("softmax", scores, np.eye(3), np.zeros(3))
    np.testing.assert_allclose(p, [[0.457, 0.338, 0.205]], atol=5e-4)
    assert p.sum() == pytest.approx(1, abs=1e-15)


def test_a_3_5_2_network_has_32_parameters():
    assert Network((3, 5, 2), ("tanh", "identity"), "squared_error").n_parameters == 32
    assert MLP([(5, "tanh"), (2, "identity")]).build(3).n_parameters == 32


def test_xor_needs_a_hidden_layer(backend):
    """A linear model cannot learn XOR, one with two tanh units can."""
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    options = {"loss": "binary_cross_entropy", "optimizer": "lbfgs", "random_state": 1, "backend": backend}
    linear = MLP([(1, "logistic")], **options).fit(X, y, epochs=200)
    hidden = MLP([(2, "tanh"), (1, "logistic")], **options).fit(X, y, epochs=200)
    assert linear.evaluate(X, y)["accuracy"] < 1
    assert hidden.evaluate(X, y)["accuracy"] == 1
