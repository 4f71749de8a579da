"""Packages that fastmlp needs for some things alone, and the error where one is missing."""

from contextlib import contextmanager


@contextmanager
def from_extra(extra, needs):
    """Around imports of optional packages: where one is missing, name the extra that installs it.

    Parameters
    ----------
    extra : str
        As in pyproject.toml.
    needs : str
        What needs which package: 'plots need matplotlib'.

    Raises
    ------
    ImportError
        In place of that of a missing package.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{needs}: pip install 'fastmlp[{extra}]'") from error
