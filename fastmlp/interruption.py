"""Ctrl-C as a flag that a fit reads between native calls, so that it stops with all its state consistent."""

import signal
import threading


class Interruption:
    """Inside the ``with`` block the first Ctrl-C sets ``requested``; a second one raises KeyboardInterrupt at once.

    Only the main thread receives Ctrl-C, and a program that handles or ignores it by itself is left alone.
    """

    requested = False

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._active = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._active:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number, frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *exception):
        if self._active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
