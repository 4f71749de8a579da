"""What all kinds of columns share: records of encoded and unused columns, and errors about changed kinds."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .cells import BOOLEANS, DATES, EMPTY, NUMBERS, TEXTS

NUMBER, FLAG, CODES = "number", "flag", "codes"  # kinds of encoded columns
SHOWN = 5  # texts in a message


class Encoded(NamedTuple):
    """One column of the matrix that a TableEncoder makes.

    Attributes
    ----------
    name : str
        For example 'price', 'price is missing', 'sold: month' or 'colour'.
    kind : str
        'number': scaled, within -3 and 3. 'flag': -1 (no) or 1 (yes), and 0 for a missing boolean. 'codes': integers
        from 0 to ``n_values`` - 1, or -1 for values that did not occur in fit.
    column : str
        Name of the column of the table.
    n_values : int or None
        Number of codes, for 'codes' only.
    """

    name: str
    kind: str
    column: str
    n_values: int | None = None


@dataclass(frozen=True)
class UnusedColumn:
    """A column that is not used, and why."""

    name: str
    reason: str

    kind = "not used"
    encoded = ()

    def describe(self):
        """The reason."""
        return f"{self.reason}, not used"


def missing_flag(name):
    """The encoded column that says where values of a column are missing."""
    return Encoded(f"{name} is missing", FLAG, name)


def flags(mask):
    """1 where the mask is True, otherwise -1."""
    return np.where(mask, 1.0, -1.0)


def numbers_of(cells, name, kind=NUMBERS):
    """Cells as float64 for a column that held numbers, or another kind, in fit. Texts are converted if all can be.

    Raises
    ------
    ValueError
        With the column's name and both kinds.
    """
    if cells.kind in (NUMBERS, BOOLEANS, EMPTY):
        return cells.values
    if cells.kind == TEXTS:
        numbers = [number_of(text) for text in cells.texts]
        bad = [code for code, number in enumerate(numbers) if number is None]
        if not bad:
            return np.array([*numbers, np.nan])[cells.values]
        rows = int(np.isin(cells.values, bad).sum())
        raise changed_kind(name, kind, f"the {shown([cells.texts[code] for code in bad])} ({rows} rows)")
    raise changed_kind(name, kind, cells.kind)


def dates_of(cells, name):
    """Cells as datetime64 for a column that held dates in fit; ValueError for other kinds."""
    if cells.kind == EMPTY:
        return np.full(len(cells.values), "NaT", "datetime64[us]")
    if cells.kind != DATES:
        raise changed_kind(name, DATES, f"the {shown(cells.texts)}" if cells.texts else cells.kind)
    return cells.values


def number_of(text):
    """The number that a text stands for, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def shown(texts):
    """The first few texts, quoted, for a message."""
    listed = ", ".join(map(repr, texts[:SHOWN]))
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"text{'s' if len(texts) > 1 else ''} {listed}{more}"


def changed_kind(name, before, now):
    """The error for a column whose kind is another one than in fit."""
    return ValueError(
        f"column {name!r} held {before} in fit, but has {now} here: convert it to {before}, or to missing values."
    )
