"""Compiled pieces that networks share: one C function per activation, derivative, loss, optimizer update and rate.

A piece is compiled once per rule and dtype, cached on disk, and handed to the engine as an address, its code. So a new
combination of rules compiles nothing new, and the engine is compiled once per dtype.
"""

import dis
import hashlib
from functools import cache
from pathlib import Path
from types import FunctionType

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic, register_jitable

from fastmlp.kernels import rules
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.rules import (
    OPTIMIZERS,
    elementary,
)
from fastmlp.kernels.spec import activation_row, loss_row

from . import elementary as numba_elementary  # noqa: F401 - the second for what it teaches Numba
from .primitives import at

for _rule in (*elementary.POLYNOMIALS, *rules.RULES):
    register_jitable(forceinline=True)(_rule)  # a loop around a call stays scalar


def _disk_cache_works():
    """Whether Numba finds a folder for compiled code; a read-only home must not stop a fit."""
    try:
        numba.njit(cache=True)(_disk_cache_works)
    except RuntimeError:
        return False
    return True


# Products may be fused with additions, as GCC does by itself: the polynomials of rules/elementary.py gain most.
COMPILE = {"cache": _disk_cache_works(), "error_model": "numpy", "fastmath": {"contract"}}

# Numba stamps cached code with the file of the function alone, but formulas and pieces come from other files: the hash
# of them all goes into the names under which code is cached.
_SOURCES = sorted(Path(__file__).parents[1].rglob("*.py"))
SOURCE_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


def _is_own(rule):
    """Whether a rule is one of the package rules, not a user's."""
    return rule in rules.RULES


def _callable(rule, *kinds):
    """A rule as compiled loops can call it: a user's must give a number, whatever it is given."""
    if _is_own(rule) or not isinstance(getattr(rule, "py_func", rule), FunctionType):
        return rule
    code = getattr(rule, "py_func", rule).__code__
    if any(step.opname in ("RAISE_VARARGS", "RERAISE") for step in dis.get_instructions(code)):
        raise ValueError(f"{name_of(rule)} must not raise: compiled loops cannot stop. Let it return math.nan.")
    compiled = numba.njit(error_model="numpy")(rule) if isinstance(rule, FunctionType) else rule
    try:
        compiled.get_call_template(kinds, {})  # compiles, and knows of defaults
    except (NumbaError, TypeError, ValueError) as error:
        raise ValueError(f"Numba cannot compile {name_of(rule)}, of numbers and functions of math: {error}") from error
    result = compiled.nopython_signatures[-1].return_type
    if not isinstance(result, (types.Number, types.Boolean)):
        raise ValueError(f"{name_of(rule)} must give a number whatever it is given; Numba finds {result}.")
    return compiled


def name_of(rule):
    """What a user would know it by."""
    return getattr(rule, "__name__", repr(rule))


def _compile(function, rule, *arguments):
    """The address of ``function`` compiled as a C function returning a double. Keeps the code alive for good.

    Around a user's rule nothing is cached on disk: a name is not enough to know it by.
    """
    function.__qualname__ = f"{function.__name__}_{name_of(rule)}_{SOURCE_HASH}"
    how = COMPILE if _is_own(rule) else COMPILE | {"cache": False}
    piece = numba.cfunc(types.float64(*arguments), nopython=True, **how)(function)
    _keep_alive.append(piece)
    return piece.address


_keep_alive = []


@intrinsic
def call(typingctx, address, arguments):
    """Call the piece at ``address`` with a tuple of pointers and scalars."""

    def codegen(context, builder, signature, values):
        function, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed, len(arguments))
        c_type = ir.FunctionType(ir.DoubleType(), [value.type for value in unpacked])
        return builder.call(builder.inttoptr(function, c_type.as_pointer()), unpacked)

    return types.float64(address, arguments), codegen


@intrinsic(prefer_literal=True)
def load_tuple(typingctx, pointer, count):
    """The first ``count`` numbers at a pointer, ``count`` a constant."""
    n = count.literal_value
    result = types.UniTuple(pointer.dtype, n)

    def codegen(context, builder, signature, args):
        values = [builder.load(builder.gep(args[0], [ir.Constant(ir.IntType(64), i)])) for i in range(n)]
        return context.make_tuple(builder, result, values)

    return result(pointer, count), codegen


@cache
def activation(name, dtype):
    """piece(z, rows, columns, stride): z <- f(z). A learned rule's is as ``activate_learned`` in
    engine/primitives.py."""
    row = activation_row(name)
    return _learned(row, dtype) if row.learned is not None else _function_of_z(row.function, row.rowwise, dtype)


@cache
def deviation(name, dtype):
    """piece(z, rows, columns, stride): z <- deviation(z); no piece where there is no noise."""
    rule = activation_row(name).deviation
    return NO_RULE if rule is None else _function_of_z(rule, False, dtype)


