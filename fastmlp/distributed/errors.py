"""Errors that all ranks raise, because they have been told of them."""

from typing import NamedTuple

from fastmlp.training.outcomes import DivergenceError

PLAIN_ERRORS = ValueError, TypeError, RuntimeError, MemoryError, OSError, KeyboardInterrupt


class RemoteInterrupt(KeyboardInterrupt):
    """Raised for a subclass of KeyboardInterrupt that another rank has met: an error, not Ctrl-C."""


class NotSendable(NamedTuple):
    """Instead of an object that cannot be pickled, for the ``reason`` given."""

    reason: str

    def error(self):
        """The TypeError of all ranks."""
        return TypeError(
            "what rank 0 was given, or what its callbacks have set, cannot be sent to the other ranks: "
            f"{self.reason}. Pass arrays, and functions that can be pickled."
        )


def is_on_all_ranks(error):
    """Whether all ranks raise an error, or the one that caused it."""
    marked = any(getattr(one, "is_on_all_ranks", False) for one in (error, error.__cause__))
    return marked or isinstance(error, DivergenceError)


def sendable(error, prefix):
    """An error that can be sent to other ranks, with a prefix of its message."""
    if type(error) is SystemExit:
        return SystemExit(error.code)
    if type(error) in PLAIN_ERRORS:
        return type(error)(f"{prefix}{error}")
    kind = RemoteInterrupt if isinstance(error, KeyboardInterrupt) else RuntimeError
    return kind(f"{prefix}{type(error).__name__}: {error}")
