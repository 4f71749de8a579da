"""CSV files: their encoding, separator and decimal mark; pandas reads them."""

import csv
import lzma
import re
import warnings
import zlib
from collections import Counter
from io import BytesIO
from zipfile import BadZipFile

from .frames import TableError, listed, pd
from .number_texts import parse

# Of numbers like 1,234 or 1.234, where the rest of the file does not show it.
CONVENTION = {",": ".", ";": ",", "\t": None}
N_LINES = 20  # read to find the separator and the decimal mark
LONGEST_LINE = 2**22  # characters
QUOTED = re.compile(r'(?:^|(?<=[,;\t])) *"(?:[^"]|"")*"', re.M)  # fields
DAMAGED = ValueError, csv.Error, pd.errors.ParserWarning, OSError, EOFError, BadZipFile, lzma.LZMAError, zlib.error


def read_csv(path, encoding=None, missing=(), texts=()):
    """Read a CSV file, perhaps compressed, with the separator that its header and first row have equally often.

    Empty fields and those of ``missing`` are missing values, no others. Columns of ``texts`` are read as strings.
    Spaces around names and fields are dropped.

    Returns
    -------
    frame : DataFrame
    decimal : {'.', ','}
        Decimal mark of its numeric columns.
    convention : {'.', ','} or None
        Decimal mark to assume for strings that do not show it.
    """
    file = path if path.is_file() else BytesIO(path.read_bytes())  # a pipe can be read only once
    try:
        separator, decimal = _format(file, encoding)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than in the header
            frame = pd.read_csv(
                file, sep=separator, decimal=decimal, encoding=encoding, dtype=dict.fromkeys(texts, str),
                keep_default_na=False, na_values=["", *missing], skipinitialspace=True, low_memory=False,
                index_col=False,
            )  # fmt: skip
    except TableError:
        raise
    except UnicodeError as error:
        raise TableError(
            f"{path} is not text in {encoding or 'UTF-8'} ({error}): save as UTF-8, or give --encoding, for example "
            "cp1252 or utf-16."
        ) from error
    except LookupError as error:
        raise TableError(f"{error}: --encoding must be a name such as utf-8, utf-16, cp1252 or latin-1.") from error
    except DAMAGED as error:
        raise TableError(f"{path} cannot be read as CSV: {error}") from error
    return _without_spaces(frame, missing), decimal, CONVENTION[separator]


def _without_spaces(frame, missing):
    """Drop spaces at the end of names and strings; pandas drops those at the beginning."""
    frame = frame.rename(columns=str.rstrip)
    for name in frame.columns[[pd.api.types.is_string_dtype(column) for _, column in frame.items()]]:
        if frame[name].str.endswith(" ").any():
            values = frame[name].str.rstrip(" ")
            frame[name] = values.mask(values.isin(missing))
    return frame


def _first_lines(file, encoding):
    """The first lines that are not blank, without their ends. Little is read of what is no CSV file."""
    lines = []
    with pd.io.common.get_handle(file, "r", encoding=encoding or "utf-8", compression="infer") as opened:
        while len(lines) < N_LINES and (line := opened.handle.readline(LONGEST_LINE)):
            if "\0" in line:
                raise UnicodeError("it has null characters")
            if len(line) == LONGEST_LINE:
                raise ValueError(f"a line has {LONGEST_LINE:,} characters or more")
            if line.strip():
                lines.append(line.removeprefix("\ufeff").rstrip("\r\n"))
    if isinstance(file, BytesIO):
        file.seek(0)
    return lines


def _format(file, encoding):
    """(separator, decimal mark) by the first lines."""
    lines = _first_lines(file, encoding)
    if not lines:
        raise ValueError("it is empty")
    header, first = [*QUOTED.sub("", "\n".join(lines)).split("\n", 2), ""][:2]
    counts = {mark: header.count(mark) for mark in ",;\t"}
    separator = max(counts, key=lambda mark: (0 < counts[mark] == first.count(mark), counts[mark], mark in ";\t"))
    if not counts[separator]:
        separator = ","
    names = [name.rstrip() for name in next(csv.reader(lines, delimiter=separator, skipinitialspace=True))]
    names = Counter(filter(None, names))
    if len(names) < names.total():
        raise TableError(f"the header names {listed([name for name, n in names.items() if n > 1])} more than once.")
    fields = [parse(field.strip('"')) for line in lines[1:] for field in line.split(separator)]
    has_commas = separator != "," and any(number and list(number.values) == [","] for number in fields)
    return separator, "," if has_commas else "."
