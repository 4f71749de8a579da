"""The cells of one column, read into NumPy arrays: the same arrays whatever library holds the column."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from numbers import Complex, Integral, Real
from typing import NamedTuple

import narwhals.stable.v2 as nw
import numpy as np

NUMBERS, BOOLEANS, DATES, TEXTS, EMPTY = "numbers", "booleans", "dates", "strings", "no values"
TIME_UNIT = "datetime64[us]"
SECOND = np.timedelta64(1, "s")
EXACT = 2**53  # float64 rounds larger integers
NESTED = list, tuple, dict, set, frozenset, np.ndarray, nw.DataFrame, nw.Series
NESTED_TYPES = nw.List, nw.Array, nw.Struct
CAST_FIRST = nw.Decimal, nw.Int128, nw.UInt128  # NumPy has no such types


class Cells(NamedTuple):
    """A column's values.

    ``values`` are float64 for numbers and booleans (missing: NaN), datetime64 for dates (missing: NaT), and positions
    in ``texts`` for strings (missing: -1). A column of EMPTY kind has missing values only, all NaN. ``integers`` are
    the exact values of numbers if some are integers that float64 may round.
    """

    kind: str
    values: np.ndarray
    texts: tuple[str, ...] = ()
    integers: np.ndarray | None = None

    @property
    def missing(self):
        """Whether each value is missing."""
        if self.kind == TEXTS:
            return self.values < 0
        return np.isnat(self.values) if self.kind == DATES else np.isnan(self.values)


def read_cells(column, name):
    """Read a narwhals Series or a 1-D array.

    Dates with a time zone are converted to UTC. Durations and times of day are numbers, in seconds. Categories and
    values of any other hashable type become strings; equal numbers the same one, for example '1' for 1 and 1.0.

    Raises
    ------
    ValueError
        For complex numbers.
    TypeError
        For nested values such as lists.
    """
    cells = _of_array(column, name) if isinstance(column, np.ndarray) else _of_series(column, name)
    return Cells(EMPTY, np.full(len(column), np.nan)) if cells.missing.all() else cells


def _of_array(column, name):
    kind = column.dtype.kind
    if kind in "iuf":
        with np.errstate(over="ignore"):  # of long doubles
            return _with_integers(column.astype(np.float64), column if kind in "iu" else None)
    if kind == "b":
        return Cells(BOOLEANS, column.astype(np.float64))
    if kind == "M":
        return Cells(DATES, column.astype(TIME_UNIT))
    if kind == "m":
        return Cells(NUMBERS, column / SECOND)
    return _of_uniques(*_factorised(column.tolist(), name), name)


def _of_series(column, name):
    dtype = column.dtype
    if dtype.is_numeric() and dtype not in CAST_FIRST:  # Arrow refuses to cast integers that float64 has to round
        values = column.to_numpy().astype(np.float64, copy=False)
        return _with_integers(values, column if dtype.is_integer() else None)
    if dtype.is_numeric() or dtype == nw.Boolean:
        kind = BOOLEANS if dtype == nw.Boolean else NUMBERS
        return Cells(kind, column.cast(nw.Float64).to_numpy())
    if dtype == nw.Datetime and dtype.time_zone is not None:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if dtype in (nw.Date, nw.Datetime):
        return Cells(DATES, column.cast(nw.Datetime("us")).to_numpy().astype(TIME_UNIT))
    if dtype == nw.Duration:
        return Cells(NUMBERS, column.cast(nw.Duration("us")).to_numpy() / SECOND)
    if dtype in NESTED_TYPES:
        _refuse(dtype, name)
    categories = dtype in (nw.Categorical, nw.Enum)  # declared as such: their numbers are strings, too
    if column.implementation.is_pandas_like():
        return _of_uniques(*_factorised_by_pandas(column.to_native(), name), name, categories)
    if not categories and dtype not in (nw.String, nw.Binary):
        return _of_uniques(*_factorised(column.to_list(), name), name)
    column = column.cast(nw.String) if dtype == nw.String else column  # of the usual layout; Arrow has several
    present = column.drop_nulls()
    uniques = present.unique().to_list()
    codes = np.full(len(column), -1)
    codes[~column.is_null().to_numpy()] = present.replace_strict(
        uniques, list(range(len(uniques))), return_dtype=nw.Int64
    )
    return _of_uniques(uniques, codes, name, categories)


def _factorised_by_pandas(series, name):
    try:
        codes, uniques = series.factorize()
    except TypeError:
        return _factorised(series.tolist(), name)
    return np.asarray(uniques, object).tolist(), codes


def _factorised(values, name):
    """(distinct values, the position of each value among them)."""
    try:
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    except TypeError:  # not hashable
        for value in values:
            if isinstance(value, NESTED):
                _refuse(type(value).__name__, name)
        raise
    return list(numbers), np.fromiter(map(numbers.__getitem__, values), np.int64, len(values))


def _of_uniques(uniques, codes, name, categories=False):
    """Cells of distinct Python values and the position of each row's value; -1 is missing. Categories are strings."""
    if set(map(type, uniques)) == {str}:
        return Cells(TEXTS, np.asarray(codes, np.int64), tuple(uniques))
    numbers = [number for number, value in enumerate(uniques) if not is_missing(value)]
    present = [uniques[number] for number in numbers]
    of = {type(value) for value in present} if not categories else {str}

    def spread(values, missing, dtype):
        table = np.full(len(uniques) + 1, missing, dtype)  # the last one is for the code -1
        table[numbers] = values
        return table[codes]

    if not present:
        return Cells(EMPTY, np.full(len(codes), np.nan))
    if _all(of, bool, np.bool_):
        return Cells(BOOLEANS, spread(present, np.nan, np.float64))
    if _all(of, Real, Decimal, np.bool_):
        values = spread([_float(value) for value in present], np.nan, np.float64)
        has_integers = any(issubclass(kind, Integral) for kind in of)
        return _with_integers(values, spread(present, None, object) if has_integers else None)
    if _all(of, date, np.datetime64):
        return Cells(DATES, spread([in_utc(value) for value in present], "NaT", TIME_UNIT))
    if _all(of, timedelta, time, np.timedelta64):
        return Cells(NUMBERS, spread([_seconds(value) for value in present], np.nan, np.float64))
    nested = next((value for value in present if isinstance(value, NESTED)), None)
    if nested is not None:
        _refuse(type(nested).__name__, name)
    if any(isinstance(value, Complex) and not isinstance(value, Real) for value in present):
        raise ValueError(f"Complex data not supported: column {name!r} has complex numbers. Take their real parts.")
    return Cells(TEXTS, spread(range(len(present)), -1, np.int64), tuple(text_of(value) for value in present))


