"""Parts of matrix products in LLVM IR for Numba: register tiles, copies and transpositions for packing.

Their twins in C are in cpu/primitives.h. engine/primitives.py says what both promise.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from fastmlp.kernels.engine.primitives import BY_COLUMN, PREFETCHING

from .vectors import INT32, INT64, TILE_ROWS, constant, lanes_of, splat, vector_access


@register_jitable
def tile_rows():
    """Rows of C that a tile holds in registers."""
    return TILE_ROWS


LINE_BYTES = 64  # of a cache line


def _prefetch(builder, pointer):
    """Load the cache line of a pointer into the second-level cache."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), *(ir.Constant(number, value) for value in (0, 2, 1))])


def _tile(n_vectors, by_column, prefetching=False):
    """C (TILE_ROWS x n_vectors vectors) = start + A B, accumulated in registers over the whole inner dimension.

    Row k of B is at b + k b_stride. Element (i, k) of A is at a + rows[i] + k, or by column at a + rows[k] + i.
    """

    def tile(typingctx, a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride):
        signature = types.void(a, rows, ahead, b, types.int64, types.int64, start, types.int64, out, types.int64)

        def codegen(context, builder, signature, args):
            a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride = args
            dtype = signature.args[0].dtype
            count = lanes_of(dtype)
            scalar = context.get_value_type(dtype)
            vector = ir.VectorType(scalar, count)
            load, store = vector_access(builder, dtype, vector)
            name = f"llvm.fma.v{count}f{dtype.bitwidth}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            cells = [(i, v) for i in range(TILE_ROWS) for v in range(n_vectors)]
            a_rows, ahead_rows = (
                [builder.gep(a, [builder.load(builder.gep(table, [constant(i)]))]) for i in range(TILE_ROWS)]
                if wanted else None
                for table, wanted in ((rows, not by_column), (ahead, prefetching))
            )  # fmt: skip
            zero = ir.Constant(vector, [0.0] * count)
            before, loop, end = builder.block, builder.append_basic_block("k"), builder.append_basic_block("end")
            builder.cbranch(builder.icmp_signed(">", inner, constant(0)), loop, end)

            builder.position_at_end(loop)
            k = builder.phi(INT64)
            k.add_incoming(constant(0), before)
            sums = {}
            for cell in cells:
                sums[cell] = builder.phi(vector)
                sums[cell].add_incoming(zero, before)
            if prefetching:
                place = builder.and_(k, constant(LINE_BYTES * 8 // dtype.bitwidth - 1))
                with builder.if_then(builder.icmp_signed("==", place, constant(0))):
                    for row in ahead_rows:
                        _prefetch(builder, builder.gep(row, [k]))
            row_b = builder.mul(k, b_stride)
            b_vectors = [load(b, builder.add(row_b, constant(v * count))) for v in range(n_vectors)]
            if by_column:
                column = builder.gep(a, [builder.load(builder.gep(rows, [k]))])
            news = {}
            for i in range(TILE_ROWS):
                place = builder.gep(column, [constant(i)]) if by_column else builder.gep(a_rows[i], [k])
                value = splat(builder, builder.load(place), vector)
                for v in range(n_vectors):
                    news[i, v] = builder.call(fma, [value, b_vectors[v], sums[i, v]])
            following, tail = builder.add(k, constant(1)), builder.block
            k.add_incoming(following, tail)
            for cell in cells:
                sums[cell].add_incoming(news[cell], tail)
            builder.cbranch(builder.icmp_signed("<", following, inner), loop, end)

            builder.position_at_end(end)
            finals = {}
            for cell in cells:
                finals[cell] = builder.phi(vector)
                finals[cell].add_incoming(zero, before)
                finals[cell].add_incoming(news[cell], tail)
            for i, v in cells:
                from_start = builder.add(builder.mul(constant(i), start_stride), constant(v * count))
                to = builder.add(builder.mul(constant(i), out_stride), constant(v * count))
                store(builder.fadd(load(start, from_start), finals[i, v]), out, to)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(tile)


_row_tile_1, _row_tile_2, _row_tile_3 = (_tile(n, False) for n in (1, 2, 3))
_column_tile_1, _column_tile_2, _column_tile_3 = (_tile(n, True) for n in (1, 2, 3))
_prefetching_tile_1, _prefetching_tile_2, _prefetching_tile_3 = (_tile(n, False, True) for n in (1, 2, 3))


@register_jitable
def tile(n_vectors, kind, a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride):
    """See engine/primitives.py."""
    if kind == BY_COLUMN:
        if n_vectors == 1:
            _column_tile_1(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
        elif n_vectors == 2:
            _column_tile_2(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
        else:
            _column_tile_3(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
    elif kind == PREFETCHING:
        if n_vectors == 1:
            _prefetching_tile_1(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
        elif n_vectors == 2:
            _prefetching_tile_2(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
        else:
            _prefetching_tile_3(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
    elif n_vectors == 1:
        _row_tile_1(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
    elif n_vectors == 2:
        _row_tile_2(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
    else:
        _row_tile_3(a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)


@intrinsic
def copy(typingctx, source, n, out):
    """See engine/primitives.py."""

    def codegen(context, builder, signature, args):
        source, n, out = args
        cgutils.raw_memcpy(builder, out, source, n, context.get_abi_sizeof(source.type.pointee))
        return context.get_dummy_value()

    return types.void(source, types.int64, out), codegen


@intrinsic
def transpose_square(typingctx, source, source_stride, out, out_stride):
    """out[j, i] = source[i, j] for a square of as many rows as a vector has lanes."""

    def codegen(context, builder, signature, args):
        source, source_stride, out, out_stride = args
        dtype = signature.args[0].dtype
        n = lanes_of(dtype)
        vector = ir.VectorType(context.get_value_type(dtype), n)
        load, store = vector_access(builder, dtype, vector)
        rows = [load(source, builder.mul(constant(i), source_stride)) for i in range(n)]
        mask = ir.VectorType(INT32, n)
        low = [j // 2 + j % 2 * n for j in range(n)]
        halves = [ir.Constant(mask, [j + half for j in low]) for half in (0, n // 2)]
        size = 1
        while size < n:  # interleave the rows of the upper half with those of the lower
            rows = [builder.shuffle_vector(rows[i], rows[i + n // 2], half) for i in range(n // 2) for half in halves]
            size *= 2
        for i in range(n):
            store(rows[i], out, builder.mul(constant(i), out_stride))
        return context.get_dummy_value()

    return types.void(source, types.int64, out, types.int64), codegen
