"""Dates in columns of strings."""

import re
import warnings

from fastmlp.tables.kinds import date_of

from .frames import pd

ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?", re.S)


def convert_dates(frame, columns):
    """Convert those columns of strings in which every value is a date in ISO format, such as 2026-01-31.

    Dates may have a time and a time zone, and are converted to UTC then. There is a warning for each such column.
    """
    frame = frame.copy(deep=False)
    for name in columns:
        dates = _dates_of(frame[name]) if pd.api.types.is_string_dtype(frame[name]) else {}
        if dates:
            warnings.warn(f"column {name!r} holds dates such as {next(iter(dates))!r}; --text {name!r} keeps strings.")
            frame[name] = frame[name].map(dates).astype("datetime64[us]")
    return frame


def _dates_of(values):
    """{text: date} of a column, empty if one of its texts is no date."""
    dates = {}
    for text in values.dropna().unique():
        date = date_of(text) if ISO.fullmatch(text) else None
        if date is None:
            return {}
        dates[text] = date
    return dates
