"""The contract in Numba: compiled at run time for this very CPU. What each function promises: reference/contract.py."""

from functools import cache

import numba

from fastmlp.kernels.cpu import contract as compiled
from fastmlp.kernels.engine.plan import Engine, NetworkCodes
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.spec import NO_PENALTY, loss_row

from . import engine as numba_engine
from . import rule_loops
from .vectors import TILE_ROWS, VECTOR_BYTES


@cache
def _network_codes(network, dtype):
    kind = numba.from_dtype(dtype)
    derivatives = [rule_loops.derivative(name, kind) for name in network.activations]
    if loss_row(network.loss).link is not None:
        derivatives[-1] = NO_RULE
    activations = [rule_loops.activation(name, kind) for name in network.activations]
    deviations = [rule_loops.deviation(name, kind) for name in network.activations]
    return NetworkCodes(activations, derivatives, deviations, rule_loops.loss(network.loss, kind))


@cache
def _optimizer_codes(name, dtype):
    return rule_loops.update(name, numba.from_dtype(dtype)), rule_loops.rate(name)


def _frozen(array):
    """A read-only view: Numba compiles anew for each mix of read-only and writable arguments."""
    view = array.view()
    view.flags.writeable = False
    return view


_engine = Engine(VECTOR_BYTES, TILE_ROWS, _network_codes, _optimizer_codes, numba_engine, _frozen)


def dense_forward(activation, X, W, b):
    return compiled.dense_forward(_engine, activation, X, W, b)


def activation_derivative(activation, output, delta):
    return compiled.activation_derivative(_engine, activation, output, delta)


def delta_backpropagation(delta, W):
    return compiled.delta_backpropagation(_engine, delta, W)


def weight_gradient(X, delta):
    return compiled.weight_gradient(_engine, X, delta)


def hold(X, y, sample_weight=None):
    return X, y, sample_weight


def forward(network, parameters, X, only_if_finite=False, noise=None):
    return compiled.forward(_engine, network, parameters, X, only_if_finite, noise)


def row_predictor(network, parameters):
    return compiled.row_predictor(_engine, network, parameters)


def loss(network, parameters, X, y, sample_weight=None):
    return compiled.loss(_engine, network, parameters, X, y, sample_weight)


def loss_of_outputs(network, outputs, y, sample_weight=None):
    return compiled.loss_of_outputs(_engine, network, outputs, y, sample_weight)


def loss_and_gradient(
    network, parameters, X, y, sample_weight=None, alpha=0.0, penalty=NO_PENALTY, noise=None
):  # fmt: skip
    return compiled.loss_and_gradient(_engine, network, parameters, X, y, sample_weight, alpha, penalty, noise)


def update(optimizer, parameters, gradient, slots, step):
    compiled.update(_engine, optimizer, parameters, gradient, slots, step)


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0, penalty=NO_PENALTY, noise=None, rates=None,
):  # fmt: skip
    return compiled.train_epoch(
        _engine, network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, loss_sum,
        penalty_sum, penalty, noise, rates,
    )  # fmt: skip
