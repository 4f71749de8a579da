"""CUDA versions of the functions that rules/elementary.py leaves to each compiler (for CPUs: numba/elementary.py)."""

import numpy as np
from numba import cuda
from numba.cuda import libdevice


@cuda.jit(device=True)
def _row_max(row, n):
    top = row[0]
    for i in range(1, n):
        top = row[i] if row[i] > top else top
    return top


@cuda.jit(device=True)
def _row_sum(row, n):
    total = row[0]
    for i in range(1, n):
        total += row[i]
    return total


@cuda.jit(device=True)
def _true(z):
    return True


@cuda.jit(device=True)
def _false(z):
    return False


@cuda.jit(device=True)
def _round_single(z):
    return libdevice.rintf(z)


@cuda.jit(device=True)
def _round_double(z):
    return libdevice.rint(z)


@cuda.jit(device=True)
def _power_single(n):
    return libdevice.int_as_float((np.int32(n) + np.int32(127)) << np.int32(23))


@cuda.jit(device=True)
def _power_double(n):
    return libdevice.longlong_as_double((np.int64(n) + np.int64(1023)) << np.int64(52))


@cuda.jit(device=True)
def _reciprocal_single(z):
    return libdevice.int_as_float(np.int32(0x7EF311C3) - libdevice.float_as_int(z))


@cuda.jit(device=True)
def _reciprocal_double(z):
    return libdevice.longlong_as_double(np.int64(0x7FDE6238502484BA) - libdevice.double_as_longlong(z))


_ROWS = {"largest": _row_max, "sum_of": _row_sum}

# By dtype: replacements for the functions at the top of rules/elementary.py.
ELEMENTARY = {
    "float32": {
        "is_single": _true,
        "round_to_integer": _round_single,
        "power_of_two": _power_single,
        "reciprocal_estimate": _reciprocal_single,
        **_ROWS,
    },
    "float64": {
        "is_single": _false,
        "round_to_integer": _round_double,
        "power_of_two": _power_double,
        "reciprocal_estimate": _reciprocal_double,
        **_ROWS,
    },
}
