"""Compiled loops around rules: one C function per activation, derivative, loss, optimizer update and rate.

A loop is compiled once per rule and dtype, cached on disk, and handed to the engine as an address, its code. So a new
combination of rules compiles nothing new.
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
from numba.core import cgutils, event
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
from .notice import CACHED, NOT_CACHED, Notice
from .primitives import at

for _rule in (*elementary.POLYNOMIALS, *rules.RULES):
    register_jitable(forceinline=True)(_rule)  # a loop around a call stays scalar


def _disk_cache_works():
    """Whether Numba finds a cache folder; a fit must also work with a read-only home."""
    try:
        numba.njit(cache=True)(_disk_cache_works)
    except RuntimeError:
        return False
    return True


# Products may be fused with additions, as GCC does by default; this speeds up rules/elementary.py most.
COMPILE = {"cache": _disk_cache_works(), "error_model": "numpy", "fastmath": {"contract"}}
event.register("numba:compile", Notice(CACHED if COMPILE["cache"] else NOT_CACHED))

# Numba stamps cached code with the file of the function alone, but formulas and loops come from other files: the hash
# of them all goes into the names under which code is cached.
_SOURCES = sorted(Path(__file__).parents[1].rglob("*.py"))
SOURCE_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


def _is_own(rule):
    """Whether a rule comes from the package, not from a user."""
    return rule in rules.RULES


def _callable(rule, *kinds):
    """A rule that compiled loops can call; a custom rule must return a number for every input."""
    if _is_own(rule) or not isinstance(getattr(rule, "py_func", rule), FunctionType):
        return rule
    code = getattr(rule, "py_func", rule).__code__
    if any(step.opname in ("RAISE_VARARGS", "RERAISE") for step in dis.get_instructions(code)):
        raise ValueError(f"{name_of(rule)} must not raise: compiled loops cannot stop. Let it return math.nan.")
    compiled = numba.njit(error_model="numpy")(rule) if isinstance(rule, FunctionType) else rule
    try:
        compiled.get_call_template(kinds, {})  # compiles, and handles defaults
    except (NumbaError, TypeError, ValueError) as error:
        raise ValueError(f"Numba cannot compile {name_of(rule)}, of numbers and functions of math: {error}") from error
    result = compiled.nopython_signatures[-1].return_type
    if not isinstance(result, (types.Number, types.Boolean)):
        raise ValueError(f"{name_of(rule)} must give a number whatever it is given; Numba finds {result}.")
    return compiled


def name_of(rule):
    """Name of a rule in error messages."""
    return getattr(rule, "__name__", repr(rule))


def _compile(function, rule, *arguments):
    """The address of ``function`` compiled as a C function returning a double. The code is never freed.

    Custom rules are not cached on disk: their name does not identify them.
    """
    function.__qualname__ = f"{function.__name__}_{name_of(rule)}_{SOURCE_HASH}"
    how = COMPILE if _is_own(rule) else COMPILE | {"cache": False}
    loop = numba.cfunc(types.float64(*arguments), nopython=True, **how)(function)
    _keep_alive.append(loop)
    return loop.address


_keep_alive = []


@intrinsic
def call(typingctx, address, arguments):
    """Call the loop at ``address`` with a tuple of pointers and scalars."""

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
    """loop(z, rows, columns, stride): z <- f(z); for trainable slopes, see ``activate_trainable`` in
    engine/primitives.py."""
    row = activation_row(name)
    return _trainable(row, dtype) if row.trainable is not None else _function_of_z(row.function, row.rowwise, dtype)


@cache
def noise_std(name, dtype):
    """loop(z, rows, columns, stride): z <- std(z); NO_RULE without noise."""
    rule = activation_row(name).std
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
        # Neutral padding fills SIMD vectors. It is written for all rows first: loading a vector right after storing a
        # part of it would stall.
        for i in range(rows):
            row = at(z, i * stride)
            for j in range(columns, stride):
                row[j] = -np.inf
        for i in range(rows):
            rule(at(z, i * stride), stride)
        return 0.0

    return _compile(by_row if rowwise else elementwise, given, pointer, types.int64, types.int64, types.int64)


def _trainable(row, dtype):
    function, derivative, slope_derivative = row.function, row.derivative, row.trainable
    pointer = types.CPointer(dtype)

    def loop(z, own, step, derivatives, slope_derivatives, n):
        for j in range(n):
            slope_derivatives[j] = slope_derivative(z[j])
            derivatives[j] = derivative(z[j], own[j * step])
            z[j] = function(z[j], own[j * step])
        return 0.0

    return _compile(loop, function, pointer, pointer, types.int64, pointer, pointer, types.int64)


@cache
def derivative(name, dtype):
    """loop(a, delta, rows, columns, stride): dLoss/da in ``delta`` becomes dLoss/dz; NO_RULE for trainable slopes."""
    row, pointer = activation_row(name), types.CPointer(dtype)
    if row.trainable is not None:
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


@register_jitable
def options_alone(options, n):
    """What a loss takes after prediction and target."""
    return options


@register_jitable
def options_and_count(options, n):
    """The same for a loss that ``counts`` the outputs."""
    return (*options, n)


@cache
def loss(name, dtype):
    """loop(p, t, w, delta, n, options) -> sum of w loss(p_j, t_j); delta_j <- w loss'(p_j, t_j)."""
    row, pointer = loss_row(name), types.CPointer(dtype)
    value, derivative = _callable(row.function, dtype, dtype), _callable(row.derivative, dtype, dtype)
    n_options, mean = len(row.options), row.mean
    arguments = options_and_count if row.counts else options_alone

    def weighted_sum(p, t, w, delta, n, options):
        total = 0.0
        if mean:
            w = w / type(w)(n)
        given = arguments(load_tuple(options, n_options), n)
        for j in range(n):
            total += w * value(p[j], t[j], *given)
            delta[j] = w * derivative(p[j], t[j], *given)
        return total

    numbers = types.int64, types.CPointer(types.float64)
    return _compile(weighted_sum, row.function, pointer, pointer, dtype, pointer, *numbers)


@cache
def update(name, dtype):
    """loop(w, g, slots, stride, n, rate, options): one step over n parameters; rate and options are float64."""
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
    """loop(learning_rate, step, options) -> this step's rate, in float64; NO_RULE for constant rates."""
    rule, n_options = OPTIMIZERS[name].rate, len(OPTIMIZERS[name].options)
    if rule is None:
        return NO_RULE

    def step_rate(learning_rate, step, options):
        return rule(learning_rate, step, *load_tuple(options, n_options))

    return _compile(step_rate, rule, types.float64, types.float64, types.CPointer(types.float64))
