"""Imports of optional packages, and the error if one is missing."""

from contextlib import contextmanager


@contextmanager
def from_extra(extra, needs):
    """Context manager for imports of optional packages, whose error names the extra that installs them.

    Parameters
    ----------
    extra : str
        As in pyproject.toml.
    needs : str
        Which feature needs which package, for the error: 'plots need matplotlib'.

    Raises
    ------
    ImportError
        If an import fails.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{needs}: pip install 'fastmlp[{extra}]'") from error
