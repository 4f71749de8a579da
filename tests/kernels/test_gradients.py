"""Gradients of every backend, including the reference, against central differences of the loss."""

import numpy as np
import pytest

from fastmlp.kernels.spec import Penalty
from problems import COMBINATIONS, Problem, grid

STEP = 1e-5


# The perceptron's rule is not the gradient of a loss; it has a separate test.
CHECKED = sorted({row[:3] for row in COMBINATIONS if row[1] != "perceptron"})


@pytest.mark.parametrize("hidden, loss, output", grid(CHECKED))
def test_gradient_is_the_slope_of_loss_plus_penalty(kernels, hidden, loss, output):
    problem = Problem(loss, output, (hidden, "tanh"), (4, 5, 4, 3), rows=12, seed=3)

    def objective(parameters):
        data_loss, penalty, _ = kernels.loss_and_gradient(
            problem.network, parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.7)
        )
        return data_loss + penalty

    gradient = kernels.loss_and_gradient(
        problem.network, problem.parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.7)
    )[2]
    numeric = np.empty_like(gradient)
    for i in range(gradient.size):
        shifted = problem.parameters.copy()
        shifted[i] += STEP
        upper = objective(shifted)
        shifted[i] -= 2 * STEP
        numeric[i] = (upper - objective(shifted)) / (2 * STEP)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
