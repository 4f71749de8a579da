"""pandas, and the parts of error messages about its frames."""

from fastmlp.extras import from_extra

with from_extra("cli", "reading tables requires pandas"):
    import pandas as pd

__all__ = ["TableError", "counted", "listed", "pd"]


class TableError(ValueError):
    """Raised for tables with missing or unsuitable columns; the message names them."""


def listed(names):
    """The first few names, quoted, for a message."""
    return _first_few([repr(str(name)) for name in names])


def counted(rows):
    """The first few of {name: number of rows}, for a message."""
    return _first_few([f"{str(name)!r} ({count} rows)" for name, count in rows.items()])


def _first_few(items):
    shown = ", ".join(items[:8])
    return shown if len(items) <= 8 else f"{shown} and {len(items) - 8} more"
