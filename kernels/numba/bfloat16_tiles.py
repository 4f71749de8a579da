"""Words of two bfloat16, and their products by AMX and AVX512_BF16, for Numba.

Their twins in C are in cpu/bfloat16_tiles.h; engine/bfloat16_tiles.py says how tiles are laid out, and
engine/primitives.py what each function promises. The instructions are written in assembly: LLVM then takes them for any
x86-64, and the caller chooses a unit that the processor has.
"""

import llvmlite.binding as llvm
from llvmlite import ir
from numba import float32, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from fastmlp.kernels.engine.bfloat16_tiles import AMX_UNIT, SIDE, WORDS

from .primitives import IS_X86, at
from .vectors import INT32, INT64, VECTOR_BYTES, constant, splat, vector_access

llvm.initialize_native_asmparser()
ROW_BYTES = 64
FLOAT = ir.FloatType()


def _like(bits, value):
    """The integer as a constant of the type of ``bits``, a number or a vector."""
    return ir.Constant(bits.type, [value] * bits.type.count if isinstance(bits.type, ir.VectorType) else value)


def _rounded(builder, bits):
    """Bits whose upper half is that of the number rounded to bfloat16, ties to even."""
    last = builder.and_(builder.lshr(bits, _like(bits, 16)), _like(bits, 1))
    return builder.add(builder.add(bits, _like(bits, 0x7FFF)), last)


def _upper(builder, bits):
    return builder.and_(bits, _like(bits, 0xFFFF0000))


def _lower_term(builder, number):
    """A number, or a vector, less itself rounded to bfloat16: NaN for a NaN, whatever its rounded bits."""
    bits = ir.VectorType(INT32, number.type.count) if isinstance(number.type, ir.VectorType) else INT32
    upper = _upper(builder, _rounded(builder, builder.bitcast(number, bits)))
    return builder.fsub(number, builder.bitcast(upper, number.type))


@intrinsic
def lower_term(typingctx, x):
    def codegen(context, builder, signature, args):
        return _lower_term(builder, args[0]) if signature.return_type == float32 else args[0]

    return x(x), codegen


@intrinsic
def pack_row(typingctx, x, y, n_terms, to):
    def codegen(context, builder, signature, args):
        x, y, n_terms, to = args
        if signature.args[0].dtype != float32:
            return context.get_dummy_value()
        vector, bits = ir.VectorType(FLOAT, SIDE), ir.VectorType(INT32, SIDE)
        load, store = vector_access(builder, float32, vector)
        numbers = [load(pointer, constant(0)) for pointer in (x, y)]

        def rounded(number):
            # The bits of a NaN, rounded, may be those of infinity or 0: it gets all bits instead.
            nan = builder.sext(builder.fcmp_unordered("uno", number, number), bits)
            return builder.or_(_rounded(builder, builder.bitcast(number, bits)), nan)

        def store_pairs(numbers, place):
            first, second = (rounded(number) for number in numbers)
            words = builder.or_(builder.lshr(first, _like(first, 16)), _upper(builder, second))
            store(builder.bitcast(words, vector), to, constant(place))

        store_pairs(numbers, 0)
        with builder.if_then(builder.icmp_signed(">", n_terms, constant(1))):
            store_pairs([_lower_term(builder, number) for number in numbers], WORDS)
        return context.get_dummy_value()

    return types.void(x, y, types.int64, to), codegen


def _assembly(builder, text, *args):
    """An instruction that reads or writes memory or tile registers."""
    kinds = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
    constraints = ",".join(["r"] * len(args) + ["~{memory}"])
    builder.asm(kinds, text, constraints, args, side_effect=True)


