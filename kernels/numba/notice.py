"""A line on stderr where compilation takes longer than two seconds; without it a first fit seems to hang."""

import sys
from threading import Timer
from time import monotonic

from numba.core.event import Listener

PATIENCE = 2.0  # seconds of compilation before the line
PAUSE = 1.0  # seconds: a fit compiles several functions, and those less far apart count as one compilation
COMPILING = "fastmlp: Numba is compiling the training loops for this processor; "
CACHED = COMPILING + "later runs load them from the cache."
NOT_CACHED = COMPILING + "later runs have to compile again, unless NUMBA_CACHE_DIR names a folder that can be written."


class Notice(Listener):
    """Print ``text`` once during a long compilation of functions of this package.

    Numba sends its events while it holds the lock of its compiler, so two threads are never in here at once.
    """

    def __init__(self, text):
        self._text, self._depth, self._begin, self._end, self._printed = text, 0, 0.0, -PAUSE, False

    def notify(self, event):
        module = event.data["dispatcher"].py_func.__module__ or ""  # a user's function may have none
        if module.startswith("fastmlp."):
            super().notify(event)

    def on_start(self, event):
        self._depth += 1
        if self._depth == 1:
            now = monotonic()
            if now - self._end > PAUSE:
                self._begin, self._printed = now, False
            self._timer = Timer(self._begin + PATIENCE - now, self._print)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event):
        self._depth -= 1
        if self._depth == 0:
            self._timer.cancel()
            self._end = monotonic()

    def _print(self):
        if not self._printed:
            self._printed = True
            print(self._text, file=sys.stderr, flush=True)
