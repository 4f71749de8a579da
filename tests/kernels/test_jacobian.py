"""Derivatives of a network's outputs with respect to its parameters: against differences, and between backends."""

import numpy as np
import pytest
from test_features import DEEP, SKIPS

from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import new_slots, optimizer
from problems import DTYPES, HIDDEN, OUTPUTS, Problem, grid, relative_error

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
# name: arguments of Problem
NETWORKS = {
    **{f"hidden {name}": {"hidden": (name,)} for name in HIDDEN},
    **{f"output {name}": {"output": name} for name in ACTIVATIONS},
    "one output": {"sizes": (5, 7, 1)},
    "linear": {"hidden": (), "sizes": (5, 3)},
    "inputs of whole tiles": {"sizes": (16, 7, 2)},
    "deep": {**DEEP, "hidden": ("tanh", "gelu", "shared_prelu", "relu")},
    **{f"skip {name}": {**DEEP, "hidden": ("silu", "tanh", "prelu", "tanh"), "skips": made}
       for name, made in SKIPS.items()},
}  # fmt: skip


def jacobian(kernels, problem):
    """(outputs, Jacobian) of a problem's rows; what the Jacobian does not cover would be NaN."""
    network, parameters, X = problem.network, problem.parameters, problem.X
    found = np.full((len(X), network.sizes[-1], network.n_parameters), np.nan, parameters.dtype)
    return kernels.output_jacobian(network, parameters, X, found), found


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_against_differences(name):
    problem, step = Problem(**NETWORKS[name], rows=4), 1e-6
    if "step" in name:  # its derivative is that of the perceptron rule
        pytest.skip("not differentiable")
    outputs, found = jacobian(reference, problem)
    np.testing.assert_array_equal(outputs, reference.forward(problem.network, problem.parameters, problem.X))
    for number in range(problem.network.n_parameters):
        above, below = problem.parameters.copy(), problem.parameters.copy()
        above[number] += step
        below[number] -= step
        ends = [reference.forward(problem.network, moved, problem.X) for moved in (above, below)]
        np.testing.assert_allclose(found[:, :, number], (ends[0] - ends[1]) / (2 * step), atol=1e-7)


@pytest.mark.parametrize("name, rows, dtype", grid(NETWORKS, [1, 13, 40], DTYPES, n=2))
def test_compiled_against_the_reference(kernels, name, rows, dtype):
    given = NETWORKS[name]
    problem = Problem(**given, rows=rows, dtype=dtype)
    exact = Problem(**given, rows=rows)
    outputs, found = jacobian(kernels, problem)
    assert relative_error(outputs, reference.forward(exact.network, exact.parameters, exact.X)) < TOLERANCE[dtype]
    assert relative_error(found, jacobian(reference, exact)[1]) < TOLERANCE[dtype]


def test_the_loss_does_not_matter(kernels):
    """Losses with a canonical link have the derivatives of the output activation too."""
    for loss, output in OUTPUTS:
        if loss in ("categorical_cross_entropy", "binary_cross_entropy", "poisson"):
            linked, plain = Problem(loss, output), Problem("squared_error", output)
            np.testing.assert_array_equal(jacobian(kernels, linked)[1], jacobian(kernels, plain)[1])


def test_training_after_a_jacobian_is_unchanged(kernels):
    """Both use the same buffers."""
    problems, rule = [Problem(), Problem()], optimizer("sgd", 0.1)
    for number, problem in enumerate(problems):
        slots = new_slots("sgd", problem.parameters.size, "float64")
        train = kernels.prepare_training(problem.network, rule, problem.parameters, slots, 40)
        for _ in range(2):
            if number:
                jacobian(kernels, problem)
                kernels.loss_and_gradient(problem.network, problem.parameters, problem.X, problem.y)
            train(problem.batches(40), 0)
    np.testing.assert_array_equal(problems[1].parameters, problems[0].parameters)
