"""Columns of Arrow tables as features, targets and weights: which there are, what they hold, and their numbers."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from fastmlp.extras import from_extra
from fastmlp.validation.arrays import is_listing

with from_extra("parquet", "read_blocks needs pandas and pyarrow"):
    import pandas as pd
    import pyarrow as pa
    import pyarrow.types as kinds

FEW = 8  # names in a message


class Columns(NamedTuple):
    """The columns of a block.

    Attributes
    ----------
    features : list of str
    targets : list of str
    weight : str or None
    is_matrix : bool
        Whether y has two dimensions.
    """

    features: list[str]
    targets: list[str]
    weight: str | None
    is_matrix: bool

    @classmethod
    def of(cls, schema, target, features, weight):
        """The Columns that the arguments of ``read_blocks`` select from an Arrow schema.

        Raises
        ------
        TypeError
            If names are no strings.
        ValueError
            If a column would be used twice, or if there are no features or targets.
        """
        is_matrix = not isinstance(target, str)
        targets = _names("target", target if is_matrix else [target])
        if weight is not None:
            _names("weight", [weight])
        others = [*targets, *([] if weight is None else [weight])]
        if features is None:
            features = [name for name in data_columns(schema) if name not in others]
        elif isinstance(features, str):
            raise TypeError(f"columns must be a list of names, got the string {features!r}: pass [{features!r}].")
        features = _names("columns", features)
        repeated = [name for name, n in Counter([*features, *others]).items() if n > 1]
        if repeated:
            raise ValueError(f"{_listed(repeated)} cannot be used more than once in columns, target and weight.")
        if not features or not targets:
            raise ValueError("there must be at least one target, and one column other than target and weight.")
        return cls(features, targets, weight, is_matrix)

    @property
    def complete(self):
        """Columns that must have no missing values."""
        return [*self.features, *([] if self.weight is None else [self.weight])]

    @property
    def names(self):
        """All columns to read."""
        return [*self.features, *self.targets, *([] if self.weight is None else [self.weight])]

    def check(self, schema, where):
        """Raise ValueError unless an Arrow schema, found at ``where``, has the columns, with suitable types."""
        counts = Counter(schema.names)
        for name in self.names:
            if not counts[name]:
                role = "" if name in self.features else "weight: " if name == self.weight else "target: "
                raise ValueError(f"{role}{where} has no column {name!r}. Columns: {_listed(schema.names)}.")
            if counts[name] > 1:
                raise ValueError(f"{where} has {counts[name]} columns {name!r}: rename or drop them.")
        for name in self.names:
            found = schema.field(name).type
            if _is_number(found) or kinds.is_null(found) or (name in self.targets[:1] and self._may_be_text(found)):
                continue
            needs, remedy = "the features must be numbers", f"leave {name!r} out with columns=[...]"
            if name in self.targets:
                needs, remedy = "a target must be numbers, or one column of strings", "use another target"
            elif name == self.weight:
                needs, remedy = "weights must be numbers", "use another column"
            raise ValueError(f"{where}: the column {name!r} holds {found}, but {needs}: convert it, or {remedy}.")

    def _may_be_text(self, found):
        return not self.is_matrix and is_text(found)

    def block(self, table, dtype):
        """(X, y) or (X, y, sample_weight) of an Arrow table; X is a DataFrame of a C-contiguous array of ``dtype``.

        Missing targets become NaN. Raises ValueError for other missing values, and for unsuitable types.
        """
        names = pd.Index(self.features, dtype=object)  # iterating over pandas' own strings is slow
        X = pd.DataFrame(_numbers(table, self.features, dtype), columns=names, copy=False)
        y = [_target(table.column(name), name) for name in self.targets]
        y = np.column_stack(y) if self.is_matrix else y[0]
        if self.weight is None:
            return X, y
        return X, y, _numbers(table, [self.weight], np.float64)[:, 0]


def data_columns(schema):
    """Names of the columns of an Arrow schema, without those of an index that pandas has written."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name not in index]


def dtype_of(schemas, features):
    """The dtype of X, by the rule of ``fit`` for data frames: float32 if all columns are, otherwise float64."""
    found = {_plain(schema.field(name).type) for schema in schemas for name in features}
    return np.float32 if found == {pa.float32()} else np.float64


def is_text(found):
    """Whether an Arrow type is one of strings."""
    found = _plain(found)
    return kinds.is_string(found) or kinds.is_large_string(found) or kinds.is_string_view(found)


def _plain(found):
    """The type of the values, also of categories."""
    return found.value_type if kinds.is_dictionary(found) else found


def _is_number(found):
    found = _plain(found)
    return any(test(found) for test in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_decimal))


def _cast(column, dtype):
    """A column without categories, in an Arrow type."""
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if column.type == dtype else column.cast(dtype, safe=False)


def _numbers(table, names, dtype):
    """Columns as a C-contiguous matrix. Raises ValueError if values are missing."""
    columns = table.select(names).columns
    for name, column in zip(names, columns):
        refuse_missing(name, column.null_count)
    columns = [_cast(column, pa.from_numpy_dtype(dtype)) for column in columns]
    batches = pa.Table.from_arrays(columns, names).combine_chunks().to_batches()
    return batches[0].to_tensor(row_major=True).to_numpy() if batches else np.empty((table.num_rows, len(names)), dtype)


def _target(column, name):
    """A target as an array of numbers, booleans or strings; missing numbers are NaN."""
    found = _plain(column.type)
    if is_text(found):
        refuse_missing(name, column.null_count)
        return np.array(_cast(column, pa.string()).to_pylist(), object)
    if column.null_count or not (kinds.is_integer(found) or kinds.is_boolean(found) or kinds.is_float32(found)):
        found = pa.float64()
    return _cast(column, found).to_numpy()


def refuse_missing(name, n_missing):
    """Raise ValueError if values of a column are missing."""
    if n_missing:
        raise ValueError(f"the column {name!r} has {n_missing} missing values: fill them in or drop these rows.")


def _names(what, given):
    names = list(given) if is_listing(given) else [None]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what} must be names of columns, got {given!r}.")
    return list(map(str, names))


def _listed(names):
    shown = ", ".join(map(repr, names[:FEW]))
    return shown if len(names) <= FEW else f"{shown} and {len(names) - FEW} more"
