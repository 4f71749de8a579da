"""Types of the entries of model files, as annotations: ``check_entries({"loss_": 0.5}, {"loss_": float | None})``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from reprlib import repr as shortened
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def check_entries(saved: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Raise ValueError if an entry has another type than its annotation in ``kinds``. Entries may be missing."""
    for name, kind in kinds.items():
        if name in saved and not is_a(saved[name], kind):
            raise ValueError(
                f"{name} is {shortened(saved[name])}, not {kind.__name__ if isinstance(kind, type) else kind}"
            )


def checked_record(record: Record) -> Record:
    """Return a NamedTuple or dataclass that was read from a file; ValueError unless its fields have their types."""
    kinds = annotations_of(type(record))  # type: ignore[arg-type]
    check_entries({name: getattr(record, name) for name in kinds}, kinds)
    return record


@cache
def annotations_of(cls: type) -> dict[str, Any]:
    """The annotations of the fields of a class."""
    return get_type_hints(cls)


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value that was read from a file has the type of an annotation.

    Integers are floats too, but booleans are neither integers nor floats.
    """
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(is_a(value, one) for one in of)
    if kind is float:
        return type(value) in (int, float)
    if origin is None:
        return isinstance(value, kind) if kind not in (int, str) else type(value) is kind
    if not isinstance(value, origin):
        return False
    if origin is dict:
        return all(is_a(key, of[0]) and is_a(one, of[1]) for key, one in value.items())
    if origin is tuple and of[-1] is not ...:
        return len(value) == len(of) and all(map(is_a, value, of))
    return all(is_a(one, of[0]) for one in value)
