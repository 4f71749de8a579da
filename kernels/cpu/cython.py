"""The contract in Cython: compiled ahead of time, so the first fit needs no compilation. See reference/contract.py."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from fastmlp.kernels import spec
from fastmlp.kernels.engine.compiled import Engine, NetworkCodes
from fastmlp.kernels.engine.instruction_sets import LEVELS, allowed_levels
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.rules import LOSSES, OPTIMIZERS
from fastmlp.kernels.spec import activation_row

from .contract import Contract
from .matrix_unit import unit_of

DEVICE, PRECISIONS, USES_BLAS, TAKES_SPARSE = None, tuple(spec.PRECISIONS), False, True

NOT_BUILT = (
    "its extension module was not built, because no C compiler or no Python headers were found when fastmlp was "
    "installed. Install them, then install fastmlp again with pip's options --force-reinstall --no-deps "
    "--no-cache-dir"
)


def _best_level():
    """The engine for the best instruction set of this processor; a native build comes first."""
    levels = allowed_levels()
    if levels == LEVELS and find_spec("fastmlp.kernels.cpu.engine_native"):
        return import_module("fastmlp.kernels.cpu.engine_native")
    if not find_spec("fastmlp.kernels.cpu.engine_baseline"):
        raise ImportError(NOT_BUILT)
    baseline = import_module("fastmlp.kernels.cpu.engine_baseline")
    for level in levels[:-1]:
        if find_spec(f"fastmlp.kernels.cpu.engine_{level}") and baseline.processor_has(level):
            return import_module(f"fastmlp.kernels.cpu.engine_{level}")
    return baseline


def _engine_of(entries):
    """The Engine of a compiled module."""
    addresses = entries.addresses()

    def code(kind, rule, dtype):
        """The address of the loop around a rule of the tables; NO_RULE for None."""
        return NO_RULE if rule is None else addresses[f"{kind}_{rule.__name__}", str(dtype)]

    def activation_codes(activation, dtype):
        row = activation_row(activation)
        if not isinstance(activation, str):
            return _by_numba("activation", row, dtype), _by_numba("derivative", row, dtype), NO_RULE
        derivative = row.derivative if row.trainable is None else None
        function, std = code("activate", row.function, dtype), code("activate", row.std, dtype)
        return function, code("derive", derivative, dtype), std

    @cache
    def network_codes(network, dtype):
        by_layer = [activation_codes(activation, dtype) for activation in network.activations]
        known = isinstance(network.loss, str)
        loss = code("loss", LOSSES[network.loss].function, dtype) if known else _by_numba("loss", network.loss, dtype)
        return NetworkCodes(*map(list, zip(*by_layer)), loss)

    @cache
    def optimizer_codes(name, dtype):
        row = OPTIMIZERS[name]
        return code("update", row.update, dtype), code("rate", row.rate, dtype)

    return Engine(
        entries.vector_bytes, entries.tile_height, network_codes, optimizer_codes, entries, lambda array: array,
        unit_of,
    )  # fmt: skip


def _by_numba(kind, row, dtype):
    """The address of the loop that Numba compiles around a custom rule."""
    try:
        numba = import_module("numba")
    except ModuleNotFoundError as error:
        raise ImportError(
            "custom activations and losses are compiled by Numba: pip install numba, or take backend='numpy' (slow)"
        ) from error
    return getattr(import_module("fastmlp.kernels.numba.rule_loops"), kind)(row, numba.from_dtype(dtype))


_contract = Contract(_engine_of(_best_level()))
globals().update(_contract.functions())
wait_for_ranks = _contract.engine.entries.wait_for_ranks
