"""Handle Ctrl-C by a flag, which a fit checks between native calls, so that its state stays consistent."""

import signal
import threading
from contextlib import contextmanager
from contextvars import ContextVar

from fastmlp.kernels.cpu.thread_pool import fast_signal

_outer = ContextVar("fastmlp_interruption", default=None)


@contextmanager
def shared_with_fits(interruption):
    """Context manager: fits in this thread also stop if ``interruption``, of another thread, is requested."""
    token = _outer.set(interruption)
    try:
        yield
    finally:
        _outer.reset(token)


class Interruption:
    """Context manager: the first Ctrl-C sets ``requested``, a second one raises KeyboardInterrupt immediately.

    It works in the main thread only, and has no effect if the program has installed its own SIGINT handler.
    """

    def __init__(self):
        self._received, self._outer = False, _outer.get()

    @property
    def requested(self):
        return self._received or (self._outer is not None and self._outer.requested)

    def request(self):
        """Request interruption, as Ctrl-C does."""
        self._received = True

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._active = in_main_thread and fast_signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            fast_signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number, frame):
        if self._received:
            raise KeyboardInterrupt
        self._received = True

    def __exit__(self, *exception):
        if self._active:
            fast_signal.signal(signal.SIGINT, signal.default_int_handler)
