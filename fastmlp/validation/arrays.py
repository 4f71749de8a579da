"""Conversion of X, y and weights from any container, before scikit-learn validates them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import copy
from datetime import date, time, timedelta
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np
from scipy.sparse import csr_array, csr_matrix, issparse

from fastmlp.backends.device_arrays import to_host

NUMBERS = "biuf"  # kinds of NumPy's dtypes
FLOATS = np.float64, np.float32
CSR, INDEX_TYPES = (csr_matrix, csr_array), {np.dtype(np.int32), np.dtype(np.int64)}
DATES = date, time, timedelta, np.datetime64, np.timedelta64  # those of pandas are subclasses
DATE_TYPE = re.compile("date|time|duration|period|interval", re.IGNORECASE)  # of pandas, polars and Arrow
FLOAT32_TYPES = {"float32", "Float32", "float", "float[pyarrow]"}  # Arrow calls it float, and float64 double
NUMBER_TYPE = re.compile(r"(u?int\d|float|double|half|bool)", re.IGNORECASE)  # not "interval"

SMALL = 2**13  # values: up to here the general validation takes longer than everything else in a short call


def is_plain(given):
    """Whether it is a small, finite NumPy array of int64, float32 or float64, which needs no further validation."""
    if type(given) is not np.ndarray or not 0 < given.size <= SMALL or not given.dtype.isnative:
        return False
    return given.dtype.char in "lq" or (given.dtype.char in "fd" and bool(np.isfinite(given).all()))


def is_clean(given):
    """Whether it is a NumPy array of finite int64, float32 or float64 of any size, which needs no further validation.

    The sum of very large numbers may overflow; they then need the general validation, which finds them finite.
    """
    if type(given) is not np.ndarray or not given.size or not given.dtype.isnative or given.dtype.char not in "lqfd":
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(given.sum()))


def is_float_matrix(X, n_columns):
    """Whether it is a NumPy matrix of float32 or float64 with that many columns and a row; values are not checked."""
    is_floats = type(X) is np.ndarray and X.dtype in FLOATS
    return is_floats and X.shape[1:] == (n_columns,) and len(X) > 0


def is_valid_csr(X):
    """Whether it is a CSR matrix or array of floats in native byte order with valid indices; values are not checked.

    The format is checked as ``checked_sparse`` does, in a fifth of the time for a single row.
    """
    if type(X) not in CSR or X.ndim != 2:
        return False
    values, indices, starts = arrays = X.data, X.indices, X.indptr
    are_plain = all(type(array) is np.ndarray and array.ndim == 1 and array.dtype.isnative for array in arrays)
    if not are_plain or values.dtype.char not in "fd" or not {indices.dtype, starts.dtype} <= INDEX_TYPES:
        return False
    n_nonzeros = int(starts[-1]) if len(starts) == X.shape[0] + 1 else -1
    if not 0 <= n_nonzeros <= min(len(values), len(indices)) or starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        return False
    indices = indices[:n_nonzeros]
    return not n_nonzeros or bool(indices.min() >= 0 and indices.max() < X.shape[1])


def is_clean_csr(X, dtype):
    """Whether it is a valid CSR matrix with a row and a column, finite in ``dtype``: it needs no other check."""
    if not is_valid_csr(X) or 0 in X.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.data[: X.indptr[-1]].astype(dtype, copy=False).sum()))


def csr_in_dtype(X, dtype):
    """A valid CSR matrix in a dtype; X itself if it has it. (SciPy's astype would sort the indices of X itself.)"""
    return X if X.dtype == dtype else type(X)((X.data.astype(dtype), X.indices, X.indptr), shape=X.shape)


def plain_rows(X, dtype):
    """X as a C-contiguous array of ``dtype`` if it is a small matrix of finite floats; a clean CSR matrix; or None."""
    if type(X) is not np.ndarray:
        return csr_in_dtype(X, dtype) if is_clean_csr(X, dtype) else None
    if X.ndim != 2 or X.dtype.char not in "fd" or X.size > SMALL:
        return None
    if X.dtype != dtype:
        with np.errstate(over="ignore"):  # infinity is not plain
            X = X.astype(dtype)
    return np.ascontiguousarray(X) if is_plain(X) else None


def frame_values(given):
    """The values of a pandas frame of NumPy numbers as an array; anything else unchanged."""
    if type(given) is np.ndarray or not nw.dependencies.is_pandas_dataframe(given):
        return given
    dtypes = set(given.dtypes)
    return given.to_numpy() if all(isinstance(one, np.dtype) and one.kind in "iuf" for one in dtypes) else given


def as_numbers(given, name):
    """Convert numbers on the host for scikit-learn's validation.

    Gives an array in native byte order or a checked sparse matrix. Frames and series are returned unchanged, with their
    names. Masked values become NaN.

    Raises
    ------
    ValueError
        For dates and times, which NumPy would convert to numbers, for texts and complex numbers, for sparse matrices
        with invalid indices, and for anything that is not array-like. TypeError for objects that are no numbers.
    """
    if type(given) is np.ndarray and given.ndim and given.dtype.kind in NUMBERS and given.dtype.isnative:
        return given  # the usual case is fast
    given = unmasked(nw.to_native(to_host(given), pass_through=True))
    if issparse(given):
        _refuse_no_numbers(given, name)
        return checked_sparse(given, name)
    if type(given).__name__ == "RecordBatch":  # its column names would be ignored
        raise ValueError(
            f"{name} is an Arrow RecordBatch, which is not supported: pass pyarrow.Table.from_batches([batch])."
        )
    if is_frame(given):
        refuse_duplicate_columns(given, name)
        _check_columns(given, name)
        return given
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array, a frame, or a list of numbers or of rows of one length.") from error
    if array.ndim == 0:
        raise ValueError(f"{name} must be an array, a frame or a list of numbers, got {type(given).__name__}.")
    _refuse_dates(array, name)
    _refuse_no_numbers(array, name)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def as_labels(given, name):
    """Convert targets of any kind on the host for scikit-learn's validation; None stays None."""
    if type(given) is np.ndarray and given.ndim and given.size and given.dtype.kind not in "Oc":
        return given  # the usual case is fast
    given = _of_one_type(unmasked(to_host(given)), name)
    refuse_duplicate_columns(given, name)
    _refuse_complex(given, name)
    if given is not None and not (issparse(given) or is_frame(given) or is_listing(given)):
        raise ValueError(f"{name} must be an array, a frame or a list, got {type(given).__name__}.")
    try:
        shape = np.shape(given) if isinstance(given, (list, tuple)) else getattr(given, "shape", ())
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be a list of labels, or of rows of one length.") from error
    if len(shape) == 2 and not shape[1]:
        raise ValueError(f"{name} has no columns: pass at least one label for each sample.")
    return checked_sparse(given, name)


def _of_one_type(labels, name):
    """An object array of booleans only, or of integers only, as an array of these; anything else unchanged.

    pandas has such labels after missing ones were dropped. Raises ValueError for strings among numbers, which cannot be
    sorted.
    """
    if not isinstance(getattr(labels, "dtype", None), np.dtype) or labels.dtype.kind != "O":
        return labels
    array = np.asarray(labels)
    types = set(map(type, array.flat))
    if str in types and any(issubclass(one, Integral) for one in types):
        raise ValueError(f"{name} must be labels of one type, got texts and numbers: convert them all to str.")
    if types and all(issubclass(one, (bool, np.bool_)) for one in types):
        return array.astype(bool)
    are_integers = all(issubclass(one, Integral) and not issubclass(one, bool) for one in types)
    return np.array(array.tolist()) if are_integers else labels


def unmasked(given):
    """A masked array as a plain one in which masked numbers are NaN, and other masked values None; else unchanged."""
    if not isinstance(given, np.ma.MaskedArray):
        return given
    mask, values = np.ma.getmaskarray(given), np.asarray(given.data)
    if not mask.any():
        return values
    kind = values.dtype.kind
    dtype, missing = (values.dtype if kind == "f" else np.float64, np.nan) if kind in NUMBERS else (object, None)
    return np.where(mask, missing, values.astype(dtype))


def floats_of(X):
    """The ``dtype`` argument for scikit-learn's validation of a result of ``as_numbers``.

    A frame whose columns are all float32 stays float32; any other one becomes float64.
    """
    if isinstance(X, np.ndarray) or issparse(X) or not is_frame(X):
        return FLOATS
    return np.float32 if {str(kind) for _, kind in _columns(X)} <= FLOAT32_TYPES else FLOATS


def refuse_duplicate_columns(given, name):
    """Raise ValueError if it is a frame with several columns of the same name."""
    if not is_frame(given) or getattr(getattr(given, "columns", None), "is_unique", False):  # pandas knows it sooner
        return
    repeated = [column for column, n in Counter(column for column, _ in _columns(given)).items() if n > 1]
    if repeated:
        raise ValueError(
            f"{name} has several columns named {', '.join(map(repr, repeated))}: rename or drop them, so that every "
            "name is unique."
        )


def is_frame(given):
    """Whether it is a frame or series of pandas, polars, Arrow or another dataframe library."""
    return nw.dependencies.is_into_dataframe(given) or nw.dependencies.is_into_series(given)


def is_listing(given):
    """Whether it is list-like: iterable, but not a string, a dict or a 0-d array."""
    if hasattr(given, "__array__"):
        return np.asarray(given).ndim > 0
    return isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))


