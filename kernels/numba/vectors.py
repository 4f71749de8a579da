"""SIMD vectors in LLVM IR for Numba: width, loads and stores, and sums by lanes."""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, float32, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from fastmlp.kernels.engine.instruction_sets import LEVELS, allowed_levels

INT32, INT64 = ir.IntType(32), ir.IntType(64)

TRIPLE, _level = llvm.get_process_triple(), allowed_levels()[0]
if _level != LEVELS[0]:
    config.CPU_NAME, config.CPU_FEATURES = {"x86_64_v3": "x86-64-v3", "baseline": "x86-64"}[_level], ""


def _widest_vector():
    """Bytes of the widest registers that Numba compiles for: NUMBA_CPU_NAME may name a processor without AVX-512."""
    cpu = config.CPU_NAME or llvm.get_host_cpu_name()
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    module = llvm.parse_assembly(
        "define <16 x float> @sum(<16 x float> %x, <16 x float> %y) {\n"
        "%sum = fadd <16 x float> %x, %y\n ret <16 x float> %sum\n}"
    )
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    code = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu, features).emit_assembly(module)
    return 64 if "%zmm" in code else 32 if "%ymm" in code else 16


VECTOR_BYTES = _widest_vector()
# With AVX-512 and NEON there are 32 registers, else 16.
TILE_ROWS = 8 if VECTOR_BYTES == 64 or TRIPLE.startswith(("aarch64", "arm64")) else 4


def lanes_of(dtype):
    return VECTOR_BYTES // (dtype.bitwidth // 8)


def constant(value):
    return ir.Constant(INT64, value)


@intrinsic
def lanes(typingctx, pointer):
    """See engine/primitives.py."""

    def codegen(context, builder, signature, args):
        return constant(lanes_of(signature.args[0].dtype))

    return types.int64(pointer), codegen


def vector_access(builder, dtype, vector):
    """(load, store) of a whole vector at ``pointer + offset``, from any address."""
    size = dtype.bitwidth // 8

    def address(pointer, offset):
        return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

    def load(pointer, offset):
        return builder.load(address(pointer, offset), align=size)

    def store(value, pointer, offset):
        builder.store(value, address(pointer, offset), align=size)

    return load, store


def splat(builder, scalar, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def reduction(combine, start):
    """A reduction of n numbers by lanes, from ``start(builder, pointer, scalar type)``."""

    @intrinsic
    def reduce(typingctx, pointer, n):
        def codegen(context, builder, signature, args):
            pointer, n = args
            dtype = signature.args[0].dtype
            scalar, count = context.get_value_type(dtype), lanes_of(dtype)
            vector = ir.VectorType(scalar, count)
            load, _ = vector_access(builder, dtype, vector)
            first = start(builder, pointer, scalar)
            whole = builder.and_(n, constant(-count))
            lanes_value = cgutils.alloca_once_value(builder, splat(builder, first, vector))
            rest = cgutils.alloca_once_value(builder, first)
            with cgutils.for_range_slice(builder, constant(0), whole, constant(count)) as (i, _):
                builder.store(combine(builder, load(pointer, i), builder.load(lanes_value)), lanes_value)
            with cgutils.for_range_slice(builder, whole, n, constant(1)) as (i, _):
                builder.store(combine(builder, builder.load(builder.gep(pointer, [i])), builder.load(rest)), rest)
            result = builder.load(lanes_value)
            while count > 1:  # pairwise: shorter dependency chains
                count //= 2
                halves = [ir.Constant(ir.VectorType(INT32, count), list(range(s, s + count))) for s in (0, count)]
                result = combine(builder, *(builder.shuffle_vector(result, result, half) for half in halves))
            return combine(builder, builder.extract_element(result, ir.Constant(INT32, 0)), builder.load(rest))

        return pointer.dtype(pointer, types.int64), codegen

    return reduce


@intrinsic
def sum_of_squares(typingctx, pointer, n):
    """In float64, by lanes: the order of additions depends on n alone."""

    def codegen(context, builder, signature, args):
        pointer, n = args
        dtype = signature.args[0].dtype
        count = VECTOR_BYTES // 8 * 2
        scalar = context.get_value_type(dtype)
        narrow, wide = ir.VectorType(scalar, count), ir.VectorType(ir.DoubleType(), count)
        load, _ = vector_access(builder, dtype, narrow)
        zero = ir.Constant(wide, [0.0] * count)
        whole = builder.and_(n, constant(-count))
        lanes_sum = cgutils.alloca_once_value(builder, zero)
        total = cgutils.alloca_once_value(builder, ir.Constant(ir.DoubleType(), 0.0))
        with cgutils.for_range_slice(builder, constant(0), whole, constant(count)) as (i, _):
            value = load(pointer, i)
            value = builder.fpext(value, wide) if dtype == float32 else value
            builder.store(builder.fadd(builder.load(lanes_sum), builder.fmul(value, value)), lanes_sum)
        with cgutils.for_range_slice(builder, whole, n, constant(1)) as (i, _):
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
    """Sum of products by lanes, ``n`` SIMD vectors long."""

    def codegen(context, builder, signature, args):
        a, b, n = args
        dtype = signature.args[0].dtype
        count = lanes_of(dtype)
        vector = ir.VectorType(context.get_value_type(dtype), count)
        load, _ = vector_access(builder, dtype, vector)
        name = f"llvm.fma.v{count}f{dtype.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        sums = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * count))
        with cgutils.for_range_slice(builder, constant(0), n, constant(count)) as (i, _):
            builder.store(builder.call(fma, [load(a, i), load(b, i), builder.load(sums)]), sums)
        total = builder.load(sums)
        while count > 1:  # pairwise: shorter dependency chains
            count //= 2
            halves = [ir.Constant(ir.VectorType(INT32, count), list(range(s, s + count))) for s in (0, count)]
            total = builder.fadd(*(builder.shuffle_vector(total, total, half) for half in halves))
        return builder.extract_element(total, ir.Constant(INT32, 0))

    return a.dtype(a, b, types.int64), codegen
