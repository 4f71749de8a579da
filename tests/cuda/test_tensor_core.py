"""The tensor core kernels against NumPy with the same rounding, and with a wider tolerance against the reference."""

import os

import numpy as np
import pytest
import tensor_core_reference
from numba import cuda

if os.environ.get("FASTMLP_GPU") != "1":
    import cuda_tensor_cores

    cuda_tensor_cores.install()

from fastmlp.kernels.cuda.launch import PreparedKernel, launch
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.cuda.tensor_core.plan import Plan, Segments, padded, segments_for, tensor_core_refusal
from fastmlp.kernels.cuda.tensor_core.prediction import copy_kernel, tensor_core_prediction_kernel
from fastmlp.kernels.cuda.tensor_core.rows import convert_rows
from fastmlp.kernels.cuda.tensor_core.training import tensor_core_training_kernel
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, extras_of
from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.rules.optimizers import OPTIMIZERS
from fastmlp.kernels.spec import NO_PENALTY, Network, Penalty, loss_row, new_slots, optimizer

# The simulator rounds exactly as NumPy does; a GPU sums in another order, so that some numbers round the other way.
TOLERANCE = 2e-3 if os.environ.get("FASTMLP_GPU") == "1" else 1e-5


def network_of(*sizes, hidden="relu", output="identity", loss="squared_error", options=None):
    options = tuple(dict(loss_row(loss).options).values()) if options is None else options
    return Network(sizes, (hidden,) * (len(sizes) - 2) + (output,), loss, options)


def problem(network, rows, seed=0):
    """(parameters, X, y) with targets that are valid for the loss."""
    rng = np.random.default_rng(seed)
    parameters = np.concatenate([
        np.append(rng.standard_normal(b.fan_in * b.fan_out) / b.fan_in**0.5, rng.standard_normal(b.fan_out) / 4)
        for b in network.blocks
    ]).astype(np.float32)  # fmt: skip
    X = rng.standard_normal((rows, network.sizes[0])).astype(np.float32)
    y = rng.standard_normal((rows, network.sizes[-1])).astype(np.float32)
    low, high = loss_row(network.loss).targets
    if network.loss == "categorical_cross_entropy":
        y = np.eye(network.sizes[-1], dtype=np.float32)[rng.integers(network.sizes[-1], size=rows)]
    elif (low, high) == (0, 1):
        y = (y > 0).astype(np.float32)
    elif low == 0:
        y = np.floor(np.abs(y) * 2)
    return parameters, X, y


def to_pairs(X):
    """X as the kernels read it: padded, in pairs of bfloat16."""
    there = cuda.to_device(np.zeros((len(X), padded(X.shape[1])), np.uint16))
    launch(convert_rows, 2, 64, 0, 0, cuda.to_device(X), there)
    return cuda.to_device(there.copy_to_host().view(np.uint32).reshape(-1))


