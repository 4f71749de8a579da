"""Imports of optional packages, and the error if one is missing."""

from contextlib import contextmanager


@contextmanager
def optional(needs, install):
    """Context manager for imports of optional packages, whose error says how to install them.

    Parameters
    ----------
    needs : str
        Which feature needs which packages, for the error: 'plots need matplotlib'.
    install : str
        The command that installs them.

    Raises
    ------
    ImportError
        If an import fails. The message includes the cause unless it is that one of these packages is missing.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
        cause = "" if missing and missing.lower() in needs.lower() else f" (the import failed with: {error})"
        raise ImportError(f"{needs}: {install}{cause}") from error


def from_extra(extra, needs):
    """``optional`` for packages that an extra of pyproject.toml installs."""
    return optional(needs, f"pip install 'fastmlp[{extra}]'")
