"""The contract on an NVIDIA GPU. What each function promises: reference/contract.py.

Arrays of rows may lie on the device already (``hold``); parameters and slots are the host's, and change only when a
call has succeeded.
"""

import numpy as np

from fastmlp.kernels.engine.demands import NO_OPTIMIZER, extras_of
from fastmlp.kernels.numba import contract as on_cpu
from fastmlp.kernels.spec import NO_PENALTY, Batches, Network, predictor_by

from . import data, devices
from . import primitives as pieces
from .dispatch import rounded_up
from .executor import attempt, forget, predictor_for, trainer_for
from .simt.layout import Features

devices.current()  # whoever imports this wants to know at once


def hold(X, y, sample_weight=None):
    arrays = X, y, sample_weight

    def work():
        if not data.fit(*arrays):
            forget()
        return data.hold(*arrays) if data.fit(*arrays) else arrays

    return attempt(work)


def dense_forward(activation, X, W, b):
    network = Network(W.shape, (activation,), "squared_error")
    return forward(network, np.concatenate([W.reshape(-1), b]), X)


def activation_derivative(activation, output, delta):
    return attempt(lambda: pieces.derive(activation, output, delta))


def delta_backpropagation(delta, W):
    return dense_forward("identity", delta, W.T, np.zeros(len(W), W.dtype))


def weight_gradient(X, delta):
    zero = np.zeros(delta.shape[1], delta.dtype)
    return dense_forward("identity", np.ascontiguousarray(X.T), delta, zero), delta.sum(axis=0)


def forward(network, parameters, X, only_if_finite=False, noise=None):
    if only_if_finite and not np.isfinite(X).all():
        return None
    extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
    features = Features.of(extras.demands, noise, learning=False)
    return attempt(
        lambda: predictor_for(network, features, parameters.dtype, min(X.shape[0], data.block_rows(X))).run(
            parameters, X, extras.array, 0 if noise is None else noise.seed
        )
    )


def loss(network, parameters, X, y, sample_weight=None):
    return loss_of_outputs(network, forward(network, parameters, X), y, sample_weight)


def loss_of_outputs(network, outputs, y, sample_weight=None):
    y, weight = attempt(lambda: tuple(map(data.on_host, (y, sample_weight))))
    return on_cpu.loss_of_outputs(network, outputs, y, weight)


def row_predictor(network, parameters):
    return predictor_by(forward, network, parameters)


def loss_and_gradient(network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
    gradient, n_rows = np.empty_like(parameters), X.shape[0]
    # The batch size is rounded up: the same kernels for many numbers of rows.
    batches = Batches(X, y, np.arange(n_rows), rounded_up(n_rows), sample_weight)
    arrays = parameters, np.empty((0, parameters.size)), gradient
    loss, more, _ = _run(network, NO_OPTIMIZER, arrays, 0, batches, penalty, noise, None, (0.0, 0.0))
    return loss / n_rows, more / n_rows, gradient


def update(optimizer, parameters, gradient, slots, step):
    found = attempt(lambda: pieces.update(optimizer, parameters, gradient, slots, step))
    parameters[...], slots[...] = found


def train_epoch(
    network, optimizer, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None, totals=(0.0, 0.0)
):  # fmt: skip
    arrays = parameters, slots, None
    loss_sum, penalty_sum, n_updates = _run(network, optimizer, arrays, step, batches, penalty, noise, rates, totals)
    return float(loss_sum), float(penalty_sum), int(n_updates)


def _run(network, optimizer, arrays, step, batches, penalty, noise, rates, totals):
    """Steps, or one gradient: (sum of losses, sum of penalties, updates made)."""
    X, y, order, batch_size, sample_weight = batches
    extras = extras_of(network, optimizer, penalty, noise)
    features = Features.of(extras.demands, noise, optimizer, weighted=sample_weight is not None)
    n_batches = -(-len(order) // batch_size)
    rates = np.full(n_batches, optimizer.learning_rate) if rates is None else np.asarray(rates, np.float64)
    given = (
        *arrays, step, (X, y, sample_weight, order), rates, extras.array, optimizer.options,
        network.loss_options, float(penalty.alpha), 0 if noise is None else noise.seed, np.array([*totals, 0.0]),
    )  # fmt: skip
    dtype = arrays[0].dtype
    return attempt(lambda: trainer_for(network, optimizer.name, features, dtype, batch_size).run(*given))
