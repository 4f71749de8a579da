"""Columns of strings and categories."""

import warnings
from dataclasses import dataclass

import numpy as np

from .cells import BOOLEANS, EMPTY, EXACT, NUMBERS, TEXTS, text_of
from .kinds import CODES, Encoded, UnusedColumn, changed_kind, listing, number_of, rows, shown

# With more rows, of which a larger share has distinct strings, these are not categories.
FREE_TEXT_ROWS, FREE_TEXT_SHARE = 50, 0.5
ROWS_TO_WARN = 20  # of a column with unknown values only
# Of at least so many distinct strings, a larger share are numbers, but not all: the others probably stand for missing.
NUMBER_TEXTS, NUMBER_SHARE = 10, 0.75


@dataclass(frozen=True)
class CategoryColumn:
    """A column of strings or categories.

    The codes are the positions in ``values``, which are sorted; with ``missing_is_value`` the last code stands for
    missing values. All other values have the code -1.
    """

    name: str
    values: tuple[str, ...]
    missing_is_value: bool
    n_missing: int
    n_rare: int = 0  # rows with a value that is too rare for a code of its own

    kind = TEXTS

    def __post_init__(self):
        if not all(isinstance(value, str) for value in self.values):
            raise ValueError(f"column {self.name!r} has categories that are not strings")

    @classmethod
    def fit(cls, name, cells, min_frequency=1):
        """The record of a column, or an UnusedColumn if it is constant or holds free text, with a warning."""
        texts, inverse = np.unique(np.array(cells.texts, object), return_inverse=True)
        present = cells.values[~cells.missing]
        counts = np.bincount(inverse[present], minlength=len(texts))
        if len(present) > FREE_TEXT_ROWS and len(texts) > FREE_TEXT_SHARE * len(present):
            return cls._free_text(name, texts, len(present))
        _warn_of_numbers(name, texts, counts)
        n_missing = len(cells.values) - len(present)
        kept, missing_is_value = counts >= min_frequency, n_missing >= min_frequency
        n_rare = int(counts[~kept].sum()) + (0 if missing_is_value else n_missing)
        n_values = int(kept.sum()) + missing_is_value
        if n_values == 0 or (n_values == 1 and not n_rare):
            return UnusedColumn(name, "constant" if n_values else "only rare values")
        return cls(name, tuple(texts[kept]), missing_is_value, n_missing, n_rare)

    @staticmethod
    def _free_text(name, texts, n_present):
        warnings.warn(
            f"column {name!r} is not used: it has {len(texts)} different strings in {n_present} rows, such as "
            f"{texts[0]!r}, which are names or free text rather than categories. If they are numbers or dates, convert "
            "the column first; otherwise drop it to avoid this warning."
        )
        return UnusedColumn(name, f"{len(texts)} different strings in {n_present} rows")

    @property
    def encoded(self):
        """The Encoded column."""
        return (Encoded(self.name, CODES, self.name, len(self.values) + self.missing_is_value),)

    def encode(self, cells):
        """The code of each value."""
        texts, positions = self._texts_of(cells)
        known = {value: code for code, value in enumerate(self.values)}
        missing = len(self.values) if self.missing_is_value else -1
        codes = [known.get(text, -1) for text in texts]
        if self.values and codes and max(codes) < 0:
            self._warn_of_unknown(texts, int((positions < len(texts)).sum() - (positions < 0).sum()))
        yield np.array([*codes, missing])[positions]

    def _warn_of_unknown(self, texts, n_rows):
        """Warn of many rows without any known value, which may be written in another way than in fit."""
        if n_rows >= ROWS_TO_WARN:
            warnings.warn(
                f"column {self.name!r} has only values that did not occur in fit, or were too rare, such as "
                f"{texts[0]!r} ({rows(n_rows)}). Known: {listing(map(repr, self.values))}."
            )

    def _texts_of(self, cells):
        """(strings, the position of each row's string), also for numbers and booleans if fit had such strings."""
        if cells.kind == TEXTS:
            return cells.texts, cells.values
        if cells.kind == EMPTY:
            return (), np.full(len(cells.values), -1)
        looks_alike = {
            NUMBERS: lambda text: number_of(text) is not None,
            BOOLEANS: lambda text: text in ("True", "False"),
        }.get(cells.kind, lambda text: False)
        if not any(map(looks_alike, self.values)):
            raise changed_kind(self.name, TEXTS, cells.kind, f" such as {self.values[0]!r}")
        present = ~cells.missing
        if cells.integers is None and (np.abs(cells.values[present]) >= EXACT).any():
            self._refuse_rounded()
        exact = cells.values if cells.integers is None else cells.integers
        numbers, places = np.unique(exact[present], return_inverse=True)
        positions = np.full(len(present), len(numbers))
        positions[present] = places
        convert = (lambda number: text_of(bool(number))) if cells.kind == BOOLEANS else text_of
        return [convert(number) for number in numbers], positions

    def _refuse_rounded(self):
        """Raise ValueError if a category is an integer that float64 rounds: floats then stand for several of them."""
        for text in self.values:
            if text.lstrip("-").isdecimal() and int(float(text)) != int(text):
                raise ValueError(
                    f"column {self.name!r} has floating-point numbers of 2^53 or more, which are too coarse for "
                    f"categories such as {text!r}: convert it to integers or strings."
                )

    def describe(self):
        """How the column is encoded."""
        parts = [f"{len(self.values)} categories"]
        parts += [f"{self.n_missing} missing"] if self.n_missing else []
        parts += [f"{self.n_rare} rows with rare values"] if self.n_rare else []
        return ", ".join(parts)


def _warn_of_numbers(name, texts, counts):
    """Warn of a column of numbers as strings, with a few others such as '?'."""
    others = np.array([number_of(text) is None for text in texts])
    if len(texts) >= NUMBER_TEXTS and 0 < others.sum() < (1 - NUMBER_SHARE) * len(texts):
        exceptions = f"{shown(texts[others].tolist())} ({rows(counts[others].sum())})"
        warnings.warn(
            f"column {name!r} holds numbers, except for {exceptions}, and is used as categories. If these stand for "
            "missing values, convert the column to numbers first."
        )
