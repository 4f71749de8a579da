"""What the engine needs and Numba does not have: register tiles, transposition and a barrier, as LLVM IR.

Its twin in C is primitives.h. primitives.py says what both promise.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import float32, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from fastmlp.kernels.elementary import (
    is_single,
    largest,
    power_of_two,
    reciprocal_estimate,
    round_to_integer,
    sum_of,
)
from fastmlp.kernels.primitives import lanes

INT32, INT64 = ir.IntType(32), ir.IntType(64)

_features = llvm.get_host_cpu_features()
_triple = llvm.get_process_triple()
if _features.get("avx512f"):
    VECTOR_BYTES, TILE_ROWS = 64, 8
elif _features.get("avx"):
    VECTOR_BYTES, TILE_ROWS = 32, 4
else:  # SSE2 has half the registers of NEON
    VECTOR_BYTES, TILE_ROWS = 16, 8 if "aarch64" in _triple or "arm64" in _triple else 4


def _lanes(dtype):
    return VECTOR_BYTES // (dtype.bitwidth // 8)


@overload(lanes, inline="always")
def _lanes_of(pointer):
    n = _lanes(pointer.dtype)
    return lambda pointer: n


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
    """By way of n's last bits as the exponent of another number: this vectorises, conversion to an integer may not."""
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
    return lambda z: _turned(z)


@intrinsic
def _turned(typingctx, z):
    """A difference of bits turns the exponent's sign; the constant gives the mantissa the smallest error."""
    bits, minuend = (32, 0x7EF311C3) if z == types.float32 else (64, 0x7FDE6238502484BA)

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        difference = builder.sub(ir.Constant(integer, minuend), builder.bitcast(args[0], integer))
        return builder.bitcast(difference, args[0].type)

    return z(z), codegen


def _reduction(combine, start):
    """A reduction of n numbers by lanes, from ``start(builder, pointer, scalar type)``."""

    @intrinsic
    def reduce(typingctx, pointer, n):
        def codegen(context, builder, signature, args):
            pointer, n = args
            dtype = signature.args[0].dtype
            scalar, count = context.get_value_type(dtype), _lanes(dtype)
            vector = ir.VectorType(scalar, count)
            load, _ = _vector_access(builder, dtype, vector)
            first = start(builder, pointer, scalar)
            whole = builder.and_(n, _constant(-count))
            lanes_value = cgutils.alloca_once_value(builder, _splat(builder, first, vector))
            rest = cgutils.alloca_once_value(builder, first)
            with cgutils.for_range_slice(builder, _constant(0), whole, _constant(count)) as (i, _):
                builder.store(combine(builder, load(pointer, i), builder.load(lanes_value)), lanes_value)
            with cgutils.for_range_slice(builder, whole, n, _constant(1)) as (i, _):
                builder.store(combine(builder, builder.load(builder.gep(pointer, [i])), builder.load(rest)), rest)
            result = builder.load(lanes_value)
            while count > 1:  # pairwise: few steps wait for each other
                count //= 2
                halves = [ir.Constant(ir.VectorType(INT32, count), list(range(s, s + count))) for s in (0, count)]
                result = combine(builder, *(builder.shuffle_vector(result, result, half) for half in halves))
            return combine(builder, builder.extract_element(result, ir.Constant(INT32, 0)), builder.load(rest))

        return pointer.dtype(pointer, types.int64), codegen

    return reduce


_largest = _reduction(
    lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b),
    lambda builder, pointer, scalar: builder.load(pointer),
)
_sum_of = _reduction(
    lambda builder, a, b: builder.fadd(a, b), lambda builder, pointer, scalar: ir.Constant(scalar, 0.0)
)


@overload(largest)
def _largest_of_row(row, n):
    return lambda row, n: _largest(row, n)


@overload(sum_of)
def _sum_of_row(row, n):
    return lambda row, n: _sum_of(row, n)


@register_jitable
def tile_rows():
    """Rows of C that a tile holds in registers."""
    return TILE_ROWS


@intrinsic
def at(typingctx, pointer, offset):
    """pointer + offset, in elements."""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), codegen


