"""Records of engine/records.py for Numba: pointers whose attributes are loaded and stored."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

from fastmlp.kernels.engine import records

INT64 = ir.IntType(64)
RECORDS = {record.__name__: record.__annotations__ for record in records.RECORDS}
KINDS = {
    "int": types.int64,
    "bint": types.boolean,
    "float": types.float64,
    "Integers": types.CPointer(types.int64),
    "Indices": types.CPointer(types.int32),
    "Doubles": types.CPointer(types.float64),
    "None": types.none,
}


class RecordPointer(types.Type):
    """A pointer to a record of that name, in which a Vector is of ``dtype``.

    ``level`` is the number of dimensions of a plan's ``like`` (engine/plan.py).
    """

    def __init__(self, record, dtype, level):
        self.record, self.dtype, self.level = record, dtype, level
        super().__init__(f"{record}[{dtype}, {level}]")

    def field(self, name):
        """(number, type) of a field."""
        kinds = RECORDS[self.record]
        return list(kinds).index(name), type_of(kinds[name], self.dtype, self.level)


def type_of(annotation, dtype, level):
    """The type that an annotation of the engine names."""
    if annotation in RECORDS:
        return RecordPointer(annotation, dtype, level)
    return {"Vector": types.CPointer(dtype), "Number": dtype}.get(annotation) or KINDS[annotation]


@register_model(RecordPointer)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.ArrayType(INT64, len(RECORDS[kind.record])).as_pointer())


@infer_getattr
class _Attributes(AttributeTemplate):
    key = RecordPointer

    def generic_resolve(self, kind, name):
        return kind.field(name)[1] if name in RECORDS[kind.record] else None


def _place(context, builder, kind, pointer, name):
    """(type of a field, pointer to it)"""
    number, found = kind.field(name)
    place = cgutils.gep_inbounds(builder, pointer, 0, number)
    stored = INT64 if found is types.boolean else context.get_value_type(found)
    return found, builder.bitcast(place, stored.as_pointer())


@lower_getattr_generic(RecordPointer)
def _load(context, builder, kind, pointer, name):
    found, place = _place(context, builder, kind, pointer, name)
    value = builder.load(place)
    return builder.icmp_signed("!=", value, ir.Constant(INT64, 0)) if found is types.boolean else value


@lower_setattr_generic(RecordPointer)
def _store(context, builder, signature, arguments, name):
    pointer, value = arguments
    found, place = _place(context, builder, signature.args[0], pointer, name)
    builder.store(builder.zext(value, INT64) if found is types.boolean else value, place)


@intrinsic(prefer_literal=True)
def record_at(typingctx, address, record, like):
    """The record of that name at an address; its Vectors are like the array ``like``, see engine/plan.py."""
    kind = RecordPointer(record.literal_value, like.dtype, like.ndim)

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(address, record, like), codegen
