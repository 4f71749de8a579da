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
    for name in ("_interpreters", "_xxsubinterpreters"):  # since Python 3.13, and before it
        if name in sys.builtin_module_names:
            module = import_module(name)
            if module.get_current() != module.get_main():
                raise ImportError(
                    "fastmlp does not work in a subinterpreter, because NumPy does not: import it in the main "
                    "interpreter of a process, and use threads or processes instead."
                )
            return