def checked_sparse(X, name):
    """X with valid indices and without unused space if it is sparse, in a format that can be checked.

    Call this before any other use: SciPy's conversions access memory by these indices without checks.

    Raises
    ------
    ValueError
        If indices are out of bounds, or X has more than two dimensions.
    """
    if not issparse(X):
        return X
    if X.ndim > 2:
        raise ValueError(f"{name} must have at most 2 dimensions, got a sparse array of shape {X.shape}.")
    if X.format not in ("csr", "csc", "bsr", "coo"):
        X = X.tocsr() if X.format == "lil" else X.tocoo()
    try:
        if X.format == "coo":
            return type(X)((X.data, X.coords), shape=X.shape)
        X = copy(X)  # check_format cuts off unused space, here not that of the user's matrix
        if not {X.indices.dtype.kind, X.indptr.dtype.kind} <= set("iu"):  # NaN would pass for a valid index
            raise ValueError("indices and indptr must be integers")
        X.check_format(full_check=True)
        if (X.indptr[1:] < X.indptr[:-1]).any():  # not seen if X.nnz < 1, or if differences overflow
            raise ValueError("indptr must not decrease")
    except (ValueError, IndexError) as error:
        raise ValueError(f"{name} is an invalid sparse matrix: {error}") from error
    return X


