"""Numbers in columns of strings: 1,234.56 and 12,5, $5 and 12.3 %, and words for a missing number."""

import re
import warnings
from typing import NamedTuple

import numpy as np

from .frames import TableError, counted, listed, pd

# In lower case. In a column of numbers these are missing values; elsewhere they are categories.
MISSING_WORDS = frozenset([
    "?", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "*", "#n/a", "#na", "#div/0!", "#value!", "#ref!",
    "#null!", "na", "n/a", "n.a.", "n. a.", "<na>", "nan", "-nan", "nat", "nd", "n/d", "n.d.", "n. d.", "nil", "null",
    "none", "unknown", "missing", "undefined", "not available", "not applicable", "no data", "k.a.", "k. a.",
])  # fmt: skip
CURRENCIES = "$€£¥₹"
SPACES = "'\u2019 \u00a0\u202f"  # between groups of three digits, where point or comma may be too
FEW = 0.1  # a column in which a smaller share of the rows has other texts was probably meant to hold numbers


def _pattern(mark, group):
    """Numbers with a decimal mark, whose digits may be in groups of three."""
    groups = rf"[1-9][0-9]{{0,2}}([{group}{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*"
    return re.compile(
        rf"[-+]?(?:(?=[{mark}]?[0-9])(?:{groups}|[0-9]*)(?:[{mark}][0-9]*)?(?:e[-+]?[0-9]+)?|inf|infinity)", re.I
    )


PATTERNS = {".": _pattern(".", ","), ",": _pattern(",", ".")}
AS_IN_PYTHON = {
    mark: str.maketrans({"," if mark == "." else ".": None, mark: "."} | dict.fromkeys(SPACES)) for mark in PATTERNS
}
AROUND = re.compile(rf"([-+]?) *([{CURRENCIES}]?) *(.*?)\s*([%{CURRENCIES}]?)")


class Number(NamedTuple):
    """A number in a text: its unit ('', '%' or a currency), and its value by the decimal mark that it may have."""

    unit: str
    values: dict[str, float]


def parse(text):
    """The Number in a text, or None."""
    text = text.strip().replace("\u2212", "-")  # the minus sign
    if text.startswith("(") and text.endswith(")"):  # a negative amount
        text = f"-{text[1:-1]}"
    parts = AROUND.fullmatch(text)
    if parts is None or (parts[2] and parts[4]):
        return None
    digits = parts[1] + parts[3]
    values = {
        mark: float(digits.translate(AS_IN_PYTHON[mark])) for mark, pattern in PATTERNS.items()
        if pattern.fullmatch(digits)
    }  # fmt: skip
    return Number(parts[2] + parts[4], values) if values else None


class Texts(NamedTuple):
    """The distinct strings of a column: {text: Number}, and {text: rows} of words for missing and of others.

    Numbers and others are not complete where there are too many others for a column of numbers.
    """

    numbers: dict[str, Number]
    words: dict[str, int]
    others: dict[str, int]

    @classmethod
    def of(cls, values):
        rows = values.value_counts()
        is_word = rows.index.str.strip().str.lower().isin(MISSING_WORDS)
        numbers, others, n_others = {}, {}, 0
        for text, count in rows[~is_word].items():
            if (number := parse(text)) is not None:
                numbers[text] = number
                continue
            others[text] = count
            n_others += count
            if n_others > FEW * len(values):
                break
        return cls(numbers, rows[is_word].to_dict(), others)

    @property
    def marks(self):
        """The decimal marks that all numbers may have; '.' if they have none."""
        marks = [mark for mark in PATTERNS if all(mark in number.values for number in self.numbers.values())]
        same = len(marks) == 2 and all(number.values["."] == number.values[","] for number in self.numbers.values())
        return ["."] if same else marks

    @property
    def shows_mark(self):
        """Whether some number can have only one decimal mark, and all others can have the same."""
        return len(self.marks) == 1 and any(len(number.values) == 1 for number in self.numbers.values())


