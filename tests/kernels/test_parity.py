"""Compiled backends against the reference: primitives, gradients, and parameters after 20 steps, over the tables."""

from itertools import product

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.kernels.spec import Batches, Penalty, new_slots, optimizer
from problems import COMBINATIONS, COMPILED, DTYPES, HIDDEN, OUTPUTS, Problem, grid, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


@pytest.fixture(params=COMPILED)
def compiled(request):
    return registry.choose(request.param).kernels


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def test_combinations_contain_every_name_and_every_pair_of_names():
    """Cases of hidden activation, loss, output activation and optimizer; gradients are checked over the same list."""
    assert {row[1:3] for row in COMBINATIONS} == set(OUTPUTS)
    for i, j, names in ((0, 3, product(HIDDEN, OPTIMIZERS)), (0, 1, product(HIDDEN, LOSSES)),
                        (0, 2, product(HIDDEN, ACTIVATIONS)), (1, 3, product(LOSSES, OPTIMIZERS)),
                        (2, 3, product(ACTIVATIONS, OPTIMIZERS))):  # fmt: skip
        assert {(row[i], row[j]) for row in COMBINATIONS} == set(names)
    assert set(HIDDEN) == {name for name, row in ACTIVATIONS.items() if not row.rowwise}
    quick = [row.values for row in grid(COMBINATIONS) if not row.marks]
    for found, names in zip(zip(*quick), (HIDDEN, LOSSES, ACTIVATIONS, OPTIMIZERS)):
        assert set(found) == set(names)


@pytest.mark.parametrize("hidden, loss, output, name", grid(COMBINATIONS))
def test_parameters_after_20_steps_equal_the_reference(compiled, dtype, hidden, loss, output, name):
    """With the same initial parameters; the reference always computes in float64."""
    rule = optimizer(name, 0.01)
    runs = []
    for kernels, kind in ((compiled, dtype), (reference, "float64")):
        problem = Problem(loss, output, (hidden, "tanh"), (5, 9, 4, 3), rows=60, dtype=dtype)
        arrays = [problem.parameters, problem.X, problem.y, problem.weight]
        parameters, X, y, weight = [array.astype(kind) for array in arrays]
        slots = new_slots(name, parameters.size, kind)
        steps = 0
        for _ in range(4):
            *sums, made = kernels.train_epoch(
                problem.network,
                rule,
                parameters,
                slots,
                steps,
                Batches(X, y, problem.order, 13, weight),
                Penalty(alpha=0.05),
            )
            steps += made
        assert steps == 20
        runs.append((parameters, slots, sums))
    (parameters, slots, sums), (expected, expected_slots, expected_sums) = runs
    assert parameters.dtype == dtype
    assert relative_error(parameters, expected) < TOLERANCE[dtype]
    assert relative_error(sums, expected_sums) < TOLERANCE[dtype]
    for slot, expected_slot in zip(slots, expected_slots):
        assert relative_error(slot, expected_slot) < 3 * TOLERANCE[dtype]


@pytest.mark.parametrize("hidden, loss, output", grid(sorted({row[:3] for row in COMBINATIONS})))
def test_loss_and_gradient_equal_the_reference(compiled, dtype, hidden, loss, output):
    problem = Problem(loss, output, (hidden,), dtype=dtype)
    args = problem.network, problem.parameters, problem.X, problem.y, problem.weight, Penalty(alpha=0.3)
    found = compiled.loss_and_gradient(*args)
    expected = reference.loss_and_gradient(*(a.astype("f8") if isinstance(a, np.ndarray) else a for a in args))
    assert relative_error(found[:2], expected[:2]) < TOLERANCE[dtype]
    assert relative_error(found[2], expected[2]) < TOLERANCE[dtype]
    assert found[2].dtype == dtype


@pytest.mark.parametrize("activation", [name for name, row in ACTIVATIONS.items() if row.trainable is None])
def test_dense_forward_and_activation_derivative_equal_the_reference(compiled, dtype, activation):
    """At ordinary and at extreme pre-activations."""
    far = [80.0] if activation == "exp" else [100.0, 1e4]  # e^z overflows above 88 in float32
    z = np.concatenate([np.linspace(-30, 30, 97), far, np.negative(far), [0.0]]) / 2
    X, W, b = z[:, None].astype(dtype), np.array([[1, 0.5, -2]], dtype), np.array([0, 0.25, -0.5], dtype)
    wide = [array.astype("f8") for array in (X, W, b)]
    found = compiled.dense_forward(activation, X, W, b)
    expected = reference.dense_forward(activation, *wide)
    # exp is steep: a relative error in z is a relative error in a that is up to |z| times as large.
    scale = 100 if activation == "exp" else 1
    np.testing.assert_allclose(found, expected, rtol=scale * TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)
    delta = np.random.RandomState(0).standard_normal(found.shape).astype(dtype)
    given = delta.copy()
    slope = compiled.activation_derivative(activation, found, delta)
    np.testing.assert_array_equal(delta, given)
    expected = reference.activation_derivative(activation, found.astype("f8"), delta.astype("f8"))
    np.testing.assert_allclose(slope, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_products_equal_the_reference(compiled, dtype):
    rng = np.random.RandomState(0)
    X, delta, W = (rng.standard_normal(shape).astype(dtype) for shape in ((11, 6), (11, 4), (6, 4)))
    assert relative_error(compiled.delta_backpropagation(delta, W), delta @ W.T) < TOLERANCE[dtype]
    for found, expected in zip(compiled.weight_gradient(X, delta), reference.weight_gradient(X, delta)):
        assert relative_error(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_equals_the_reference_step_after_step(compiled, dtype, name):
    rng = np.random.RandomState(1)
    rule = optimizer(name, 0.03)
    gradients = rng.standard_normal((5, 1000)).astype(dtype)
    parameters = rng.standard_normal(1000).astype(dtype)
    expected = parameters.astype("f8")
    slots, expected_slots = new_slots(name, 1000, dtype), new_slots(name, 1000, "float64")
    for step, gradient in enumerate(gradients, 1):
        compiled.update(rule, parameters, gradient, slots, step)
        reference.update(rule, expected, gradient.astype("f8"), expected_slots, step)
    assert relative_error(parameters, expected) < TOLERANCE[dtype]
    for slot, expected_slot in zip(slots, expected_slots):
        assert relative_error(slot, expected_slot) < TOLERANCE[dtype]