def _columns(frame):
    """(name, dtype) of each column; a series has the name None."""
    if nw.dependencies.is_into_series(frame):
        return [(None, frame.dtype if hasattr(frame, "dtype") else frame.type)]
    if hasattr(frame, "dtypes"):
        return list(zip(frame.columns, frame.dtypes))
    return list(zip(frame.column_names, frame.schema.types))


def _check_columns(frame, name):
    """Raise an error that names the column if one holds something other than numbers."""
    columns = _columns(frame)
    texts = {kind: str(kind) for _, kind in columns}  # once per dtype, because str() is slow here
    suspects = {kind for kind, text in texts.items() if not NUMBER_TYPE.match(text)}
    for column, kind in columns if suspects else ():
        where = "" if column is None else f" in column {column!r}"
        if DATE_TYPE.match(texts[kind]):
            _refuse(name, kind, where)
        if kind in suspects:
            values = np.asarray(frame if column is None else frame[column])
            _refuse_dates(values, name, where)
            _refuse_no_numbers(values, name, where)


def _refuse_no_numbers(array, name, where=""):
    """Raise an error if values cannot be converted to floats. None is converted to NaN, a missing value."""
    if array.dtype.kind in NUMBERS:
        return
    if array.dtype.kind == "V":
        raise ValueError(f"{name} must be numbers, got records of {array.dtype}{where}: pass their columns.")
    _refuse_complex(array, name, where)
    try:
        array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        wrong = next(filter(None, map(_why_no_number, array.flat)), error)
        kind = TypeError if isinstance(wrong, TypeError) else ValueError
        raise kind(f"{name} must be numbers: {wrong}{where}.") from error


def _refuse_complex(given, name, where=""):
    if getattr(getattr(given, "dtype", None), "kind", None) == "c":
        raise ValueError(f"Complex data not supported: {name} must be real numbers, got {given.dtype}{where}.")


def _why_no_number(value):
    """The error of converting a value to a float, or None."""
    try:
        float(0 if value is None else value)
        return None
    except (TypeError, ValueError, OverflowError) as error:
        return error


def _refuse_dates(array, name, where=""):
    kind = array.dtype if array.dtype.kind in "mM" else None
    if array.dtype.kind == "O":
        kind = next((type(value).__name__ for value in array.flat if isinstance(value, DATES)), None)
    if kind is not None:
        _refuse(name, kind, where)


def _refuse(name, kind, where):
    raise ValueError(
        f"{name} must be numbers, got {kind}{where}. Convert dates and times to numbers first, for example to days "
        "since the first one."
    )
