"""Tables from files and bundled data sets, and the encoding of their columns as numbers."""

import math
import re
import warnings
import zlib
from decimal import Decimal
from io import BytesIO
from numbers import Real
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn import datasets

from fastmlp.extras import from_extra

with from_extra("cli", "reading tables requires pandas"):
    import pandas as pd

BUNDLED = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}

PARQUET, PARQUET_NEEDS = ".parquet", "Parquet files need pyarrow"
MAX_CATEGORIES = 200  # a column with more distinct strings holds names or free text


class TableError(ValueError):
    """Raised for tables with missing or unsuitable columns; the message names them."""


def read_table(source, target=None, texts=()):
    """Read a bundled data set, a CSV or Parquet file, or an NPZ file with X and y.

    Columns named in ``texts`` are read as strings: the category 01 is not the number 1.

    Returns
    -------
    frame : DataFrame
    target : str or None
        Name of the target column: the given one, or that of a data set or NPZ file.
    """
    if source in BUNDLED:
        return BUNDLED[source](as_frame=True).frame, target or "target"
    path = Path(source)
    if not path.exists():
        raise TableError(f"{source} is neither a file nor a bundled data set. Bundled: {', '.join(BUNDLED)}.")
    if path.suffix.lower() == ".npz":
        return _read_npz(path), target or "y"
    if path.suffix.lower() == PARQUET:
        try:
            with from_extra("parquet", PARQUET_NEEDS):
                return pd.read_parquet(path).reset_index(drop=True), target
        except (ValueError, OSError) as error:
            raise TableError(f"{source} cannot be read as Parquet: {error}") from error
    try:
        return _read_csv(path, dict.fromkeys(texts, str)), target
    except (ValueError, pd.errors.ParserWarning) as error:
        raise TableError(f"{source} cannot be read as CSV: {error}") from error


def _read_csv(path, dtypes):
    """Read CSV with the most frequent separator of the header, and decimal commas if the separator is another one."""
    file = path if path.is_file() else BytesIO(path.read_bytes())  # a pipe can be read only once
    with open(path, "rb") if path.is_file() else file as opened:
        lines = [opened.readline().decode(errors="replace") for _ in range(20)]
        separator = max(";\t,", key=lines[0].count) if re.search("[;\t]", lines[0]) else ","
        decimal = "," if separator != "," and any(re.search(r"\d,\d", line) for line in lines[1:]) else "."
        opened.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than in the header
            return pd.read_csv(
                opened, sep=separator, decimal=decimal, skipinitialspace=True, dtype=dtypes, low_memory=False,
                index_col=False,
            )  # fmt: skip


def write_table(frame, out):
    """Write a frame to a Parquet file (.parquet), to a CSV file, or as CSV to a stream."""
    if not str(out).lower().endswith(PARQUET):
        frame.to_csv(out, index=False)
        return
    with from_extra("parquet", PARQUET_NEEDS):
        frame.rename(columns=str).to_parquet(out, index=False)


def _read_npz(path):
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, BadZipFile, zlib.error) as error:
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


def drop_incomplete(frame):
    """Rows without missing or infinite values."""
    return frame.replace([np.inf, -np.inf], np.nan).dropna(ignore_index=True)


def listed(names):
    """The first few names, quoted, for a message."""
    shown = ", ".join(map(repr, map(str, names[:8])))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def check_present(frame, names):
    """TableError unless every name is a column."""
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise TableError(f"no column {listed(absent)}. Columns: {listed(list(frame.columns))}.")


def check_complete(frame, names):
    """TableError unless every name is a column without missing or infinite values."""
    check_present(frame, names)
    missing = frame[names].replace([np.inf, -np.inf], np.nan).isna().sum()
    if missing.any():
        counts = ", ".join(f"{name!r} ({count} rows)" for name, count in missing[missing > 0].items())
        raise TableError(
            f"missing or infinite values in {counts}: fill them in or drop these rows ('train --drop-missing')."
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


def mean_and_std(values):
    """Mean and standard deviation of a numeric column; the standard deviation of a constant is 1.

    Raises
    ------
    TableError
        If they are not finite.
    """
    # Not computed for a constant: rounding would make it 1e-17 instead of 0.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(values.mean()), float(values.std(ddof=0)) if values.nunique() > 1 else 0.0
    if not (math.isfinite(mean) and math.isfinite(std)):
        raise TableError(
            f"column {values.name!r} has numbers that are too large: their mean or standard deviation is not finite."
        )
    return mean, std or 1.0


class ColumnEncoder:
    """Encoder of the columns of a table: numeric ones are standardised, the others one-hot encoded.

    ``columns`` is a list of dicts: {"name", "mean", "std"} or {"name", "values"}. Unknown values are encoded as all
    zeros, with a warning.
    """

    def __init__(self, columns):
        self.columns = columns

    @property
    def texts(self):
        """Names of the categorical columns."""
        return [column["name"] for column in self.columns if "values" in column]

    @classmethod
    def fit(cls, frame):
        """The encoder for the columns of ``frame``."""
        columns = []
        for name in frame.columns:
            values = frame[name]
            if pd.api.types.is_numeric_dtype(values):
                mean, std = mean_and_std(values)
                columns.append({"name": name, "mean": mean, "std": std})
            elif values.nunique() > MAX_CATEGORIES:
                raise TableError(
                    f"column {name!r} has {values.nunique()} distinct strings, too many for categories (at most "
                    f"{MAX_CATEGORIES}). Drop it with --ignore {name!r}."
                )
            else:
                columns.append({"name": name, "values": sorted(values.astype(str).unique())})
        if not columns:
            raise TableError("the table has no columns other than the target.")
        return cls(columns)

    @property
    def n_outputs(self):
        """Number of encoded columns."""
        return len(self.outputs)

    @property
    def outputs(self):
        """(name, mean, std) of each encoded column; one-hot columns are called 'column=value' and are not scaled."""
        found = []
        for column in self.columns:
            if "values" in column:
                found += [(f"{column['name']}={value}", 0.0, 1.0) for value in column["values"]]
            else:
                found.append((str(column["name"]), column["mean"], column["std"]))
        return found

    def transform(self, frame, dtype):
        """Encode a frame as an array of shape (n_samples, n_outputs)."""
        check_complete(frame, [column["name"] for column in self.columns])
        parts = []
        for column in self.columns:
            values = frame[column["name"]]
            if "values" in column:
                known = np.array(column["values"], dtype=object)
                hits = values.astype(str).to_numpy(object)[:, None] == known[None, :]
                unknown = values[~hits.any(axis=1)]
                if len(unknown):
                    message = f"column {column['name']!r} has values that did not occur in training, encoded as zeros"
                    warnings.warn(f"{message}: {listed(list(unknown.unique()))} ({len(unknown)} rows).")
                parts.append(hits)
                continue
            try:
                numbers = pd.to_numeric(values).to_numpy(np.float64)
            except (ValueError, TypeError) as error:
                raise TableError(
                    f"column {column['name']!r} was numeric in training, but is not here: {error}"
                ) from error
            parts.append(((numbers - column["mean"]) / column["std"])[:, None])
        return np.ascontiguousarray(np.hstack(parts), dtype)
