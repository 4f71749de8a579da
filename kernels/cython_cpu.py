"""The contract in Cython: compiled ahead of time, so the first fit waits for nothing. See numpy_reference.py for it."""

from functools import cache
from importlib import import_module

from fastmlp.kernels import compiled
from fastmlp.kernels.plan import Engine
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS

LEVELS = "x86_64_v4", "x86_64_v3"  # of the instruction set, best first


def _best_level():
    """The engine compiled for the best level of instructions that this processor has."""
    baseline = import_module("fastmlp.kernels.engine_baseline")
    for level in LEVELS:
        if baseline.processor_has(level):
            return import_module(f"fastmlp.kernels.engine_{level}")
    return baseline


def _number(table, name):
    return list(table).index(name) + 1


@cache
def _network_codes(network, dtype):
    codes = [_number(ACTIVATIONS, name) for name in network.activations]
    return codes, codes, _number(LOSSES, network.loss)


@cache
def _optimizer_codes(name, dtype):
    code = _number(OPTIMIZERS, name)
    return code, code


_entries = _best_level()
_engine = Engine(
    _entries.vector_bytes, _entries.tile_height, _network_codes, _optimizer_codes, _entries, lambda array: array
)


def dense_forward(activation, X, W, b):
    return compiled.dense_forward(_engine, activation, X, W, b)


def activation_derivative(activation, output, delta):
    return compiled.activation_derivative(_engine, activation, output, delta)


def delta_backpropagation(delta, W):
    return compiled.delta_backpropagation(_engine, delta, W)


def weight_gradient(X, delta):
    return compiled.weight_gradient(_engine, X, delta)


def forward(network, parameters, X, only_if_finite=False):
    return compiled.forward(_engine, network, parameters, X, only_if_finite)


def row_predictor(network, parameters):
    return compiled.row_predictor(_engine, network, parameters)


def loss_and_gradient(network, parameters, X, y, sample_weight=None, alpha=0.0):
    return compiled.loss_and_gradient(_engine, network, parameters, X, y, sample_weight, alpha)


def update(optimizer, parameters, gradient, slots, step):
    compiled.update(_engine, optimizer, parameters, gradient, slots, step)


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0,
):  # fmt: skip
    return compiled.train_epoch(
        _engine, network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, loss_sum,
        penalty_sum,
    )  # fmt: skip