@intrinsic
def data_of(typingctx, array):
    """A pointer to an array's first element."""
    pointer = types.CPointer(array.dtype)

    def codegen(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return pointer(array), codegen


def _constant(value):
    return ir.Constant(INT64, value)


def _vector_access(builder, dtype, vector):
    """(load, store) of a whole vector at ``pointer + offset``, from any address."""
    size = dtype.bitwidth // 8

    def address(pointer, offset):
        return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

    def load(pointer, offset):
        return builder.load(address(pointer, offset), align=size)

    def store(value, pointer, offset):
        builder.store(value, address(pointer, offset), align=size)

    return load, store


def _splat(builder, scalar, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _tile(n_vectors, by_column):
    """C (TILE_ROWS x n_vectors vectors) = start + A B, accumulated in registers over the whole inner dimension.

    Row k of B is at b + k b_stride. Element (i, k) of A is at a + rows[i] + k, or by column at a + rows[k] + i.
    """

    def tile(typingctx, a, rows, b, b_stride, inner, start, start_stride, out, out_stride):
        signature = types.void(a, rows, b, types.int64, types.int64, start, types.int64, out, types.int64)

        def codegen(context, builder, signature, args):
            a, rows, b, b_stride, inner, start, start_stride, out, out_stride = args
            dtype = signature.args[0].dtype
            count = _lanes(dtype)
            scalar = context.get_value_type(dtype)
            vector = ir.VectorType(scalar, count)
            load, store = _vector_access(builder, dtype, vector)
            name = f"llvm.fma.v{count}f{dtype.bitwidth}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            cells = [(i, v) for i in range(TILE_ROWS) for v in range(n_vectors)]
            if not by_column:
                a_rows = [builder.gep(a, [builder.load(builder.gep(rows, [_constant(i)]))]) for i in range(TILE_ROWS)]
            zero = ir.Constant(vector, [0.0] * count)
            before, loop, end = builder.block, builder.append_basic_block("k"), builder.append_basic_block("end")
            builder.cbranch(builder.icmp_signed(">", inner, _constant(0)), loop, end)

            builder.position_at_end(loop)
            k = builder.phi(INT64)
            k.add_incoming(_constant(0), before)
            sums = {}
            for cell in cells:
                sums[cell] = builder.phi(vector)
                sums[cell].add_incoming(zero, before)
            row_b = builder.mul(k, b_stride)
            b_vectors = [load(b, builder.add(row_b, _constant(v * count))) for v in range(n_vectors)]
            if by_column:
                column = builder.gep(a, [builder.load(builder.gep(rows, [k]))])
            news = {}
            for i in range(TILE_ROWS):
                place = builder.gep(column, [_constant(i)]) if by_column else builder.gep(a_rows[i], [k])
                value = _splat(builder, builder.load(place), vector)
                for v in range(n_vectors):
                    news[i, v] = builder.call(fma, [value, b_vectors[v], sums[i, v]])
            following = builder.add(k, _constant(1))
            k.add_incoming(following, loop)
            for cell in cells:
                sums[cell].add_incoming(news[cell], loop)
            builder.cbranch(builder.icmp_signed("<", following, inner), loop, end)

            builder.position_at_end(end)
            finals = {}
            for cell in cells:
                finals[cell] = builder.phi(vector)
                finals[cell].add_incoming(zero, before)
                finals[cell].add_incoming(news[cell], loop)
            for i, v in cells:
                from_start = builder.add(builder.mul(_constant(i), start_stride), _constant(v * count))
                to = builder.add(builder.mul(_constant(i), out_stride), _constant(v * count))
                store(builder.fadd(load(start, from_start), finals[i, v]), out, to)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(tile)


_row_tile_1, _row_tile_2, _row_tile_3 = (_tile(n, False) for n in (1, 2, 3))
_column_tile_1, _column_tile_2, _column_tile_3 = (_tile(n, True) for n in (1, 2, 3))


@register_jitable
def tile(n_vectors, by_column, a, rows, b, b_stride, inner, start, start_stride, out, out_stride):
    """See primitives.py."""
    if by_column:
        if n_vectors == 1:
            _column_tile_1(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)
        elif n_vectors == 2:
            _column_tile_2(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)
        else:
            _column_tile_3(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)
    elif n_vectors == 1:
        _row_tile_1(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)
    elif n_vectors == 2:
        _row_tile_2(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)
    else:
        _row_tile_3(a, rows, b, b_stride, inner, start, start_stride, out, out_stride)


@intrinsic
def copy(typingctx, source, n, out):
    """See primitives.py."""

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
        n = _lanes(dtype)
        vector = ir.VectorType(context.get_value_type(dtype), n)
        load, store = _vector_access(builder, dtype, vector)
        rows = [load(source, builder.mul(_constant(i), source_stride)) for i in range(n)]
        mask = ir.VectorType(INT32, n)
        low = [j // 2 + j % 2 * n for j in range(n)]
        halves = [ir.Constant(mask, [j + half for j in low]) for half in (0, n // 2)]
        size = 1
        while size < n:  # interleave the rows of the upper half with those of the lower
            rows = [builder.shuffle_vector(rows[i], rows[i + n // 2], half) for i in range(n // 2) for half in halves]
            size *= 2
        for i in range(n):
            store(rows[i], out, builder.mul(_constant(i), out_stride))
        return context.get_dummy_value()

    return types.void(source, types.int64, out, types.int64), codegen


@intrinsic
def sum_of_squares(typingctx, pointer, n):
    """In float64, by lanes: the order of additions depends on n alone."""

    def codegen(context, builder, signature, args):
        pointer, n = args
        dtype = signature.args[0].dtype
        count = VECTOR_BYTES // 8 * 2
        scalar = context.get_value_type(dtype)
        narrow, wide = ir.VectorType(scalar, count), ir.VectorType(ir.DoubleType(), count)
        load, _ = _vector_access(builder, dtype, narrow)
        zero = ir.Constant(wide, [0.0] * count)
        whole = builder.and_(n, _constant(-count))
        lanes_sum = cgutils.alloca_once_value(builder, zero)
        total = cgutils.alloca_once_value(builder, ir.Constant(ir.DoubleType(), 0.0))
        with cgutils.for_range_slice(builder, _constant(0), whole, _constant(count)) as (i, _):
            value = load(pointer, i)
            value = builder.fpext(value, wide) if dtype == float32 else value
            builder.store(builder.fadd(builder.load(lanes_sum), builder.fmul(value, value)), lanes_sum)
        with cgutils.for_range_slice(builder, whole, n, _constant(1)) as (i, _):
            value = builder.load(builder.gep(pointer, [i]))
            value = builder.fpext(value, ir.DoubleType()) if dtype == float32 else value
            builder.store(builder.fadd(builder.load(total), builder.fmul(value, value)), total)
        result, parts = builder.load(total), builder.load(lanes_sum)
        for lane in range(count):
            result = builder.fadd(result, builder.extract_element(parts, ir.Constant(INT32, lane)))
        return result

    return types.float64(pointer, types.int64), codegen


@intrinsic
def dot(typingctx, a, b, n):
    """Sum of products by lanes, ``n`` whole vectors long."""

    def codegen(context, builder, signature, args):
        a, b, n = args
        dtype = signature.args[0].dtype
        count = _lanes(dtype)
        vector = ir.VectorType(context.get_value_type(dtype), count)
        load, _ = _vector_access(builder, dtype, vector)
        name = f"llvm.fma.v{count}f{dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * count))
        with cgutils.for_range_slice(builder, _constant(0), n, _constant(count)) as (i, _):
            builder.store(builder.call(fma, [load(a, i), load(b, i), builder.load(sums)]), sums)
        total = builder.load(sums)
        while count > 1:  # pairwise: few steps wait for each other
            count //= 2
            halves = [ir.Constant(ir.VectorType(INT32, count), list(range(s, s + count))) for s in (0, count)]
            total = builder.fadd(*(builder.shuffle_vector(total, total, half) for half in halves))
        return builder.extract_element(total, ir.Constant(INT32, 0))

    return a.dtype(a, b, types.int64), codegen


@register_jitable
def combine(rows, stride, coefficients, n, out):
    """out += sum over i < n of coefficients[i] rows[i]."""
    for i in range(n):
        coefficient, row = coefficients[i], at(rows, i * stride)
        for j in range(stride):
            out[j] += coefficient * row[j]


@register_jitable
def outer(column, n, row, stride, out):
    """out = column row^T."""
    for i in range(n):
        factor, to = column[i], at(out, i * stride)
        for j in range(stride):
            to[j] = factor * row[j]


_IS_X86 = _triple.startswith(("x86_64", "amd64"))


def _control_word(builder, name, place):
    """Store or load the control word of x86's vector arithmetic."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def flush_denormals(typingctx):
    """See primitives.py."""

    def codegen(context, builder, signature, args):
        if not _IS_X86:
            return _constant(0)
        place = cgutils.alloca_once(builder, INT32)
        _control_word(builder, "stmxcsr", place)
        state = builder.load(place)
        builder.store(builder.or_(state, ir.Constant(INT32, 0x8040)), place)  # results to 0, and operands
        _control_word(builder, "ldmxcsr", place)
        return builder.zext(state, INT64)

    return types.int64(), codegen


@intrinsic
def restore_denormals(typingctx, state):
    """See primitives.py."""

    def codegen(context, builder, signature, args):
        if _IS_X86:
            place = cgutils.alloca_once_value(builder, builder.trunc(args[0], INT32))
            _control_word(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def arrive(typingctx, counter):
    """One more at the barrier."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], _constant(1), "acq_rel")

    return types.int64(counter), codegen


@intrinsic
def arrivals(typingctx, counter):
    """How many have come to the barrier so far."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(counter), codegen


at_integers = at_doubles = at
