"""PTX instructions missing in numba-cuda: 128-bit loads, cp.async, ldmatrix, mma.sync, conversions to bfloat16.

Only this module of the backend uses Numba's code generation. Shared memory is addressed by a 32-bit base and offsets,
so that constant offsets become part of the instruction. bfloat16 numbers are handled in pairs, as uint32.
"""

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

SINGLE, WORD, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
float32, uint32 = types.float32, types.uint32


def _pointer(context, builder, array_type, array, index_type, index):
    """The address of array[index], as an integer."""
    data = context.make_array(array_type)(context, builder, array).data
    index = context.cast(builder, index, index_type, types.intp)
    return builder.ptrtoint(builder.gep(data, [index]), LONG)


def _assembly(builder, result, arguments, text, constraints, pure=False):
    """Inline PTX. Instructions that access memory are not ``pure``: they are not reordered."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    constraints = constraints if pure else f"{constraints},~{{memory}}"
    code = ir.InlineAsm(signature, text, constraints.strip(","), side_effect=not pure)
    attributes = ("convergent",) if ".aligned" in text else ()  # warp-wide instructions must not move into a branch
    return builder.call(code, arguments, attrs=attributes)


def _result_tuple(context, builder, signature, values, count):
    """Make a tuple of the results of an instruction with several results."""
    parts = [builder.extract_value(values, i) for i in range(count)]
    return context.make_tuple(builder, signature.return_type, parts)


@intrinsic
def smem_addr(typing, array, index):
    """The address of array[index] in shared memory."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, *(x for pair in zip(signature.args, args) for x in pair))
        text = "{ .reg .u64 t; cvta.to.shared.u64 t, $1; cvt.u32.u64 $0, t; }"
        return _assembly(builder, WORD, [pointer], text, "=r,l", pure=True)

    return uint32(array, index), generate


@intrinsic
def soff(typing, address, elements):
    """The address plus an offset of bfloat16 elements."""

    def generate(context, builder, signature, args):
        elements = context.cast(builder, args[1], signature.args[1], types.int32)
        return builder.add(args[0], builder.shl(elements, ir.Constant(WORD, 1)))

    return uint32(uint32, elements), generate


@intrinsic
def fresh(typing, number):
    """Return the number, hidden from the optimiser, so that values derived from it are computed here.

    Otherwise hundreds of addresses and conditions are hoisted out of loops and occupy registers.
    """

    def generate(context, builder, signature, args):
        return _assembly(builder, WORD, list(args), "mov.u32 $0, $1;", "=r,r")

    return uint32(uint32), generate


@intrinsic
def ldg_v4u32(typing, array, index):
    """Load four elements of a read-only array from array[index]; ``index`` is a multiple of 4."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, *(x for pair in zip(signature.args, args) for x in pair))
        four = ir.LiteralStructType([WORD] * 4)
        loaded = _assembly(builder, four, [pointer], "ld.global.nc.v4.u32 {$0,$1,$2,$3}, [$4];", "=r,=r,=r,=r,l")
        return _result_tuple(context, builder, signature, loaded, 4)

    return types.UniTuple(uint32, 4)(array, index), generate


@intrinsic
def cp_async16(typing, address, array, index):
    """Copy 16 bytes from array[index] to shared memory, bypassing L1; completed by ``cp_async_wait0``."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[1], args[1], signature.args[2], args[2])
        text = "cp.async.cg.shared.global [$0], [$1], 16;"
        _assembly(builder, ir.VoidType(), [args[0], pointer], text, "r,l")
        return context.get_dummy_value()

    return types.void(uint32, array, index), generate


def _command(text):
    @intrinsic
    def command(typing):
        def generate(context, builder, signature, args):
            _assembly(builder, ir.VoidType(), [], text, "")
            return context.get_dummy_value()

        return types.void(), generate

    return command


cp_async_commit = _command("cp.async.commit_group;")
cp_async_wait0 = _command("cp.async.wait_group 0;")


def _ldmatrix(transposed):
    @intrinsic
    def load(typing, address):
        def generate(context, builder, signature, args):
            kind = f"m8n8.x4{'.trans' if transposed else ''}"
            text = f"ldmatrix.sync.aligned.{kind}.shared.b16 {{$0,$1,$2,$3}}, [$4];"
            four = ir.LiteralStructType([WORD] * 4)
            return _result_tuple(
                context, builder, signature, _assembly(builder, four, list(args), text, "=r,=r,=r,=r,r"), 4
            )

        return types.UniTuple(uint32, 4)(uint32), generate

    return load


ldmatrix_x4, ldmatrix_x4_t = _ldmatrix(False), _ldmatrix(True)