def convert_numbers(frame, columns, decimal, convention, known=False):
    """Convert columns of strings that hold numbers; words such as '?' become missing values, with a warning.

    Parameters
    ----------
    frame : DataFrame
    columns : Index
        Names of the columns to examine.
    decimal : {'.', ','}
        Decimal mark of the numeric columns, as they were read.
    convention : {'.', ','} or None
        Decimal mark if the file does not show it, because all its numbers are like 1,234. None is an error then.
    known : bool, default=False
        Whether these columns are known to hold numbers. Otherwise there are warnings of columns that nearly do, and of
        the format of numbers.

    Returns
    -------
    frame : DataFrame
    decimal : {'.', ','} or None
        Decimal mark of the file, as it shows or by convention.

    Raises
    ------
    TableError
        If a known column has other strings, or if the numbers of a column have different units or decimal marks, or
        a mark that remains unknown.
    """
    found = {name: Texts.of(frame[name]) for name in columns if pd.api.types.is_string_dtype(frame[name])}
    numeric = {name: texts for name, texts in found.items() if not texts.others and (texts.numbers or known)}
    for name, texts in found.items():
        if texts.others and known:
            raise TableError(f"column {name!r} was numeric in training, but has {counted(texts.others)} here.")
        if name not in numeric:
            _warn_of_words(name, texts, len(frame))
    shown = {texts.marks[0] for texts in numeric.values() if texts.shows_mark}
    if _has_fractions(frame):
        shown.add(decimal)
    of_file = convention if not shown else min(shown) if len(shown) == 1 else None
    frame = frame.copy(deep=False)
    for name, texts in numeric.items():
        mark = _decimal_mark(name, texts, of_file)
        _check_units(name, texts.numbers)
        if texts.words:
            warnings.warn(f"column {name!r} holds numbers but for {counted(texts.words)}: counted as missing.")
        numbers = {text: number.values[mark] for text, number in texts.numbers.items()}
        if not known:
            _warn_of_format(name, numbers)
        values = frame[name].map(numbers).astype(np.float64)
        whole = np.isfinite(values).all() and (values % 1 == 0).all() and (abs(values) < 2**53).all()
        frame[name] = values.astype(np.int64) if whole else values
    return frame, of_file


def _has_fractions(frame):
    columns = (column.to_numpy(np.float64, na_value=np.nan) for _, column in frame.select_dtypes("float").items())
    return any((column[np.isfinite(column)] % 1 != 0).any() for column in columns)


def _decimal_mark(name, texts, of_file):
    """The decimal mark of a column: the only possible one, or the one of the file."""
    marks = texts.marks
    if len(marks) == 1:
        return marks[0]
    if not marks:
        examples = [next(text for text, number in texts.numbers.items() if mark not in number.values) for mark in ".,"]
        raise TableError(
            f"column {name!r} has numbers with different decimal marks, {listed(examples)}: use one, or read them as "
            f"strings with --text {name!r}."
        )
    if of_file is None:
        text, number = next(item for item in texts.numbers.items() if len(set(item[1].values.values())) == 2)
        raise TableError(
            f"column {name!r} has {text!r}, which may be {number.values['.']:.15g} or {number.values[',']:.15g}: write "
            f"one of these, or read the column as strings with --text {name!r}."
        )
    return of_file


def _check_units(name, numbers):
    """TableError for different currencies, and for percentages beside other numbers."""
    examples = {number.unit: text for text, number in numbers.items()}
    if len(examples) > 1 and ("%" in examples or len(examples.keys() - {""}) > 1):
        raise TableError(
            f"column {name!r} has numbers with different units, {listed(list(examples.values()))}: use one, or read "
            f"them as strings with --text {name!r}."
        )


def _warn_of_words(name, texts, n_rows):
    """Warn of a column of strings that is nearly numeric, or has words that often stand for missing values."""
    if texts.numbers and sum(texts.others.values()) < FEW * n_rows:
        warnings.warn(
            f"column {name!r} holds numbers but for {counted(texts.others)}, so all are read as strings. With "
            f"--missing {next(iter(texts.others))!r} such a string is a missing value."
        )
    elif texts.words:
        warnings.warn(
            f"column {name!r} has the strings {counted(texts.words)}, kept as they are. With --missing "
            f"{next(iter(texts.words))!r} such a string is a missing value."
        )


def _warn_of_format(name, numbers):
    """Warn of a column whose numbers are not written as in Python, with an example."""
    for text, value in numbers.items():
        try:
            plain = float(text) == value
        except ValueError:
            plain = False
        if not plain:
            warnings.warn(f"column {name!r} holds numbers written like {text!r}, which is read as {value:.15g}.")
            return
