"""Encoding of the columns of a table as numbers."""

import math
import warnings

import numpy as np

from fastmlp.validation.checks import check_real
from fastmlp.validation.entries import check_entries

from .frames import TableError, listed, pd
from .tables import check_complete
from .targets import MAX_CATEGORIES


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

    @property
    def numbers(self):
        """Names of the numeric columns."""
        return [column["name"] for column in self.columns if "values" not in column]

    def check(self):
        """Raise ValueError for columns, as read from a file, that are not valid."""
        for column in self.columns:
            check_entries(column, {"name": str, "values": list[str]})
            if "values" not in column:
                check_real("mean", column["mean"], -math.inf)
                check_real("std", column["std"], 0, open_low=True)

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