def train(network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0,
          penalty=NO_PENALTY, warps=2, blocks=2, cuts=()):  # fmt: skip
    """(results, gradient); parameters and slots change. ``optimizer`` None: the gradient of the last batch."""
    plan = Segments(network, warps, cuts)
    name, clipped = (optimizer.name, optimizer.clip_norm > 0) if optimizer is not None else ("", False)
    n_batches, n = -(-len(order) // batch_size), network.n_parameters
    rates = np.full(n_batches, optimizer.learning_rate if optimizer is not None else 0.0)
    options = [*optimizer.options, 0.0] if optimizer is not None else [0.0]
    weights = np.ones(1, np.float32) if sample_weight is None else sample_weight
    extras = extras_of(network, optimizer or NO_OPTIMIZER, penalty, None).array
    P, state = cuda.to_device(parameters), cuda.to_device(slots.reshape(-1) if slots.size else np.zeros(1, np.float32))
    results, gradient = cuda.to_device(np.zeros(3)), cuda.to_device(np.full(n, np.nan, np.float32))
    given = [
        to_pairs(X), *map(cuda.to_device, (y, weights, order, rates, np.full(n_batches, np.nan),
        np.full(n_batches, np.nan))), P, state, gradient, cuda.to_device(np.full(plan.n_copy, 0x7FC0, np.uint16)),
        cuda.to_device(np.full(max(plan.words_between(batch_size), 1), 0x7FC07FC0, np.uint32)),
        *map(cuda.to_device, (np.full(n * blocks, np.nan, np.float32), np.full((2 * n_batches + 1) * blocks, np.nan))),
        results, *map(cuda.to_device, (extras, np.array(options), np.array([*network.loss_options, 0.0]))),
        float(alpha), step, batch_size,
    ]  # fmt: skip
    kernel = tensor_core_training_kernel(plan, name, sample_weight is not None, clipped)
    PreparedKernel(kernel, plan.threads, plan.shared_bytes, blocks, True)(cuda.stream(), *given)
    cuda.synchronize()
    parameters[:] = P.copy_to_host()
    if slots.size:
        slots[:] = state.copy_to_host().reshape(slots.shape)
    return results.copy_to_host(), gradient.copy_to_host()


def close(found, expected, tolerance):
    """A few elements may round the other way in bfloat16, so the mean difference must be smaller than the largest."""
    scale = np.abs(expected).max()
    difference = np.abs(found - expected)
    assert difference.max() <= tolerance * scale, (difference.max() / scale, np.argmax(difference))
    assert difference.mean() <= tolerance * scale / 10


def check_gradient(network, rows=40, weighted=False, **how):
    parameters, X, y = problem(network, rows)
    rng = np.random.default_rng(1)
    order = rng.permutation(rows)
    weight = rng.integers(0, 3, rows).astype(np.float32) if weighted else None
    penalty, nothing = Penalty(l1=0.02), np.empty((0, parameters.size), np.float32)
    args = nothing, 0, X, y, order, rows, weight, 0.1, penalty
    results, gradient = train(network, None, parameters, *args, **how)
    wanted, expected_gradient = tensor_core_reference.epoch(network, None, parameters, *args)
    np.testing.assert_allclose(results, wanted, rtol=TOLERANCE)
    close(gradient, expected_gradient, TOLERANCE)
    in_bfloat16 = network._replace(matmul_precision="medium")
    loss, _, reference = numpy_reference.loss_and_gradient(
        in_bfloat16, parameters, X, y, weight, penalty._replace(alpha=0.1)
    )
    np.testing.assert_allclose(results[0] / rows, loss, rtol=1e-2)
    close(gradient, reference, 1e-2)


@pytest.mark.parametrize("sizes", [(4, 16, 3), (5, 17, 33, 2), (64, 64, 64, 64), (20, 128, 9), (3, 2)])
def test_gradients(sizes):
    check_gradient(network_of(*sizes, hidden="tanh"), weighted=sizes[0] == 5, warps=4 if sizes[0] == 64 else 2)


@pytest.mark.parametrize("hidden", ["relu", "tanh", "identity", "elu"])
@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3)], ids=str)
def test_segments(cuts, hidden):
    """If shared memory cannot hold all layers; the results do not depend on the cuts."""
    network = network_of(5, 17, 33, 16, 3, hidden=hidden, output="softmax", loss="categorical_cross_entropy")
    check_gradient(network, rows=75, weighted=True, warps=1, cuts=cuts)


def test_segments_of_layers_that_need_z_within():
    network = Network((5, 17, 33, 16, 3), ("gelu", "relu", "silu", "identity"), "squared_error")
    check_gradient(network, rows=40, warps=2, cuts=(2,))
    found = segments_for(network._replace(sizes=(128,) * 5))
    assert found.between == [1]


HIDDEN = "identity", "piecewise_linear", "logistic", "relu", "leaky_relu", "elu", "selu", "softplus", "exp"


@pytest.mark.parametrize("hidden", [*HIDDEN, "arctan", "gelu", "silu", "mish"])
def test_activations(hidden):
    check_gradient(network_of(6, 17, 3, hidden=hidden), rows=20, warps=1)


LOSSES = [
    ("squared_error", "tanh", ()), ("mean_squared_error", "identity", ()), ("absolute_error", "identity", ()),
    ("huber", "silu", (0.5,)), ("quantile", "softplus", (0.7,)), ("categorical_cross_entropy", "softmax", (0.2,)),
    ("binary_cross_entropy", "logistic", (0.2,)), ("poisson", "exp", ()), ("perceptron", "step", ()),
    ("squared_error", "softmax", ()),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "output", "options"), LOSSES)
