"""The functions that rules/elementary.py leaves to a compiler, for Numba."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from fastmlp.kernels.rules.elementary import (
    is_single,
    largest,
    power_of_two,
    reciprocal_estimate,
    round_to_integer,
    sum_of,
)

from .vectors import reduction


@overload(is_single)
def _is_single(z):
    single = z == types.float32
    return lambda z: single


@overload(round_to_integer)
def _round_to_integer(z):
    return lambda z: np.rint(z)


@overload(power_of_two)
def _power_of_two(n):
    return lambda n: _two_to(n)


@intrinsic
def _two_to(typingctx, n):
    """Shift n's last bits into the exponent: unlike a conversion to an integer, this always vectorises."""
    bits, mantissa = (32, 23) if n == types.float32 else (64, 52)
    bias = 2 ** (bits - mantissa - 2) - 1

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        shifted = builder.fadd(args[0], ir.Constant(args[0].type, float(3 * 2 ** (mantissa - 1) + bias)))
        exponent = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, mantissa))
        return builder.bitcast(exponent, args[0].type)

    return n(n), codegen


@overload(reciprocal_estimate)
def _reciprocal_estimate(z):
    return lambda z: _reciprocal_bits(z)


@intrinsic
def _reciprocal_bits(typingctx, z):
    """A difference of bits turns the exponent's sign; the constant gives the mantissa the smallest error."""
    bits, minuend = (32, 0x7EF311C3) if z == types.float32 else (64, 0x7FDE6238502484BA)

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        difference = builder.sub(ir.Constant(integer, minuend), builder.bitcast(args[0], integer))
        return builder.bitcast(difference, args[0].type)

    return z(z), codegen


_largest = reduction(
    lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b),
    lambda builder, pointer, scalar: builder.load(pointer),
)
_sum_of = reduction(lambda builder, a, b: builder.fadd(a, b), lambda builder, pointer, scalar: ir.Constant(scalar, 0.0))


@overload(largest)
def _largest_of_row(row, n):
    return lambda row, n: _largest(row, n)


@overload(sum_of)
def _sum_of_row(row, n):
    return lambda row, n: _sum_of(row, n)
