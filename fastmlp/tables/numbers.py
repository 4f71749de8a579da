"""Columns of numbers and booleans.

Numbers are scaled robustly and clipped smoothly as in RealMLP (Holzmueller, Grinsztajn and Steinwart 2024). Those of
many values are encoded by their ranks too, which shows differences where the numbers lie densely.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from .cells import BOOLEANS, NUMBERS
from .kinds import (
    FLAG,
    NUMBER,
    RANK,
    Encoded,
    UnusedColumn,
    changed_kind,
    flags,
    missing_flag,
    missing_text,
    numbers_of,
    rows,
)

LIMIT = 1e18  # its square is a float32
FEW_VALUES = 10  # a column with no more is not encoded by its ranks too
N_QUANTILES = 200


class Scaling(NamedTuple):
    """Robust scaling of numbers: x becomes z / sqrt(1 + (z / 3)^2) with z = (x - median) / scale.

    The scale is the range between the quartiles, or half of the whole range where that is 0.
    """

    median: float
    scale: float

    @classmethod
    def fit(cls, numbers):
        """The scaling of the finite numbers, or None if they do not differ."""
        halves = numbers[np.isfinite(numbers)] / 2  # whose differences cannot overflow
        if not halves.size or halves.min() == halves.max():
            return None
        first, median, third = np.quantile(halves, (0.25, 0.5, 0.75))
        scale = third - first or (halves.max() - halves.min()) / 2
        largest = np.finfo(np.float64).max
        return cls(2 * float(median), 2 * float(min(scale, largest / 2)))

    def apply(self, numbers):
        """Scaled numbers, from -3 for minus infinity to 3; NaN becomes 0."""
        with np.errstate(over="ignore"):  # infinity is clipped
            z = (numbers - self.median) / self.scale
        np.clip(z, -LIMIT, LIMIT, out=z)
        z /= np.sqrt(1 + np.square(z / 3))
        z[np.isnan(z)] = 0
        return z

    def __str__(self):
        return f"median {self.median:.4g}, scale {self.scale:.4g}"


class NormalScores(NamedTuple):
    """Ranks of numbers as quantiles of the normal distribution, from -3 to 3, by linear interpolation.

    Attributes
    ----------
    numbers, scores : tuple of float
        Quantiles of the numbers in fit, without repetitions, and their scores. Both ascend.
    """

    numbers: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def fit(cls, numbers):
        """The scores of the finite numbers, which differ."""
        finite = numbers[np.isfinite(numbers)]
        levels = np.linspace(0, 1, N_QUANTILES + 1)
        knots, place = np.unique(np.quantile(finite, levels, method="inverted_cdf"), return_inverse=True)
        scores = np.clip(ndtri(levels), -3, 3)
        means = np.bincount(place, scores) / np.bincount(place)  # of the levels with the same number
        return cls(tuple(knots.tolist()), tuple(means.tolist()))

    def apply(self, numbers):
        """The score of each number; NaN becomes 0."""
        order, scores = np.argsort(numbers), np.empty(len(numbers))
        scores[order] = np.interp(numbers[order], self.numbers, self.scores)  # many times as fast for sorted numbers
        steep = ~np.isfinite(scores) & ~np.isnan(numbers)  # between numbers so close that the slope overflows
        if steep.any():
            knots, x = np.array(self.numbers), numbers[steep]
            low = np.searchsorted(knots, x, side="right") - 1
            share = (x - knots[low]) / (knots[low + 1] - knots[low])
            scores[steep] = np.take(self.scores, low) + share * np.diff(self.scores)[low]
        scores[np.isnan(scores)] = 0
        return scores


def check_scores(scores):
    """NormalScores from two sequences of numbers; ValueError unless they are valid."""
    found = NormalScores(*(tuple(map(float, values)) for values in scores))
    ascend = all(low < high for values in found for low, high in pairwise(values))
    if not (len(found.numbers) == len(found.scores) > 1 and ascend):
        raise ValueError("a column has scores that do not ascend")
    return found


def check_scaling(scaling):
    """A Scaling from its two numbers; ValueError unless they are valid."""
    found = Scaling(*map(float, scaling))
    if not (np.isfinite(found).all() and found.scale > 0):
        raise ValueError(f"a column has the {found}")
    return found


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers.

    ``scaling`` and ``scores`` are None if all are equal, but some were missing in fit. ``ranked`` says whether
    the scores are encoded.
    """

    name: str
    scaling: Scaling | None
    scores: NormalScores | None
    ranked: bool
    n_missing: int

    kind = NUMBERS

    def __post_init__(self):
        object.__setattr__(self, "scaling", None if self.scaling is None else check_scaling(self.scaling))
        object.__setattr__(self, "scores", None if self.scores is None else check_scores(self.scores))
        if (self.scaling is None) != (self.scores is None) or (self.ranked and self.scores is None):
            raise ValueError(f"column {self.name!r} needs both a scaling and scores, or neither")

    @classmethod
    def fit(cls, name, cells):
        """The record of a column, or an UnusedColumn if it is constant."""
        scaling, n_missing = Scaling.fit(cells.values), int(cells.missing.sum())
        if scaling is None and not n_missing:
            return UnusedColumn(name, "constant")
        ranked = np.unique(cells.values[np.isfinite(cells.values)]).size > FEW_VALUES
        return cls(name, scaling, NormalScores.fit(cells.values) if scaling else None, ranked, n_missing)

    @cached_property
    def encoded(self):
        """The Encoded columns."""
        found = []
        if self.scaling:
            quantiles = self.scaling.apply(np.array(self.scores.numbers))
            found.append(Encoded(self.name, NUMBER, self.name, quantiles=tuple(quantiles.tolist())))
        if self.ranked:
            found.append(Encoded(f"{self.name}: rank", RANK, self.name, quantiles=self.scores.scores))
        return (*found, *missing_flag(self.name, self.n_missing))

    def encode(self, cells):
        """The values of each encoded column."""
        numbers = numbers_of(cells, self.name)
        if self.scaling:
            yield self.scaling.apply(numbers)
        if self.ranked:
            yield self.scores.apply(numbers)
        if self.n_missing:
            yield flags(np.isnan(numbers))

    def describe(self):
        """What was made of the column."""
        scaling = str(self.scaling) if self.scaling else "all equal"
        return f"numbers: {scaling}{missing_text(self.n_missing)}"