def _with_integers(values, exact):
    """Cells of numbers; ``exact`` are the same values, if they are integers."""
    if exact is None or not (np.abs(values) >= EXACT).any():
        return Cells(NUMBERS, values)
    return Cells(NUMBERS, values, integers=np.array(exact.to_list() if isinstance(exact, nw.Series) else exact, object))


def is_missing(value):
    """Whether a cell is None, NaN, NaT or pandas.NA."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def text_of(value):
    """A category's value as a string. Numbers are written as short as possible: 1.0 as '1'."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, (Real, Decimal)):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)


def _all(types, *allowed):
    return all(issubclass(kind, allowed) for kind in types)


def _float(value):
    try:
        return float(value)
    except OverflowError:  # an integer or a fraction
        return np.inf if value > 0 else -np.inf


def in_utc(value):
    """A date or time as datetime64, in UTC if it has a time zone."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value).astype(TIME_UNIT)


def _seconds(value):
    if isinstance(value, time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    return value.total_seconds() if isinstance(value, timedelta) else value / SECOND


def _refuse(kind, name):
    # "argument must be ... string ... number" are scikit-learn's words.
    raise TypeError(
        f"column {name!r} has nested values ({kind}), but each cell of the argument must be a string, a number, a "
        "boolean or a date: make a column of each part, or drop the column."
    )
