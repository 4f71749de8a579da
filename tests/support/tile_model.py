"""A model of AMX in plain loops, so that the engine's tiles of bfloat16 are tested on any processor.

Imported in a new process before a backend, for example as a plugin of pytest, it takes the place of AMX in Numba's
engine. The process needs a NUMBA_CACHE_DIR of its own.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from fastmlp.kernels.cpu import matrix_unit
from fastmlp.kernels.engine.bfloat16_tiles import AMX_UNIT, SIDE, WORDS
from fastmlp.kernels.numba import bfloat16_tiles
from fastmlp.kernels.numba.primitives import at


@intrinsic
def half(typingctx, word, number):
    """The first or second bfloat16 of a word."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], ir.IntType(32))
        first = builder.shl(bits, ir.Constant(ir.IntType(32), 16))
        second = builder.and_(bits, ir.Constant(ir.IntType(32), 0xFFFF0000))
        chosen = builder.select(builder.icmp_signed("==", args[1], ir.Constant(ir.IntType(64), 0)), first, second)
        return builder.bitcast(chosen, ir.FloatType())

    return types.float32(word, types.int64), codegen


@register_jitable
def add_products(total, left, right, row, column):
    for j in range(SIDE):
        for number in range(2):
            total += half(left[row * SIDE + j], number) * half(right[j * SIDE + column], number)
    return total


@register_jitable
def amx_tiles(n_terms, n_left, n_right, a, b, step, n_tiles, start, out, stride):
    for i in range(n_left * SIDE):
        for c in range(n_right * SIDE):
            total = start[c]
            for t in range(n_tiles):
                left = at(a, i // SIDE * step + t * n_terms * WORDS)
                right = at(b, c // SIDE * step + t * n_terms * WORDS)
                for term in range(n_terms):
                    total = add_products(total, left, at(right, term * WORDS), i % SIDE, c % SIDE)
                if n_terms > 1:
                    total = add_products(total, at(left, WORDS), right, i % SIDE, c % SIDE)
            out[i * stride + c] = total


@register_jitable
def nothing(unit, saved):
    pass


bfloat16_tiles.amx_tiles = amx_tiles
bfloat16_tiles.open_tiles = bfloat16_tiles.close_tiles = nothing
matrix_unit.unit_of = lambda engine: AMX_UNIT