@dataclass(frozen=True)
class FlagColumn:
    """A column of booleans: 1 for True, -1 for False, 0 for missing. ``varies``: whether both occurred in fit."""

    name: str
    varies: bool
    n_missing: int

    kind = BOOLEANS

    @classmethod
    def fit(cls, name, cells):
        """The record of a column, or an UnusedColumn if it is constant."""
        varies, n_missing = bool(np.nanmin(cells.values) < np.nanmax(cells.values)), int(cells.missing.sum())
        return cls(name, varies, n_missing) if varies or n_missing else UnusedColumn(name, "constant")

    @property
    def encoded(self):
        """The Encoded columns."""
        flag = (Encoded(self.name, FLAG, self.name),) if self.varies else ()
        return (*flag, *missing_flag(self.name, self.n_missing))

    def numbers_of(self, cells):
        """Cells as 1, 0 and NaN. Texts may be 'True' and 'False', numbers 0 and 1."""
        if cells.texts and {text.lower() for text in cells.texts} <= {"true", "false"}:
            numbers = np.array([*(text.lower() == "true" for text in cells.texts), np.nan])[cells.values]
        else:
            numbers = numbers_of(cells, self.name, BOOLEANS)
        others = numbers[~np.isnan(numbers) & (numbers != 0) & (numbers != 1)]
        if others.size:
            raise changed_kind(self.name, BOOLEANS, f"the number {others[0]:g} ({rows(others.size)})")
        return numbers

    def encode(self, cells):
        """The values of each encoded column."""
        numbers = self.numbers_of(cells)
        missing = np.isnan(numbers)
        if self.varies:
            yield np.where(missing, 0, 2 * numbers - 1)
        if self.n_missing:
            yield flags(missing)

    def describe(self):
        """What was made of the column."""
        return f"booleans{'' if self.varies else ': all equal'}{missing_text(self.n_missing)}"
