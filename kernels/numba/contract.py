"""The contract in Numba, compiled at run time for this CPU; functions are documented in reference/contract.py."""

from functools import cache

import numba

from fastmlp.kernels import spec
from fastmlp.kernels.cpu.contract import Contract
from fastmlp.kernels.cpu.matrix_unit import unit_of
from fastmlp.kernels.engine.compiled import Engine, NetworkCodes
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.spec import loss_row

from . import engine, rule_loops
from .vectors import TILE_ROWS, VECTOR_BYTES

DEVICE, PRECISIONS, USES_BLAS, TAKES_SPARSE = None, tuple(spec.PRECISIONS), False, True


@cache
def _network_codes(network, dtype):
    kind = numba.from_dtype(dtype)
    linked = loss_row(network.loss).link is not None
    with_derivative = network.activations[:-1] if linked else network.activations
    derivatives = [rule_loops.derivative(name, kind) for name in with_derivative] + [NO_RULE] * linked
    activations = [rule_loops.activation(name, kind) for name in network.activations]
    stds = [rule_loops.noise_std(name, kind) for name in network.activations]
    return NetworkCodes(activations, derivatives, stds, rule_loops.loss(network.loss, kind))


@cache
def _optimizer_codes(name, dtype):
    return rule_loops.update(name, numba.from_dtype(dtype)), rule_loops.rate(name)


def _frozen(array):
    """A read-only view: Numba compiles again for each mix of read-only and writable arguments."""
    view = array.view()
    view.flags.writeable = False
    return view


_contract = Contract(Engine(VECTOR_BYTES, TILE_ROWS, _network_codes, _optimizer_codes, engine, _frozen, unit_of))
globals().update(_contract.functions())
