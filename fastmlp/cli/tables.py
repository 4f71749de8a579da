"""Tables from files and bundled data sets, and checks of their columns."""

import io
import os
import warnings
import zlib
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from sklearn import datasets

from fastmlp.extras import from_extra
from fastmlp.io.atomic import write_whole
from fastmlp.sources.files import SUFFIX, is_many
from fastmlp.tables.cells import text_of

from .csv_files import read_csv
from .date_texts import convert_dates
from .frames import TableError, counted, listed, pd
from .number_texts import convert_numbers, parse
from .parquet_files import NEEDS_PYARROW, read_parquet, read_parts

BUNDLED = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}

OTHER_FORMATS = ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".ndjson", ".feather", ".arrow", ".orc"
FEW_ROWS, NEARLY_ALL = 20, 0.9  # of rows, for warn_of_names


class Table(NamedTuple):
    """A frame, the name of its target column, and the decimal mark of a CSV file; both may be None."""

    frame: pd.DataFrame
    target: str | None
    decimal: str | None


def read_table(
    source, target=None, *, encoding=None, missing=(), texts=(), csv_texts=(), ignore=(), numbers=None, decimal=None,
    dates=False,
):  # fmt: skip
    """Read a bundled data set, a CSV or Parquet file, the Parquet files of a folder or pattern, or an NPZ file.

    Parameters
    ----------
    source : str
    target : str or None
    encoding : str or None
        Of a CSV file; None is UTF-8.
    missing : sequence of str
        Strings that are missing values, in all columns of a CSV file. Otherwise only empty fields are.
    texts : collection of str
        Columns that are read as strings: the category 01 is not the number 1, and NA not a missing value.
    csv_texts : collection of str
        Columns that are read as strings from CSV files only, because other files have types.
    ignore : sequence of str
        Columns to drop.
    numbers : collection of str, default=None
        Columns that hold numbers in a model: strings become numbers in these. None finds them, in CSV files only,
        because other files have types.
    decimal : str or None
        Decimal mark to assume where a file does not show it; None takes the usual one of the kind of file.
    dates : bool, default=False
        Whether to convert columns of strings in a CSV file that hold dates in ISO format, except for the target.

    Returns
    -------
    Table
        Its target is the given one, or that of a data set or NPZ file.
    """
    mark, convention, has_types = ".", None, True
    if source in BUNDLED:
        frame, target = BUNDLED[source](as_frame=True).frame, target or "target"
    else:
        path = Path(source)
        if not path.exists() and not is_many(source):
            raise TableError(f"{source} is neither a file nor a bundled data set. Bundled: {', '.join(BUNDLED)}.")
        if path.suffix.lower() in OTHER_FORMATS:
            raise TableError(f"{path.suffix} files are not supported: convert {source} to CSV or Parquet, with pandas.")
        if is_many(source):
            frame = read_parts(source)
        elif path.suffix.lower() == ".npz":
            frame, target = _read_npz(path), target or "y"
        elif path.suffix.lower() == SUFFIX:
            frame = read_parquet(path)
        else:
            frame, mark, convention = read_csv(path, encoding, missing, [*texts, *csv_texts])
            has_types = False
    if not len(frame):
        raise TableError(f"{source} has no rows.")
    check_present(frame, ignore)
    frame = frame.drop(columns=list(ignore))
    if has_types:
        frame = as_asked(frame, missing, texts)
    if numbers is not None:
        columns = frame.columns.intersection(numbers)
        frame, decimal = convert_numbers(frame, columns, mark, decimal or convention, known=True)
    elif not has_types:
        columns = frame.columns.difference(texts, sort=False)
        frame, decimal = convert_numbers(frame, columns, mark, decimal or convention)
        frame = convert_dates(frame, columns.difference([target])) if dates else frame
    return Table(frame, target, decimal)


def as_asked(frame, missing, texts):
    """A frame with types, with these strings as missing values and these columns as strings."""
    frame = _as_missing(frame, missing)
    others = [name for name in frame.columns.intersection(texts) if not holds_texts(frame[name])]
    return frame.assign(**{name: frame[name].map(text_of, na_action="ignore").astype("str") for name in others})


def _as_missing(frame, texts):
    """The frame with missing values in place of these strings, and of the numbers that they are."""
    numbers = [number.values["."] for number in map(parse, texts) if number and "." in number.values]
    return frame.mask(frame.isin([*texts, *numbers])) if texts else frame


