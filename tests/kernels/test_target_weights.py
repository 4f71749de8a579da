"""A weight for each target, and losses with options for each output, on every backend."""

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.spec import Batches, Penalty, new_slots, optimizer
from problems import COMPILED, DTYPES, Problem, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
LEVELS = ((0.1, 0.5, 0.9),)
PENALTY = Penalty(alpha=0.3, activity_l1=0.1, activity_l2=0.2)
# (loss, output activation, options of the loss)
CASES = [
    *((loss, row.link or "identity", None) for loss, row in LOSSES.items() if row.link != "softmax"),
    ("squared_error", "softmax", None), ("squared_error", "prelu", None), ("quantile", "identity", LEVELS),
]  # fmt: skip


def problem_of(loss, output, options, **given):
    """(problem, a weight for each target): 0 for a fifth of the targets, and for all of two samples."""
    problem = Problem(loss, output, **given)
    if options is not None:
        problem.network = problem.network._replace(loss_options=options)
    rng = np.random.RandomState(1)
    weight = rng.uniform(0.2, 2, problem.y.shape) * (rng.uniform(size=problem.y.shape) > 0.2)
    weight[[3, 17]] = 0
    return problem, weight.astype(problem.y.dtype)


def in_float64(*arrays):
    return [array.astype("f8") for array in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("loss, output, options", CASES)
def test_gradient_and_steps_equal_the_reference(backend, dtype, loss, output, options):
    """Batches of several samples and of one, which are computed by other code (engine/online.py)."""
    compiled = registry.choose(backend).kernels
    problem, weight = problem_of(loss, output, options, dtype=dtype)
    network, tolerance = problem.network, TOLERANCE[dtype]
    given = problem.parameters, problem.X, problem.y, weight
    found = compiled.loss_and_gradient(network, *given, PENALTY)
    expected = reference.loss_and_gradient(network, *in_float64(*given), PENALTY)
    assert relative_error(found[:2], expected[:2]) < tolerance
    assert relative_error(found[2], expected[2]) < tolerance
    outputs = compiled.forward(network, problem.parameters, problem.X)
    assert compiled.loss_of_outputs(network, outputs, problem.y, weight) == pytest.approx(found[0], rel=tolerance)
    for size, penalty in ((13, PENALTY), (1, Penalty(alpha=0.3)), (1, PENALTY)):
        ended = []
        for kernels, kind in ((compiled, dtype), (reference, "float64")):
            parameters, X, y, w = (array.astype(kind) for array in given)
            batches = Batches(X, y, problem.order, size, w)
            slots = new_slots("adam", parameters.size, kind)
            *sums, made = kernels.train_epoch(network, optimizer("adam", 0.01), parameters, slots, 0, batches, penalty)
            of_batches = [weight[problem.order[start : start + size]] for start in range(0, 40, size)]
            assert made == np.count_nonzero([np.any(of_batch) for of_batch in of_batches])  # the others are passed over
            ended.append((parameters, sums))
        (parameters, sums), (expected, expected_sums) = ended
        assert relative_error(parameters, expected) < tolerance
        assert relative_error(sums, expected_sums) < tolerance


@pytest.mark.parametrize("loss, output, options", CASES)
def test_gradient_is_the_slope_of_the_loss(kernels, loss, output, options):
    if loss == "perceptron":
        pytest.skip("its rule is not the gradient of a loss")
    problem, weight = problem_of(loss, output, options, sizes=(3, 4, 3), rows=20)
    given = problem.X, problem.y, weight, PENALTY
    gradient = kernels.loss_and_gradient(problem.network, problem.parameters, *given)[2]

    def objective(i, change):
        shifted = problem.parameters.copy()
        shifted[i] += change
        return sum(kernels.loss_and_gradient(problem.network, shifted, *given)[:2])

    numeric = [(objective(i, 1e-5) - objective(i, -1e-5)) / 2e-5 for i in range(gradient.size)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss, output, options", CASES)
def test_loss_is_the_sum_over_targets(kernels, loss, output, options):
    """Each target by itself, in a network of one output."""
    problem, weight = problem_of(loss, output, options)
    outputs, n_outputs = kernels.forward(problem.network, problem.parameters, problem.X), problem.y.shape[1]
    total = 0.0
    for j in range(n_outputs):
        single = problem.network._replace(sizes=(5, 7, 1), loss_options=(options[0][j],) if options else
                                          problem.network.loss_options)  # fmt: skip
        columns = (np.ascontiguousarray(array[:, [j]]) for array in (outputs, problem.y))
        total += kernels.loss_of_outputs(single, *columns, weight[:, j].copy()) * weight[:, j].sum()
    expected = total / weight.mean(axis=1).sum() / (n_outputs if LOSSES[loss].mean else 1)
    assert kernels.loss_of_outputs(problem.network, outputs, problem.y, weight) == pytest.approx(expected)


@pytest.mark.parametrize("backend", COMPILED)
def test_weights_that_are_not_contiguous_are_refused(backend):
    """As any other array; a copy of them would be freed before the call."""
    kernels, (problem, weight) = registry.choose(backend).kernels, problem_of("squared_error", "identity", None)
    given = problem.network, problem.parameters, problem.X, problem.y, np.asfortranarray(weight)
    with pytest.raises(ValueError, match="not C-contiguous"):
        kernels.loss_and_gradient(*given)


@pytest.mark.parametrize("size", [1, 13])
@pytest.mark.parametrize("loss, output, options", CASES)
def test_equal_weights_of_all_targets_are_the_weight_of_a_sample(kernels, size, loss, output, options):
    ended = []
    problem, _ = problem_of(loss, output, options)
    for weight in (problem.weight, np.repeat(problem.weight[:, None], 3, axis=1)):
        parameters, slots = problem.parameters.copy(), new_slots("adam", problem.parameters.size, "float64")
        batches = problem.batches(size, weight)
        sums = kernels.train_epoch(problem.network, optimizer("adam"), parameters, slots, 0, batches, Penalty(alpha=1))
        ended.append((parameters, sums))
    np.testing.assert_allclose(ended[1][0], ended[0][0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ended[1][1], ended[0][1], rtol=1e-10)