@intrinsic
def mma_bf16(typing, a, b0, b1, c):
    """A B + C by a warp: A 16 x 16 and B 16 x 8 in bfloat16, C 16 x 8 in float32."""

    def generate(context, builder, signature, args):
        a, c = cgutils.unpack_tuple(builder, args[0], 4), cgutils.unpack_tuple(builder, args[3], 4)
        text = (
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
        )
        four = ir.LiteralStructType([SINGLE] * 4)
        constraints = "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"
        product = _assembly(builder, four, [*a, args[1], args[2], *c], text, constraints, pure=True)
        return _result_tuple(context, builder, signature, product, 4)

    return types.UniTuple(float32, 4)(types.UniTuple(uint32, 4), uint32, uint32, types.UniTuple(float32, 4)), generate


def _pure_word(text, *given):
    """The result of an intrinsic that computes a uint32 from its arguments."""
    kinds = {"f": float32, "r": uint32}
    constraints = ",".join(["=r", *given])

    def generate(context, builder, signature, args):
        return _assembly(builder, WORD, list(args), text, constraints, pure=True)

    return uint32(*(kinds[letter] for letter in given)), generate


@intrinsic
def pack_bf16(typing, high, low):
    """Round two float32 to bfloat16."""
    return _pure_word("cvt.rn.bf16x2.f32 $0, $1, $2;", "f", "f")


@intrinsic
def pack_bf16_relu(typing, high, low):
    """Round two float32 to bfloat16, with negative numbers set to 0."""
    return _pure_word("cvt.rn.relu.bf16x2.f32 $0, $1, $2;", "f", "f")


@intrinsic
def mask2(typing, pair, output):
    """Each half of ``pair`` if that half of ``output`` is positive, else 0; NaN stays NaN."""
    text = "{ .reg .b32 m, z; mov.b32 z, 0; set.gt.bf16x2.bf16x2 m, $2, z; mul.bf16x2 $0, $1, m; }"
    return _pure_word(text, "r", "r")


@intrinsic
def unpack_bf16(typing, pair):
    """(low, high) as float32."""

    def generate(context, builder, signature, args):
        low = builder.bitcast(builder.shl(args[0], ir.Constant(WORD, 16)), SINGLE)
        high = builder.bitcast(builder.and_(args[0], ir.Constant(WORD, 0xFFFF0000)), SINGLE)
        return context.make_tuple(builder, signature.return_type, [low, high])

    return types.UniTuple(float32, 2)(uint32), generate


@intrinsic
def lds_u32(typing, address):
    """Load a pair from shared memory."""

    def generate(context, builder, signature, args):
        return _assembly(builder, WORD, list(args), "ld.shared.u32 $0, [$1];", "=r,r")

    return uint32(uint32), generate


@intrinsic
def sts_a32(typing, address, pair):
    """Store a pair to shared memory."""

    def generate(context, builder, signature, args):
        _assembly(builder, ir.VoidType(), list(args), "st.shared.u32 [$0], $1;", "r,r")
        return context.get_dummy_value()

    return types.void(uint32, uint32), generate


@intrinsic
def sts_v4u32(typing, address, four):
    """Store 16 bytes to shared memory."""

    def generate(context, builder, signature, args):
        parts = cgutils.unpack_tuple(builder, args[1], 4)
        _assembly(builder, ir.VoidType(), [args[0], *parts], "st.shared.v4.u32 [$0], {$1,$2,$3,$4};", "r,r,r,r,r")
        return context.get_dummy_value()

    return types.void(uint32, types.UniTuple(uint32, 4)), generate


@intrinsic
def lds_v4u32(typing, address):
    """Load 16 bytes from shared memory."""

    def generate(context, builder, signature, args):
        four = ir.LiteralStructType([WORD] * 4)
        loaded = _assembly(builder, four, list(args), "ld.shared.v4.u32 {$0,$1,$2,$3}, [$4];", "=r,=r,=r,=r,r")
        return _result_tuple(context, builder, signature, loaded, 4)

    return types.UniTuple(uint32, 4)(uint32), generate


@intrinsic
def stg_v4u32(typing, array, index, four):
    """Store four elements from array[index]; ``index`` is a multiple of 4."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], signature.args[1], args[1])
        parts = cgutils.unpack_tuple(builder, args[2], 4)
        text = "st.global.v4.u32 [$0], {$1,$2,$3,$4};"
        _assembly(builder, ir.VoidType(), [pointer, *parts], text, "l,r,r,r,r")
        return context.get_dummy_value()

    return types.void(array, index, types.UniTuple(uint32, 4)), generate


@intrinsic
def prefetch_l2(typing, array, index):
    """Prefetch the cache line of array[index]."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, *(x for pair in zip(signature.args, args) for x in pair))
        _assembly(builder, ir.VoidType(), [pointer], "prefetch.global.L2 [$0];", "l")
        return context.get_dummy_value()

    return types.void(array, index), generate
