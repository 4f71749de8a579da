"""Tables from files and bundled data sets, and the numbers that a network sees in place of their columns."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets

BUNDLED = {
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}

MAX_CATEGORIES = 200  # more distinct texts than this are names or free text, not categories


class TableError(ValueError):
    """A table lacks something, or holds what cannot be learned from; the message names the columns."""


def read_table(source, target=None):
    """(frame, name of its target column) of a bundled data set's name, a CSV file, or an NPZ file with X and y.

    ``target`` is needed for CSV files when training; None leaves the second value None there.
    """
    if source in BUNDLED:
        return BUNDLED[source](as_frame=True).frame, target or "target"
    path = Path(source)
    if not path.exists():
        raise TableError(f"{source} is neither a file nor a bundled data set ({', '.join(BUNDLED)}).")
    if path.suffix.lower() == ".npz":
        return _read_npz(path), target or "y"
    try:
        return pd.read_csv(path, skipinitialspace=True), target
    except (ValueError, UnicodeDecodeError) as error:
        raise TableError(f"{source} cannot be read as CSV: {error}") from error


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError) as error:
        raise TableError(f"{path} cannot be read as NPZ: {error}") from error
    if "X" not in arrays or arrays["X"].ndim != 2:
        raise TableError(f"{path} needs a 2-D array X (and y to train); it has {', '.join(arrays) or 'nothing'}.")
    frame = pd.DataFrame(arrays["X"], columns=[f"x{i}" for i in range(arrays["X"].shape[1])])
    if "y" in arrays:
        if arrays["y"].shape != (len(frame),):
            raise TableError(f"{path}: y has shape {arrays['y'].shape}, X has {len(frame)} rows.")
        frame["y"] = arrays["y"]
    return frame


def listed(names):
    """The first names, quoted, for a message."""
    shown = ", ".join(map(repr, map(str, names[:8])))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def check_present(frame, names):
    """Every name is a column."""
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise TableError(f"no column {listed(absent)}. Columns: {listed(list(frame.columns))}.")


def check_complete(frame, names):
    """Every name is a column, without missing or infinite values."""
    check_present(frame, names)
    missing = frame[names].replace([np.inf, -np.inf], np.nan).isna().sum()
    if missing.any():
        counts = ", ".join(f"{name!r} ({count} rows)" for name, count in missing[missing > 0].items())
        raise TableError(
            f"missing or infinite values in {counts}: fill them in, or leave these rows out ('train': --drop-missing)."
        )


class ColumnEncoder:
    """Columns of a table as numbers: numeric ones standardised, the others one column of 0 and 1 per value.

    ``columns`` is a list of dicts: {"name", "mean", "deviation"} or {"name", "values"}. A value that was not there
    when fitted becomes all zeros.
    """

    def __init__(self, columns):
        self.columns = columns

    @classmethod
    def fit(cls, frame):
        """The encoder for the columns of ``frame``."""
        columns = []
        for name in frame.columns:
            values = frame[name]
            if pd.api.types.is_numeric_dtype(values):
                deviation = float(values.std(ddof=0))
                columns.append({"name": name, "mean": float(values.mean()), "deviation": deviation or 1.0})
            elif values.nunique() > MAX_CATEGORIES:
                raise TableError(
                    f"column {name!r} has {values.nunique()} different texts, too many for categories. "
                    f"--ignore {name!r} leaves it out."
                )
            else:
                columns.append({"name": name, "values": sorted(values.astype(str).unique())})
        if not columns:
            raise TableError("there is no column to learn from beside the target.")
        return cls(columns)

    @property
    def n_outputs(self):
        """Columns that ``transform`` gives."""
        return sum(len(column.get("values", "x")) for column in self.columns)

    def transform(self, frame, dtype):
        """Array of shape (rows, encoded columns)."""
        check_complete(frame, [column["name"] for column in self.columns])
        parts = []
        for column in self.columns:
            values = frame[column["name"]]
            if "values" in column:
                known = np.array(column["values"], dtype=object)
                parts.append(values.astype(str).to_numpy(object)[:, None] == known[None, :])
                continue
            try:
                numbers = pd.to_numeric(values).to_numpy(np.float64)
            except (ValueError, TypeError) as error:
                raise TableError(f"column {column['name']!r} was numeric in training: {error}") from error
            parts.append(((numbers - column["mean"]) / column["deviation"])[:, None])
        return np.ascontiguousarray(np.hstack(parts), dtype)
