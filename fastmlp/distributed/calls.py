"""Calls: what may use a communicator in this process at the same time.

Ranks match their messages by their order, so fits with the same communicator must follow each other in the same order
on all ranks.
"""

import threading
from contextlib import contextmanager

IN_CALLBACK = (
    "a fit of several ranks is running and has called this function on rank 0 alone, so the other ranks would not take "
    "part in another fit: give the model in the callback or metric communicator=None."
)
IN_THREAD = (
    "another thread of this process runs a fit with the same communicator: fit the models one after the other, or give "
    "each thread its own communicator (comm.Dup())."
)


class Calls:
    """The fits of this process that run with a communicator: one inside another, as those of a table's members."""

    def __init__(self):
        self._depth, self._thread, self._lock = 0, None, threading.Lock()

    @contextmanager
    def of_one_thread(self):
        """Context manager of a fit. Raises RuntimeError if one is running in another thread."""
        own = threading.get_ident()
        with self._lock:
            if self._depth and self._thread != own:
                raise RuntimeError(IN_THREAD)
            self._depth, self._thread = self._depth + 1, own
        try:
            yield
        finally:
            self._depth -= 1


_of_communicators: dict[int, Calls] = {}
_leader = threading.local()


def calls_of(communicator):
    """The Calls with a communicator of mpi4py."""
    return _of_communicators.setdefault(communicator.py2f(), Calls())


@contextmanager
def of_leader_alone():
    """Context manager of what rank 0 alone calls during a fit of several ranks."""
    before, _leader.is_alone = getattr(_leader, "is_alone", False), True
    try:
        yield
    finally:
        _leader.is_alone = before


def refuse_of_leader_alone():
    """Raise RuntimeError if this thread runs such a function."""
    if getattr(_leader, "is_alone", False):
        raise RuntimeError(IN_CALLBACK)
