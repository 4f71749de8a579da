"""Refuse Python interpreters in which NumPy or the compiled code does not work correctly."""

import sys
from importlib import import_module


def check_interpreter() -> None:
    """Raise ImportError in a subinterpreter, and where the global interpreter lock is disabled."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError(
            "fastmlp needs the global interpreter lock, which is disabled in this free-threaded Python: start it with "
            "PYTHON_GIL=1 or -X gil=1, or use an ordinary build of Python."
        )
    try:
        interpreters = import_module("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    except ImportError:  # a Python without them
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "fastmlp does not work in a subinterpreter, because NumPy does not: import it in the main interpreter of a "
            "process, and use threads or processes instead."
        )
