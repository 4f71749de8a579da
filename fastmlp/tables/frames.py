"""Tables in any container: frames, Arrow tables, arrays, lists of rows and dicts of columns."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from scipy.sparse import issparse

from fastmlp.backends.device_arrays import to_host
from fastmlp.validation.arrays import refuse_duplicate_columns, unmasked


class Table(NamedTuple):
    """The columns of a table.

    ``names`` is None for arrays, lists of rows, and pandas frames whose columns are merely numbered from 0; ``labels``
    has these numbers, too. ``column(number)`` returns a narwhals Series or a 1-D array.
    """

    names: tuple[str, ...] | None
    shape: tuple[int, int]
    column: Callable[[int], Any]
    labels: tuple[str, ...] | None


def as_table(X):
    """The Table of X; ValueError for anything without rows and columns, and for duplicate column names."""
    X = to_host(nw.to_native(X, pass_through=True))
    if issparse(X):
        raise ValueError("X is a sparse matrix, which is not a table: pass X.toarray(), or a frame.")
    if isinstance(X, np.ndarray) and X.dtype.names:
        X = {name: X[name] for name in X.dtype.names}
    if isinstance(X, Mapping):
        return _of_dict(X)
    frame = _as_frame(X)
    return _of_array(X) if frame is None else _of_frame(frame)


def _as_frame(X):
    """X as a narwhals DataFrame, or None if it is not a frame."""
    refuse_duplicate_columns(X, "X")
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise ValueError(f"X is a lazy {type(X).__name__}: collect it first, for example with X.collect().")
    if isinstance(frame, nw.DataFrame):
        return frame
    if hasattr(X, "__arrow_c_stream__") or hasattr(X, "__arrow_c_array__"):  # a RecordBatch, or a result of DuckDB
        if nw.dependencies.is_into_series(X):
            raise ValueError(_two_dimensions(f"a {type(X).__name__} of one dimension"))
        return nw.from_arrow(X, backend="pyarrow")
    return None


def _of_frame(frame):
    labels = _unique(map(str, frame.columns))
    names = None if frame.columns == list(range(len(labels))) else labels
    return Table(names, frame.shape, list(frame.iter_columns()).__getitem__, labels)


def _of_dict(columns):
    arrays = [_one_column(name, values) for name, values in columns.items()]
    if len(set(map(len, arrays))) > 1:
        lengths = ", ".join(f"{name!r} {len(array)}" for name, array in zip(columns, arrays))
        raise ValueError(f"the columns of X must have the same number of rows, got {lengths}.")
    names = _unique(map(str, columns))
    return Table(names, (len(arrays[0]) if arrays else 0, len(arrays)), arrays.__getitem__, names)


def _one_column(name, values):
    """A column of a dict: a series as it is, anything else as a 1-D array."""
    series = nw.from_native(values, allow_series=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series
    array = _cells(values)
    if array.ndim != 1:
        raise ValueError(
            f"column {name!r} of X must be a list of values, got a {type(values).__name__} of shape {array.shape}."
        )
    return array


def _of_array(X):
    array = _cells(X)
    if array.ndim == 1 and array.dtype == object and any(isinstance(row, (list, tuple)) for row in array):
        raise ValueError("X is a list of rows of different lengths: give every row a value for each column.")
    if array.ndim != 2:
        raise ValueError(_two_dimensions(f"a {type(X).__name__} of shape {array.shape}"))
    return Table(None, array.shape, lambda number: array[:, number], None)


def _cells(values):
    """An array whose cells keep their types: a list of rows with numbers and strings has the dtype object."""
    values = unmasked(values)
    if isinstance(values, np.ndarray):
        return values
    try:
        array = np.asarray(values)
    except ValueError:  # lists in cells, or rows of different lengths
        array = np.array(None)
    return array if array.dtype.kind in "biufmM" or hasattr(values, "__array__") else np.array(values, object)


def _unique(names):
    names = tuple(names)
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise ValueError(f"X has several columns named {', '.join(map(repr, repeated))}: rename or drop them.")
    return names


def _two_dimensions(given):
    return (
        f"X must be a table of two dimensions (a frame, an array, a list of rows, a dict of columns), got {given}. "
        "Reshape your data: X.reshape(1, -1) if it is a single row, X.reshape(-1, 1) if it is a single column."
    )