def write_table(frame, out):
    """Write a frame to a Parquet file (.parquet), to a CSV file, perhaps compressed, or as CSV to a stream."""
    if hasattr(out, "write"):
        frame.to_csv(out, index=False)
        return
    content, name = io.BytesIO(), os.path.basename(out)
    if name.lower().endswith(SUFFIX):
        with from_extra("parquet", NEEDS_PYARROW):
            frame.rename(columns=str).to_parquet(content, index=False)
    else:
        method = pd.io.common.infer_compression(name, "infer")
        packing = {"archive_name": os.path.splitext(name)[0]} if method in ("zip", "tar") else {}
        frame.to_csv(content, index=False, compression={"method": method, **packing})
    write_whole(out, content.getvalue())


def _read_npz(path):
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, NotImplementedError, BadZipFile, zlib.error) as error:
        raise TableError(f"{path} cannot be read as NPZ: {error or 'it is empty'}") from error
    X = arrays.get("X")
    if X is None or X.ndim != 2 or X.dtype.kind not in "biuf":
        raise TableError(
            f"{path} must hold a 2-D array X of numbers (and y for training); it has {listed(list(arrays))}."
        )
    frame = pd.DataFrame(X.astype(np.float64), columns=[f"x{i}" for i in range(X.shape[1])])
    if "y" in arrays:
        y = arrays["y"]
        if y.shape != (len(frame),) or y.dtype.kind not in "biufSU":
            raise TableError(f"{path}: y must be {len(frame)} numbers or strings, got {y.dtype} of shape {y.shape}.")
        if y.dtype.kind == "S":
            y = np.char.decode(y, "utf-8", "replace")
        frame["y"] = y.astype(np.float64 if y.dtype.kind == "f" else y.dtype.newbyteorder("="))
    return frame


def incomplete(frame):
    """{column: number of missing or infinite values}, of columns that have some."""
    counts = _missing(frame).sum()
    return counts[counts > 0].to_dict()


def incomplete_rows(frame):
    """Whether each row has missing or infinite values."""
    return _missing(frame).any(axis=1)


def _missing(frame):
    return frame.replace([np.inf, -np.inf], np.nan).isna()


def warn_of_unnamed(frame):
    """Warn of columns without a name that have values: pandas writes the numbers of the rows as one."""
    for name in frame.columns:
        if name.startswith("Unnamed: ") and frame[name].notna().any():
            warnings.warn(f"a column without a name is called {name!r}: drop it with --ignore if it numbers the rows.")


def warn_of_names(frame, target, classes=False):
    """Warn of strings, and of a target that holds ``classes``, that differ in nearly every row."""
    for name in frame.columns:
        n_rows, has_classes = frame[name].count(), holds_texts(frame[name]) or (classes and name == target)
        n_values = frame[name].nunique() if has_classes else 0
        if n_rows < FEW_ROWS or n_values < NEARLY_ALL * n_rows:
            continue
        column, advice = "column", f"drop it with --ignore {name!r} if it holds names or free text"
        if name == target:
            column, advice = "target", "a class that occurs once cannot be learned"
        warnings.warn(f"the {column} {name!r} has {n_values} different values in {n_rows} rows: {advice}.")


def holds_texts(values):
    """Whether a column holds strings, perhaps as categories."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories.to_series()
    return pd.api.types.is_string_dtype(values)


def check_present(frame, names):
    """TableError unless every name is a column."""
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise TableError(f"no column {listed(absent)}. Columns: {listed(list(frame.columns))}.")


def check_complete(frame, names):
    """TableError unless every name is a column without missing or infinite values."""
    check_present(frame, names)
    missing = incomplete(frame[names])
    if missing:
        raise TableError(
            f"missing or infinite values in {counted(missing)}: fill them in or drop these rows "
            "('train --drop-missing')."
        )


def check_kinds(frame, names):
    """TableError unless every column holds numbers, booleans or strings."""
    for name in names:
        values = frame[name]
        plain = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_string_dtype(values)
        if isinstance(values.dtype, pd.CategoricalDtype) or (values.dtype == object and not plain):
            plain = all(isinstance(value, (str, bool, Real)) for value in values.dropna())
        if not plain or any(isinstance(value, Decimal) for value in values[:1]):
            kind = type(values.iloc[0]).__name__
            raise TableError(
                f"column {name!r} holds {kind}, but only numbers and strings are supported: convert it, or drop it "
                f"with --ignore {name!r}."
            )
