"""Ctrl-C as a flag that a fit reads between native calls, so that it stops with all its state consistent."""

import signal
import threading
from contextlib import contextmanager
from contextvars import ContextVar

_outer = ContextVar("fastmlp_interruption", default=None)


@contextmanager
def passed_on(interruption):
    """Fits inside the ``with`` block, which are in another thread than ``interruption``, hear what that hears."""
    token = _outer.set(interruption)
    try:
        yield
    finally:
        _outer.reset(token)


class Interruption:
    """Inside the ``with`` block the first Ctrl-C sets ``requested``; a second one raises KeyboardInterrupt at once.

    Only the main thread receives Ctrl-C, and a program that handles or ignores it by itself is left alone.
    """

    def __init__(self):
        self._came, self._outer = False, _outer.get()

    @property
    def requested(self):
        return self._came or (self._outer is not None and self._outer.requested)

    def request(self):
        """As Ctrl-C does."""
        self._came = True

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._active = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number, frame):
        if self._came:
            raise KeyboardInterrupt
        self._came = True

    def __exit__(self, *exception):
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
