"""Compiled pieces that networks share: one C function per activation, derivative, loss, optimizer update and rate.

A piece is compiled once per rule and dtype, cached on disk, and handed to the drivers in numba_cpu.py as an address.
So a new combination of rules compiles nothing new, and a driver is compiled once per dtype.
"""

import hashlib
from functools import cache
from pathlib import Path

import numba
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastmlp.kernels import rules
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS

NO_PIECE = 0  # the address of nothing: a driver leaves the step out

for _rule in rules.RULES:
    register_jitable(_rule)


def _disk_cache_works():
    """Whether Numba finds a folder for compiled code; a read-only home must not stop a fit."""
    try:
        numba.njit(cache=True)(_disk_cache_works)
    except RuntimeError:
        return False
    return True


COMPILE = {"cache": _disk_cache_works(), "error_model": "numpy"}

# Numba stamps cached code with the file of the function alone, but formulas and pieces come from other files: the hash
# of them all goes into the names under which code is cached.
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
SOURCE_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


def _compile(function, rule, *arguments):
    """The address of ``function`` compiled as a C function returning a double. Keeps the code alive for good."""
    function.__qualname__ = f"{function.__name__}_{rule.__name__}_{SOURCE_HASH}"
    piece = numba.cfunc(types.float64(*arguments), nopython=True, **COMPILE)(function)
    _keep_alive.append(piece)
    return piece.address


_keep_alive = []


@intrinsic
def call(typingctx, address, arguments):
    """Call the piece at ``address`` with a tuple of arrays (handed over as pointers to their data) and scalars."""

    def codegen(context, builder, signature, values):
        function, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed, len(arguments))
        for i, kind in enumerate(arguments):
            if isinstance(kind, types.Array):
                unpacked[i] = context.make_array(kind)(context, builder, unpacked[i]).data
        c_type = ir.FunctionType(ir.DoubleType(), [value.type for value in unpacked])
        return builder.call(builder.inttoptr(function, c_type.as_pointer()), unpacked)

    return types.float64(address, arguments), codegen


@cache
def activation(name, dtype):
    """piece(z, b, rows, columns): z <- f(z + b), z of shape (rows, columns)."""
    rule = ACTIVATIONS[name].function
    pointer = types.CPointer(dtype)

    def elementwise(z, b, rows, columns):
        z, b = carray(z, (rows, columns)), carray(b, columns)
        for i in range(rows):
            row = z[i]
            for j in range(columns):
                row[j] = rule(row[j] + b[j])
        return 0.0

    def rowwise(z, b, rows, columns):
        z, b = carray(z, (rows, columns)), carray(b, columns)
        for i in range(rows):
            z[i] += b
            rule(z[i], columns)
        return 0.0

    loop = rowwise if ACTIVATIONS[name].rowwise else elementwise
    return _compile(loop, rule, pointer, pointer, types.int64, types.int64)


@cache
def derivative(name, dtype):
    """piece(a, delta, rows, columns): dLoss/da in ``delta`` becomes dLoss/dz."""
    rule = ACTIVATIONS[name].derivative
    pointer = types.CPointer(dtype)

    def elementwise(a, delta, rows, columns):
        a, delta = carray(a, rows * columns), carray(delta, rows * columns)
        for i in range(a.size):
            delta[i] *= rule(a[i])
        return 0.0

    def rowwise(a, delta, rows, columns):
        a, delta = carray(a, (rows, columns)), carray(delta, (rows, columns))
        for i in range(rows):
            rule(a[i], delta[i], columns)
        return 0.0

    loop = rowwise if ACTIVATIONS[name].rowwise else elementwise
    return _compile(loop, rule, pointer, pointer, types.int64, types.int64)


@cache
def loss(name, dtype):
    """piece(p, t, w, delta, rows, columns) -> sum of w_i loss(p_i, t_i); delta_i <- w_i loss'(p_i, t_i)."""
    value, slope = LOSSES[name].function, LOSSES[name].derivative
    pointer = types.CPointer(dtype)

    def weighted_sum(p, t, w, delta, rows, columns):
        shape = (rows, columns)
        p, t, w, delta = carray(p, shape), carray(t, shape), carray(w, rows), carray(delta, shape)
        total = 0.0
        for i in range(rows):
            for j in range(columns):
                total += w[i] * value(p[i, j], t[i, j])
                delta[i, j] = w[i] * slope(p[i, j], t[i, j])
        return total

    return _compile(weighted_sum, value, pointer, pointer, pointer, pointer, types.int64, types.int64)


@cache
def update(name, dtype):
    """piece(w, g, slots, n, rate, options): one optimizer step over n parameters; rate and options are float64."""
    rule, n_options = OPTIMIZERS[name].update, len(OPTIMIZERS[name].options)
    pointer = types.CPointer(dtype)

    def no_slot(w, g, slots, n, rate, options):
        w, g = carray(w, n), carray(g, n)
        given = to_fixed_tuple(carray(options, n_options), n_options)
        for i in range(n):
            w[i] = rule(w[i], g[i], rate, *given)
        return 0.0

    def one_slot(w, g, slots, n, rate, options):
        w, g, slot = carray(w, n), carray(g, n), carray(slots, n)
        given = to_fixed_tuple(carray(options, n_options), n_options)
        for i in range(n):
            w[i], slot[i] = rule(w[i], g[i], slot[i], rate, *given)
        return 0.0

    def two_slots(w, g, slots, n, rate, options):
        w, g, slots = carray(w, n), carray(g, n), carray(slots, (2, n))
        a, b = slots[0], slots[1]
        given = to_fixed_tuple(carray(options, n_options), n_options)
        for i in range(n):
            w[i], a[i], b[i] = rule(w[i], g[i], a[i], b[i], rate, *given)
        return 0.0

    def three_slots(w, g, slots, n, rate, options):
        w, g, slots = carray(w, n), carray(g, n), carray(slots, (3, n))
        a, b, c = slots[0], slots[1], slots[2]
        given = to_fixed_tuple(carray(options, n_options), n_options)
        for i in range(n):
            w[i], a[i], b[i], c[i] = rule(w[i], g[i], a[i], b[i], c[i], rate, *given)
        return 0.0

    # One name per slot: indexing slots[k, i] in the loop keeps it from vectorising.
    loop = (no_slot, one_slot, two_slots, three_slots)[len(OPTIMIZERS[name].slots)]
    scalars = types.float64, types.CPointer(types.float64)
    return _compile(loop, rule, pointer, pointer, pointer, types.int64, *scalars)


@cache
def rate(name):
    """piece(learning_rate, step, options) -> this step's rate, in float64; no piece where the rate is constant."""
    rule, n_options = OPTIMIZERS[name].rate, len(OPTIMIZERS[name].options)
    if rule is None:
        return NO_PIECE

    def step_rate(learning_rate, step, options):
        return rule(learning_rate, step, *to_fixed_tuple(carray(options, n_options), n_options))

    return _compile(step_rate, rule, types.float64, types.float64, types.CPointer(types.float64))
