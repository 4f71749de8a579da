"""Pointers, rows of a few vectors, the treatment of denormal numbers and a barrier, for Numba.

Their twins in C are in cpu/primitives.h. engine/primitives.py says what both promise.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .vectors import INT32, INT64, TRIPLE, constant


@intrinsic
def at(typingctx, pointer, offset):
    """pointer + offset, in numbers or records."""

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


@intrinsic
def random_integer(typingctx, draw, generator):
    """See engine/primitives.py."""

    def codegen(context, builder, signature, args):
        c_type = ir.FunctionType(INT32, [INT64])
        drawn = builder.call(builder.inttoptr(args[0], c_type.as_pointer()), [args[1]])
        return builder.zext(drawn, INT64)

    return types.int64(types.int64, types.int64), codegen


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


IS_X86 = TRIPLE.startswith(("x86_64", "amd64"))


def _control_word(builder, name, place):
    """Store or load the control word of x86's vector arithmetic."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def flush_denormals(typingctx):
    """See engine/primitives.py."""

    def codegen(context, builder, signature, args):
        if not IS_X86:
            return constant(0)
        place = cgutils.alloca_once(builder, INT32)
        _control_word(builder, "stmxcsr", place)
        state = builder.load(place)
        builder.store(builder.or_(state, ir.Constant(INT32, 0x8040)), place)  # results to 0, and operands
        _control_word(builder, "ldmxcsr", place)
        return builder.zext(state, INT64)

    return types.int64(), codegen


@intrinsic
def restore_denormals(typingctx, state):
    """See engine/primitives.py."""

    def codegen(context, builder, signature, args):
        if IS_X86:
            place = cgutils.alloca_once_value(builder, builder.trunc(args[0], INT32))
            _control_word(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def arrive(typingctx, counter):
    """Count one more arrival at the barrier."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], constant(1), "acq_rel")

    return types.int64(counter), codegen


@intrinsic
def arrivals(typingctx, counter):
    """Number of arrivals at the barrier so far."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(args[0], "acquire", 8)

    return types.int64(counter), codegen