def _tile_access(text):
    """An intrinsic (pointer, stride in numbers) by an instruction on rows of a tile, ``stride`` apart."""

    @intrinsic
    def access(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            pointer, stride = args
            if IS_X86:
                _assembly(builder, text, pointer, builder.mul(stride, constant(4)))
            return context.get_dummy_value()

        return types.void(pointer, types.int64), codegen

    return access


def _multiplication(total, row, column):
    @intrinsic
    def multiply(typingctx):
        def codegen(context, builder, signature, args):
            if IS_X86:
                _assembly(builder, f"tdpbf16ps %tmm{column}, %tmm{row}, %tmm{total}")
            return context.get_dummy_value()

        return types.void(), codegen

    return multiply


# Registers 0 to 3 hold the sums, 4 and 5 tiles of rows, 6 and 7 tiles of columns.
_load_0, _load_1, _load_2, _load_3, _load_4, _load_5, _load_6, _load_7 = (
    _tile_access(f"tileloadd ($0,$1,1), %tmm{number}") for number in range(8)
)
_store_0, _store_1, _store_2, _store_3 = (_tile_access(f"tilestored %tmm{number}, ($0,$1,1)") for number in range(4))
_multiply_0, _multiply_1, _multiply_2, _multiply_3 = (
    _multiplication(total, 4 + total // 2, 6 + total % 2) for total in range(4)
)


@register_jitable
def _add_products(n_left, n_right, a, b, step):
    _load_4(a, SIDE)
    _load_6(b, SIDE)
    _multiply_0()
    if n_right > 1:
        _load_7(at(b, step), SIDE)
        _multiply_1()
    if n_left > 1:
        _load_5(at(a, step), SIDE)
        _multiply_2()
        if n_right > 1:
            _multiply_3()


@register_jitable
def amx_tiles(n_terms, n_left, n_right, a, b, step, n_tiles, start, out, stride):
    lower = at(out, SIDE * stride)
    _load_0(start, 0)
    if n_right > 1:
        _load_1(at(start, SIDE), 0)
    if n_left > 1:
        _load_2(start, 0)
        if n_right > 1:
            _load_3(at(start, SIDE), 0)
    for t in range(n_tiles):
        first, second = at(a, t * n_terms * WORDS), at(b, t * n_terms * WORDS)
        if n_terms > 1:  # what is smaller comes first
            _add_products(n_left, n_right, first, at(second, WORDS), step)
            _add_products(n_left, n_right, at(first, WORDS), second, step)
        _add_products(n_left, n_right, first, second, step)
    _store_0(out, stride)
    if n_right > 1:
        _store_1(at(out, SIDE), stride)
    if n_left > 1:
        _store_2(lower, stride)
        if n_right > 1:
            _store_3(at(lower, SIDE), stride)


@intrinsic
def _configure(typingctx, saved):
    """Save the configuration of the tile registers, and set them up for 16 rows of 64 bytes each."""

    def codegen(context, builder, signature, args):
        if IS_X86:
            # Palette 1; bytes of a row of each of 8 registers, and then their rows.
            wanted = [1, 0, 0x0040004000400040, 0x0040004000400040, 0, 0, 0x1010101010101010, 0]
            kind = ir.ArrayType(INT64, len(wanted))
            place = cgutils.alloca_once_value(builder, ir.Constant(kind, [ir.Constant(INT64, part) for part in wanted]))
            _assembly(builder, "sttilecfg ($0)", args[0])
            _assembly(builder, "ldtilecfg ($0)", place)
        return context.get_dummy_value()

    return types.void(saved), codegen


@intrinsic
def _restore(typingctx, saved):
    def codegen(context, builder, signature, args):
        if IS_X86:
            palette = builder.and_(builder.load(args[0]), constant(255))
            with builder.if_else(builder.icmp_signed("!=", palette, constant(0))) as (used, unused):
                with used:
                    _assembly(builder, "ldtilecfg ($0)", args[0])
                with unused:
                    _assembly(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(saved), codegen


@register_jitable
def open_tiles(unit, saved):
    if unit == AMX_UNIT:
        _configure(saved)


@register_jitable
def close_tiles(unit, saved):
    if unit == AMX_UNIT:
        _restore(saved)


@intrinsic
def bfloat16_tile(typingctx, n_terms, a, b, n_tiles, start, out, stride):
    integer = types.int64

    def codegen(context, builder, signature, args):
        n_terms, a, b, n_tiles, start, out, stride = args
        if VECTOR_BYTES < ROW_BYTES or signature.args[1].dtype != float32:
            return context.get_dummy_value()
        vector = ir.VectorType(FLOAT, SIDE)
        load, store = vector_access(builder, float32, vector)
        kind = ir.FunctionType(vector, [vector] * 3)
        first_row = load(start, constant(0))
        sums = [cgutils.alloca_once_value(builder, first_row) for _ in range(SIDE)]

        def add_products(a, b):
            with cgutils.for_range(builder, constant(SIDE), intp=INT64) as j:
                row = load(b, builder.mul(j.index, constant(SIDE)))
                for i, place in enumerate(sums):
                    word = builder.load(builder.gep(a, [builder.add(j.index, constant(i * SIDE))]))
                    operands = [builder.load(place), splat(builder, word, vector), row]
                    builder.store(builder.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", operands, False), place)

        with cgutils.for_range(builder, n_tiles, intp=INT64) as t:
            place = builder.mul(t.index, builder.mul(n_terms, constant(WORDS)))
            first, second = builder.gep(a, [place]), builder.gep(b, [place])
            with builder.if_then(builder.icmp_signed(">", n_terms, constant(1))):
                add_products(first, builder.gep(second, [constant(WORDS)]))
                add_products(builder.gep(first, [constant(WORDS)]), second)
            add_products(first, second)
        for i, place in enumerate(sums):
            store(builder.load(place), out, builder.mul(constant(i), stride))
        return context.get_dummy_value()

    return types.void(integer, a, b, integer, start, out, integer), codegen
