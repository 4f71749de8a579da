"""Columns of dates and times."""

from dataclasses import dataclass

import numpy as np

from .cells import DATES
from .kinds import NUMBER, Encoded, UnusedColumn, dates_of, flags, missing_flag, missing_text
from .numbers import Scaling, check_scaling

DAY = np.timedelta64(1, "D")


def _days(dates):
    return dates.astype("datetime64[D]").astype(np.int64)


# Numbers made of dates that are not missing. The day of week is 0 for Monday; 1970-01-01 was a Thursday.
PARTS = {
    "year": lambda dates: dates.astype("datetime64[Y]").astype(np.int64) + 1970,
    "month": lambda dates: dates.astype("datetime64[M]").astype(np.int64) % 12 + 1,
    "day of week": lambda dates: (_days(dates) + 3) % 7,
    "hour": lambda dates: (dates - dates.astype("datetime64[D]")) / DAY * 24,
    "days": lambda dates: (dates - np.datetime64(0, "D")) / DAY,
}


@dataclass(frozen=True)
class DateColumn:
    """A column of dates or times (in UTC, if they have a time zone): several numbers, each scaled like a NumberColumn.

    ``scalings`` has a Scaling for each of PARTS that differed in fit. 'hour' includes minutes and seconds; 'days' are
    those since ``earliest``, the first date in fit, as a string in ISO format.
    """

    name: str
    earliest: str
    scalings: dict[str, Scaling]
    n_missing: int

    kind = DATES

    def __post_init__(self):
        np.datetime64(self.earliest)
        scalings = {part: check_scaling(scaling) for part, scaling in self.scalings.items()}
        if not scalings.keys() <= PARTS.keys():
            raise ValueError(f"column {self.name!r} has unknown parts of dates: {', '.join(scalings)}")
        object.__setattr__(self, "scalings", scalings)

    @classmethod
    def fit(cls, name, cells):
        """The record of a column, or an UnusedColumn if it is constant."""
        missing = cells.missing
        dates, n_missing = cells.values[~missing], int(missing.sum())
        earliest = dates.min()
        scalings = {part: Scaling.fit(cls._part(part, dates, earliest)) for part in PARTS}
        scalings = {part: scaling for part, scaling in scalings.items() if scaling}
        if not (scalings or n_missing):
            return UnusedColumn(name, "constant")
        return cls(name, str(earliest), scalings, n_missing)

    @staticmethod
    def _part(part, dates, earliest):
        numbers = np.asarray(PARTS[part](dates), np.float64)
        return numbers - PARTS[part](earliest) if part == "days" else numbers

    @property
    def encoded(self):
        """The Encoded columns."""
        parts = tuple(Encoded(f"{self.name}: {part}", NUMBER, self.name) for part in self.scalings)
        return (*parts, *missing_flag(self.name, self.n_missing))

    def encode(self, cells):
        """The values of each encoded column."""
        dates, earliest = dates_of(cells, self.name), np.datetime64(self.earliest)
        missing = np.isnat(dates)
        dates = np.where(missing, earliest, dates)
        for part, scaling in self.scalings.items():
            yield np.where(missing, 0, scaling.apply(self._part(part, dates, earliest)))
        if self.n_missing:
            yield flags(missing)

    def describe(self):
        """How the column is encoded."""
        parts = ", ".join(self.scalings) or "all equal"
        return f"dates since {self.earliest[:10]}: {parts}{missing_text(self.n_missing)}"
