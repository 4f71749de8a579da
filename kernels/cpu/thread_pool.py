"""Thread pool for native code that releases the GIL. Idle threads sleep; a forked child starts with an empty pool."""

import contextlib
import os
import signal
import threading
from contextvars import ContextVar
from functools import cache
from queue import SimpleQueue

import joblib

# The functions behind those of signal, which convert to and from enums: 20 microseconds of a short call.
fast_signal = getattr(signal, "_signal", signal)

_limit = ContextVar("fastmlp_threads", default=None)
_lock = threading.RLock()  # a signal handler may predict too
_idle = []
_taken = {}  # threads used by the call of each Python thread


class _Member(threading.Thread):
    """Thread of the pool: runs tasks from its queue."""

    def __init__(self):
        super().__init__(name="fastmlp", daemon=True)
        self.tasks, self.done = SimpleQueue(), SimpleQueue()
        self.start()

    def run(self):
        while True:
            function, arguments, counter = self.tasks.get()
            error = None
            try:
                function(*arguments)
            except BaseException as raised:  # raised again by run
                error = raised
                counter[0] = 2**62  # opens the barrier for the others
            del function, arguments, counter
            self.done.put(error)


def _forget():
    """Empty the pool in the child of a fork: its threads do not exist there, and one may have held the lock."""
    global _lock
    _lock = threading.RLock()
    _idle.clear()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class limited_to:
    """Limit the threads of calls inside the ``with`` block to a number, or to what a function returns at the call."""

    def __init__(self, n_threads):
        self._n_threads = n_threads

    def __enter__(self):
        self._token = _limit.set(self._n_threads)

    def __exit__(self, *exception):
        _limit.reset(self._token)


@cache
def cores():
    """Number of cores available to this process."""
    return joblib.cpu_count()


class taken:
    """Reserve threads for a ``with`` block: up to ``wanted``, within the limit and the cores that other calls leave.

    The block receives their number, at least one. Calls with ``wanted`` 0 are too short to be counted. Threads that a
    call could not release because of Ctrl-C stay reserved until the next call of the same Python thread.
    """

    def __init__(self, wanted):
        self._wanted = wanted

    def __enter__(self):
        if not self._wanted:
            return 1
        limit, me = _limit.get() or 1, threading.get_ident()
        limit = limit() if callable(limit) else limit
        with _lock:
            _taken.pop(me, None)
            _taken[me] = n_threads = max(1, min(self._wanted, limit, cores() - sum(_taken.values())))
        return n_threads

    def __exit__(self, *exception):
        if self._wanted:
            with _lock:
                _taken.pop(threading.get_ident(), None)


@contextlib.contextmanager
def signals_wait():
    """Defer Ctrl-C until after the block, because the threads still use the arrays."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not callable(fast_signal.getsignal(signal.SIGINT)):
        yield
        return
    came = []
    handler = fast_signal.signal(signal.SIGINT, lambda *signal_and_frame: came.append(signal_and_frame))
    try:
        yield
    finally:
        fast_signal.signal(signal.SIGINT, handler)
        for signal_and_frame in came:
            handler(*signal_and_frame)


def run(n_threads, function, arguments_of, counter):
    """Call function(*arguments_of(thread)) in parallel for threads 0, which is the caller, to n_threads - 1.

    ``counter`` is that of the barrier: an error in one thread opens it and is raised here after all have finished.
    """
    if n_threads == 1:
        function(*arguments_of(0))
        return
    members, error = [], None
    with signals_wait():
        try:
            for thread in range(1, n_threads):
                arguments = arguments_of(thread)
                with _lock:
                    member = _idle.pop() if _idle else None
                members.append(member or _Member())
                members[-1].tasks.put((function, arguments, counter))
            function(*arguments_of(0))
        except BaseException as raised:  # the others must not wait at the barrier
            error = raised
            counter[0] = 2**62
        for member in members:
            error = member.done.get() or error
        with _lock:
            _idle.extend(members)
    if error is not None:
        raise error