def test_losses(loss, output, options):
    check_gradient(network_of(6, 17, 11, output=output, loss=loss, options=options), rows=20, weighted=True, warps=1)


OPTIMIZED = [*(optimizer(name, 0.01) for name in OPTIMIZERS), optimizer("adam", 0.01, weight_decay=0.1, clip_norm=0.05)]
OPTIMIZED += [optimizer("momentum", 0.1, weight_decay=0.1, clip_value=0.01, layer_rates=(1.0, 0.5))]


@pytest.mark.parametrize("chosen", OPTIMIZED, ids=lambda o: f"{o.name}-{o.clip_norm:g}")
def test_epochs(chosen):
    """Batches of 24 of 62 rows, the last one shorter; one is skipped, because all its weights are zero."""
    network = network_of(4, 16, 3, hidden="tanh")
    parameters, X, y = problem(network, 70)
    order = np.random.default_rng(1).permutation(70)[:62]
    weight = np.random.default_rng(2).random(70).astype(np.float32)
    weight[order[24:48]] = 0
    slots, state = (new_slots(chosen.name, parameters.size, np.float32) for _ in range(2))
    found, wanted = parameters.copy(), parameters.copy()
    args = 5, X, y, order, 24, weight, 0.1, Penalty(l1=0.01)
    results, _ = train(network, chosen, found, slots, *args, warps=1, blocks=2)
    expected, _ = tensor_core_reference.epoch(network, chosen, wanted, state, *args)
    np.testing.assert_allclose(results, expected, rtol=TOLERANCE)
    assert results[2] == 2
    # The sign of a gradient near 0 is arbitrary, and some optimizers make a full step of it.
    close(found - parameters, wanted - parameters, 25 * TOLERANCE)
    for one, other in zip(slots, state):
        close(one, other, 25 * TOLERANCE)


def test_results_are_reproducible_and_independent_of_padding():
    network = network_of(4, 16, 3, output="softmax", loss="categorical_cross_entropy")
    parameters, X, y = problem(network, 50)
    runs = []
    for _ in range(2):
        found, slots = parameters.copy(), new_slots("adam", parameters.size, np.float32)
        train(network, optimizer("adam"), found, slots, 0, X, y, np.arange(50), 20, warps=1, blocks=3)
        runs.append(found)
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("network", [
    network_of(5, 17, 33, 2), network_of(9, 24, 11, output="softmax"), network_of(64, 64, hidden="gelu", output="silu"),
], ids=["relu", "softmax", "silu"])  # fmt: skip
def test_predictions(network):
    parameters, X, _ = problem(network, 75)
    plan = Plan(network, False, 2)
    P, copies = cuda.to_device(parameters), cuda.to_device(np.full(plan.n_copy, 0x7FC0, np.uint16))
    out = cuda.to_device(np.full((75, network.sizes[-1]), np.nan, np.float32))
    launch(copy_kernel(plan), 2, plan.threads, 0, 0, P, copies)
    given = to_pairs(X), P, copies, out
    PreparedKernel(tensor_core_prediction_kernel(plan), plan.threads, plan.shared_bytes, 2, False)(0, *given)
    close(out.copy_to_host(), tensor_core_reference.prediction(network, parameters, X)[0], TOLERANCE)
    close(out.copy_to_host(), numpy_reference.forward(network._replace(matmul_precision="medium"), parameters, X), 1e-2)


def test_refusals():
    assert tensor_core_refusal(network_of(64, 64, 64), Features()) is None
    assert tensor_core_refusal(network_of(*[128] * 20), Features()) is None
    assert "no split into segments" in tensor_core_refusal(network_of(*[128] * 6, hidden="gelu"), Features())
    assert "wider" in tensor_core_refusal(network_of(64, 129, 64), Features())
    assert "slopes" in tensor_core_refusal(network_of(4, 4, 4, hidden="prelu"), Features())
    assert "noise" in tensor_core_refusal(network_of(4, 4, 4, hidden="noisy_relu"), Features(noisy=True))
    assert "activity" in tensor_core_refusal(network_of(4, 4, 4), Features(activity=True))
    assert "norms" in tensor_core_refusal(network_of(4, 4, 4), Features(limited=True))
