"""The contract on an NVIDIA GPU. What each function promises: numpy_reference.py.

Arrays of rows may lie on the device already (``hold``); parameters and slots are the host's, and change only when a
call has succeeded.
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.compiled import NO_OPTIMIZER, extras_of
from fastmlp.kernels.network import NO_PENALTY, Network
from fastmlp.kernels.numba_cuda import data, devices
from fastmlp.kernels.numba_cuda.execution import predictor_for, trainer_for
from fastmlp.kernels.numba_cuda.launching import launch
from fastmlp.kernels.numba_cuda.layout import Features
from fastmlp.kernels.numba_cuda.pieces import THREADS, derivative_kernel, update_kernel

devices.current()  # whoever imports this wants to know at once

PREDICTED_BYTES = 2**27  # of rows on their way at a time


def hold(X, y, sample_weight=None):
    return data.hold(X, y, sample_weight)


def dense_forward(activation, X, W, b):
    network = Network((W.shape[0], W.shape[1]), (activation,), "squared_error")
    return forward(network, np.concatenate([W.reshape(-1), b]), X)


def activation_derivative(activation, output, delta):
    with devices.guarded():
        there = cuda.to_device(delta)
        kernel = derivative_kernel(activation, delta.dtype)
        launch(kernel, _blocks(delta.size), THREADS, 0, 0, cuda.to_device(output), there)
        return there.copy_to_host()


def delta_backpropagation(delta, W):
    return dense_forward("identity", delta, W.T, np.zeros(len(W), W.dtype))


def weight_gradient(X, delta):
    zero = np.zeros(delta.shape[1], delta.dtype)
    return dense_forward("identity", np.ascontiguousarray(X.T), delta, zero), delta.sum(axis=0)


def forward(network, parameters, X, only_if_finite=False, noise=None):
    if only_if_finite and not np.isfinite(X).all():
        return None
    extras, demands, _ = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
    features = _features(demands, noise, learning=False)
    height = max(1, PREDICTED_BYTES // (X.shape[1] * X.dtype.itemsize))
    with devices.guarded():
        runner = predictor_for(network, features, parameters.dtype, min(len(X), height))
        with runner.lock:
            parameters_there, extras_there = cuda.to_device(parameters), cuda.to_device(extras)
            out = np.empty((len(X), network.sizes[-1]), parameters.dtype)
            seed = 0 if noise is None else noise.seed
            for start in range(0, len(X), height):
                rows = data.on_device(X[start : start + height])
                there = runner.run(parameters_there, rows, extras_there, seed, start)
                out[start : start + height] = there.copy_to_host(stream=runner.stream)
                runner.stream.synchronize()
    return out


def _features(demands, noise, learning=True, weighted=False, optimizer=NO_OPTIMIZER):
    return Features(
        learning, noise is not None, demands.inputs, demands.dropped, demands.activity, weighted,
        optimizer.clip_norm > 0, optimizer.max_norm > 0,
    )  # fmt: skip


def row_predictor(network, parameters):
    parameters = parameters.copy()
    return lambda x: forward(network, parameters, np.ascontiguousarray(x).reshape(1, -1))[0]


def loss_and_gradient(
    network, parameters, X, y, sample_weight=None, alpha=0.0, penalty=NO_PENALTY, noise=None
):  # fmt: skip
    gradient = np.empty_like(parameters)
    loss, more, _ = _run(
        network, NO_OPTIMIZER, parameters, np.empty((0, parameters.size)), 0, X, y, np.arange(len(X)), len(X),
        sample_weight, alpha, penalty, noise, None, (0.0, 0.0), gradient,
    )  # fmt: skip
    return loss / len(X), more / len(X), gradient


def update(optimizer, parameters, gradient, slots, step):
    extras, _, _ = extras_of(Network((1, 1), ("identity",), "squared_error"), NO_OPTIMIZER, NO_PENALTY, None)
    with devices.guarded():
        stream = 0
        there = [data.on_device(array, stream) for array in (parameters, gradient, slots.reshape(-1), extras)]
        options = data.on_device(np.array(optimizer.options, np.float64))
        kernel, blocks = update_kernel(optimizer.name, parameters.dtype), _blocks(parameters.size)
        launch(kernel, blocks, THREADS, 0, 0, *there[:3], optimizer.learning_rate, step, there[3], options)
        new_slots, new_parameters = there[2].copy_to_host(), there[0].copy_to_host()
    parameters[...] = new_parameters
    slots.reshape(-1)[...] = new_slots[: slots.size]


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0, penalty=NO_PENALTY, noise=None, rates=None,
):  # fmt: skip
    loss_sum, penalty_sum, n_updates = _run(
        network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, penalty, noise,
        rates, (loss_sum, penalty_sum), None,
    )  # fmt: skip
    return float(loss_sum), float(penalty_sum), int(n_updates)


def _run(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, penalty, noise, rates,
    sums, gradient,
):  # fmt: skip
    """Steps, or one gradient: (sum of losses, sum of penalties, updates made)."""
    extras, demands, _ = extras_of(network, optimizer, penalty, noise)
    features = _features(demands, noise, weighted=sample_weight is not None, optimizer=optimizer)
    batch_size = min(batch_size, len(order))
    n_batches = -(-len(order) // batch_size)
    rates = np.full(n_batches, optimizer.learning_rate) if rates is None else np.asarray(rates, np.float64)
    with devices.guarded():
        runner = trainer_for(network, optimizer.name, features, parameters.dtype, batch_size)
        with runner.lock:
            blocks = data.blocks_of_rows(X, y, sample_weight, order, batch_size, runner.stream)
            results = runner.run(
                parameters, slots, step, blocks, rates, extras, optimizer.options, network.loss_options, alpha,
                0 if noise is None else noise.seed, np.array([*sums, 0.0]),
            )  # fmt: skip
            changed = [(runner.parameters, parameters), (runner.slots, slots)]
            return runner.bring_back(results, *([(runner.gradient, gradient)] if gradient is not None else changed))


def _blocks(n_items):
    return max(1, min(4 * devices.current().processors, -(-n_items // THREADS)))
