"""Shared parts of all kinds of columns: records of encoded and unused columns, errors about changed kinds."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from .cells import BOOLEANS, DATES, EMPTY, NUMBERS, TEXTS, TIME_UNIT, in_utc

NUMBER, RANK, FLAG, CODES = "number", "rank", "flag", "codes"  # kinds of encoded columns
SHOWN = 5  # strings or rows in a message


class Encoded(NamedTuple):
    """One column of the matrix that a TableEncoder makes.

    Attributes
    ----------
    name : str
        For example 'price', 'price is missing', 'sold: month' or 'colour'.
    kind : str
        'number': scaled, within -3 and 3. 'rank': normal scores of ranks, within -3 and 3. 'flag': -1 (no) or 1 (yes),
        and 0 for a missing boolean. 'codes': integers from 0 to ``n_values`` - 1, or -1 for values that did not occur
        in fit.
    column : str
        Name of the column of the table.
    n_values : int or None
        Number of codes.
    quantiles : tuple of float
        Of numbers and ranks: the encoded values of the column's 0.5 % quantiles, without repetitions. They ascend.
    """

    name: str
    kind: str
    column: str
    n_values: int | None = None
    quantiles: tuple[float, ...] = ()


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


def missing_flag(name, n_missing):
    """The encoded column that says where values are missing, in a tuple that is empty if fit had no missing values."""
    return (Encoded(f"{name} is missing", FLAG, name),) if n_missing else ()


def missing_text(n_missing):
    """The end of a column's description."""
    return f", {n_missing} missing" if n_missing else ""


def flags(mask):
    """1 where the mask is True, otherwise -1."""
    return np.where(mask, 1.0, -1.0)


def numbers_of(cells, name, kind=NUMBERS):
    """Cells as float64 for a column that held numbers, or another kind, in fit. Strings are converted if all can be.

    Raises
    ------
    ValueError
        With the column's name and both kinds.
    """
    if cells.kind in (NUMBERS, BOOLEANS, EMPTY):
        return cells.values
    return _converted(cells, name, kind, number_of, np.nan, np.float64)


def dates_of(cells, name):
    """Cells as datetime64 for a column that held dates in fit. Strings are converted if all are in ISO format.

    Raises
    ------
    ValueError
        With the column's name and both kinds.
    """
    if cells.kind == DATES:
        return cells.values
    if cells.kind == EMPTY:
        return np.full(len(cells.values), "NaT", TIME_UNIT)
    return _converted(cells, name, DATES, date_of, "NaT", TIME_UNIT)


def _converted(cells, name, kind, convert, missing, dtype):
    """Convert strings to numbers or dates; ``convert`` returns None for a string that is neither."""
    if cells.kind != TEXTS:
        raise changed_kind(name, kind, cells.kind)
    found = [convert(text) for text in cells.texts]
    bad = [code for code, value in enumerate(found) if value is None]
    if bad:
        texts = shown([cells.texts[code] for code in bad])
        raise changed_kind(name, kind, f"{texts} ({rows(np.isin(cells.values, bad).sum())})")
    return np.array([*found, missing], dtype)[cells.values]


def number_of(text):
    """The number in a string, or None."""
    try:
        return None if "_" in text else float(text)  # Python reads 1_0 as 10
    except ValueError:
        return None


def date_of(text):
    """The date or time, in UTC, in a string in ISO format, or None."""
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def shown(texts):
    """The first few strings, quoted, for a message."""
    return f"the string{'s' if len(texts) > 1 else ''} {listing(map(repr, texts))}"


def listing(texts):
    """The first few strings and the number of the others, for a message."""
    texts = list(texts)
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def rows(number):
    """A number of rows, for a message."""
    return f"{number} row{'s' if number != 1 else ''}"


def changed_kind(name, kind, now, example=""):
    """The error for a column whose kind is another one than in fit."""
    return ValueError(
        f"column {name!r} held {kind}{example} in fit, but has {now} here: convert it to {kind}, or to missing values."
    )