def _function_of_z(given, rowwise, dtype):
    rule, pointer = _callable(given, dtype), types.CPointer(dtype)

    def elementwise(z, rows, columns, stride):
        if columns == stride:  # rows without a gap are one long row
            rows, columns = 1, rows * columns
        for i in range(rows):
            row = at(z, i * stride)
            for j in range(columns):
                row[j] = rule(row[j])
        return 0.0

    def by_row(z, rows, columns, stride):
        # Padding that changes nothing makes whole vectors. It is written first: a load of what parts were just stored
        # to waits for the row before.
        for i in range(rows):
            row = at(z, i * stride)
            for j in range(columns, stride):
                row[j] = -np.inf
        for i in range(rows):
            rule(at(z, i * stride), stride)
        return 0.0

    return _compile(by_row if rowwise else elementwise, given, pointer, types.int64, types.int64, types.int64)


def _learned(row, dtype):
    function, derivative, own_derivative = row.function, row.derivative, row.learned
    pointer = types.CPointer(dtype)

    def bent(z, own, step, slope, bend, n):
        for j in range(n):
            bend[j] = own_derivative(z[j])
            slope[j] = derivative(z[j], own[j * step])
            z[j] = function(z[j], own[j * step])
        return 0.0

    return _compile(bent, function, pointer, pointer, types.int64, pointer, pointer, types.int64)


@cache
def derivative(name, dtype):
    """piece(a, delta, rows, columns, stride): dLoss/da in ``delta`` becomes dLoss/dz; no piece for a learned rule."""
    row, pointer = activation_row(name), types.CPointer(dtype)
    if row.learned is not None:
        return NO_RULE
    rule = _callable(row.derivative, dtype)

    def elementwise(a, delta, rows, columns, stride):
        if columns == stride:
            rows, columns = 1, rows * columns
        for i in range(rows):
            outputs, row = at(a, i * stride), at(delta, i * stride)
            for j in range(columns):
                row[j] *= rule(outputs[j])
        return 0.0

    def rowwise(a, delta, rows, columns, stride):
        for i in range(rows):
            rule(at(a, i * stride), at(delta, i * stride), columns)
        return 0.0

    loop = rowwise if row.rowwise else elementwise
    return _compile(loop, row.derivative, pointer, pointer, types.int64, types.int64, types.int64)


@cache
def loss(name, dtype):
    """piece(p, t, w, delta, n, options) -> sum of w loss(p_j, t_j); delta_j <- w loss'(p_j, t_j)."""
    row, pointer = loss_row(name), types.CPointer(dtype)
    value, slope = _callable(row.function, dtype, dtype), _callable(row.derivative, dtype, dtype)
    n_options, mean = len(row.options), row.mean

    def weighted_sum(p, t, w, delta, n, options):
        total = 0.0
        if mean:
            w = w / type(w)(n)
        given = load_tuple(options, n_options)
        for j in range(n):
            total += w * value(p[j], t[j], *given)
            delta[j] = w * slope(p[j], t[j], *given)
        return total

    numbers = types.int64, types.CPointer(types.float64)
    return _compile(weighted_sum, row.function, pointer, pointer, dtype, pointer, *numbers)


@cache
def update(name, dtype):
    """piece(w, g, slots, stride, n, rate, options): one step over n parameters; rate and options are float64."""
    rule, n_options = OPTIMIZERS[name].update, len(OPTIMIZERS[name].options)
    pointer = types.CPointer(dtype)

    def no_slot(w, g, slots, stride, n, rate, options):
        given = load_tuple(options, n_options)
        for i in range(n):
            w[i] = rule(w[i], g[i], rate, *given)
        return 0.0

    def one_slot(w, g, a, stride, n, rate, options):
        given = load_tuple(options, n_options)
        for i in range(n):
            w[i], a[i] = rule(w[i], g[i], a[i], rate, *given)
        return 0.0

    def two_slots(w, g, a, stride, n, rate, options):
        b = at(a, stride)
        given = load_tuple(options, n_options)
        for i in range(n):
            w[i], a[i], b[i] = rule(w[i], g[i], a[i], b[i], rate, *given)
        return 0.0

    def three_slots(w, g, a, stride, n, rate, options):
        b, c = at(a, stride), at(a, 2 * stride)
        given = load_tuple(options, n_options)
        for i in range(n):
            w[i], a[i], b[i], c[i] = rule(w[i], g[i], a[i], b[i], c[i], rate, *given)
        return 0.0

    loop = (no_slot, one_slot, two_slots, three_slots)[len(OPTIMIZERS[name].slots)]
    scalars = types.float64, types.CPointer(types.float64)
    return _compile(loop, rule, pointer, pointer, pointer, types.int64, types.int64, *scalars)


@cache
def rate(name):
    """piece(learning_rate, step, options) -> this step's rate, in float64; no piece where the rate is constant."""
    rule, n_options = OPTIMIZERS[name].rate, len(OPTIMIZERS[name].options)
    if rule is None:
        return NO_RULE

    def step_rate(learning_rate, step, options):
        return rule(learning_rate, step, *load_tuple(options, n_options))

    return _compile(step_rate, rule, types.float64, types.float64, types.CPointer(types.float64))
