"""The unit that multiplies matrices of bfloat16: AMX, the instructions of AVX512_BF16, or float32.

The permission for AMX belongs to the process and is asked for once; threads set its registers up and release them
within a call of the engine (``open_tiles``). Set FASTMLP_AMX=0 to do without it.
"""

import ctypes
import os
import platform
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

from fastmlp.kernels.engine import plan
from fastmlp.kernels.engine.bfloat16_tiles import AMX_UNIT, BFLOAT16_UNIT, FLOAT_UNIT, INNER, SIDE, TILE_SCRATCH, WORDS
from fastmlp.kernels.spec import aligned_zeros

from .contract_primitives import prepared_product

ARCH_PRCTL, GET_PERMISSION, REQUEST_PERMISSION, TILE_DATA = 158, 0x1022, 0x1023, 18  # of Linux on x86-64
HOW = {AMX_UNIT: "on AMX", BFLOAT16_UNIT: "with AVX512_BF16", FLOAT_UNIT: "in float32"}
OLD_COMPILER = "the C compiler that built the engine knows neither AMX nor AVX512_BF16; GCC 11 and Clang 12 do"
OLD_LEVEL = "FASTMLP_LEVEL or Numba's settings restrict it to instructions without AVX-512"
GAIN = 1.3  # of a product, so that it pays for packing too
SECONDS, SIZE = 1e-3, 128  # of a measurement, at least; rows, columns and inner dimension of its product


@cache
def processor_flags():
    """The features of the processor, as Linux names them."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


@cache
def is_permitted():
    """Ask the system for AMX: whether this process may use it."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    call, granted = ctypes.CDLL(None).syscall, ctypes.c_uint64()
    refused = call(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) or call(ARCH_PRCTL, GET_PERMISSION, ctypes.byref(granted))
    return not refused and bool(granted.value >> TILE_DATA & 1)


def why_no_amx():
    """None if this process may use AMX, or why not."""
    if not {"amx_tile", "amx_bf16"} <= processor_flags():
        return "this processor has no AMX"
    if os.environ.get("FASTMLP_AMX") == "0":
        return "FASTMLP_AMX=0 turns AMX off"
    return None if is_permitted() else "the system does not permit AMX"


def why_no_tiles(engine):
    """None if a compiled Engine may multiply tiles of bfloat16, or why not."""
    if engine.vector_bytes < 4 * SIDE:  # a row of a tile fills one of its registers
        return OLD_LEVEL
    return None if engine.entries.multiplies_tiles else OLD_COMPILER


def choose(engine):
    """The unit for a compiled Engine."""
    if why_no_tiles(engine) is not None:
        return FLOAT_UNIT
    if why_no_amx() is None:
        return AMX_UNIT
    # On some processors the instructions of AVX512_BF16 are slower than those of float32.
    return BFLOAT16_UNIT if "avx512_bf16" in processor_flags() and _is_faster(engine) else FLOAT_UNIT


unit_of = cache(choose)


def _is_faster(engine):
    """Whether AVX512_BF16 is clearly faster than float32: a close result could differ from process to process."""
    return GAIN * _seconds(product_of_tiles(engine)) < _seconds(_product(engine))


def _product(engine):
    ones = np.ones((SIZE, SIZE), np.float32)
    return prepared_product(engine, ones, ones, ones[0])[0]


def product_of_tiles(engine, unit=BFLOAT16_UNIT, n_terms=1, size=SIZE):
    """Function that multiplies packed operands, square matrices, in one thread."""
    packed = aligned_zeros(size // SIDE * (size // INNER) * n_terms * WORDS, np.float32)
    bias, out = aligned_zeros(size, np.float32), aligned_zeros((size, size), np.float32)
    scratch = aligned_zeros(TILE_SCRATCH, np.float32)
    return lambda: engine.entries.run_tiles(unit, n_terms, packed, packed, bias, out, scratch)


def _seconds(product):
    """Shortest time of a call, after one to warm up: what else runs on the machine only adds to a time."""
    times = []
    while len(times) < 4 or sum(times) < SECONDS:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def describe(engine, network, batch_size):
    """Which unit multiplies matrices in training a network, and why; "" in highest precision."""
    if network.matmul_precision == "highest":
        return ""
    found, used = engine.matrix_unit(engine), plan.unit_for(engine, network, batch_size)
    reasons = [] if found == AMX_UNIT else [why_no_amx()]
    if found == FLOAT_UNIT and "avx512_bf16" in processor_flags():
        reasons.append("AVX512_BF16 is slower")
    if why_no_tiles(engine) is not None and {"amx_bf16", "avx512_bf16"} & processor_flags():
        reasons = [why_no_tiles(engine)]
    if used != found:
        reasons = ["its products are too small to gain from bfloat16"]
    return f"{network.matmul_precision} precision {HOW[used]}" + (f" ({', and '.join(reasons)})" if reasons else "")
