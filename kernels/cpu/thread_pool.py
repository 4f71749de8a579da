"""A team of threads for native code that releases the GIL. Idle members sleep; none is left behind by a fork."""

import contextlib
import os
import signal
import threading
from contextvars import ContextVar
from functools import cache
from queue import SimpleQueue

import joblib

_limit = ContextVar("fastmlp_threads", default=None)
_lock = threading.Lock()
_idle = []
_taken = {}  # threads of the call that each thread of Python makes


class _Member(threading.Thread):
    """Runs what it is given, again and again."""

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
            except BaseException as raised:  # whoever waits must hear of it
                error = raised
                counter[0] = 2**62  # opens the barrier for the others
            del function, arguments, counter
            self.done.put(error)


def _forget():
    """In the child of a fork: no thread but the caller's is there, and the lock may be held by one that is not."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def limited_to(n_threads):
    """Calls inside the ``with`` block use at most so many threads: a number, or a function that knows it by then."""
    token = _limit.set(n_threads)
    try:
        yield
    finally:
        _limit.reset(token)


@cache
def cores():
    """Cores that this process may use."""
    return joblib.cpu_count()


class taken:
    """As many threads as a call wants, within its limit and as far as other calls leave cores, for a ``with`` block.

    It gives their number, at least one. 0 is for a call that is too short to be counted. What Ctrl-C has kept a thread
    from giving back counts until that thread's next call.
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
    """Ctrl-C is handled after the block: nobody may touch the arrays before all members are done with them."""
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    came = []
    handler = signal.signal(signal.SIGINT, lambda *signal_and_frame: came.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for signal_and_frame in came:
            handler(*signal_and_frame)


def run(n_threads, function, arguments_of, counter):
    """function(*arguments_of(thread)) for each thread from 0, which is the caller, to n_threads - 1, all at once.

    ``counter`` is the barrier's: an error of one thread opens it, and is raised here when all are done.
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
        except BaseException as raised:  # a barrier must not wait for who does not come
            error = raised
            counter[0] = 2**62
        for member in members:
            error = member.done.get() or error
        with _lock:
            _idle.extend(members)
    if error is not None:
        raise error
