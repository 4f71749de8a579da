"""Thread limits: of the thread pool of the compiled backends (kernels/cpu/thread_pool.py), and of BLAS."""

import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController

from fastmlp.kernels.cpu import thread_pool

_limit_of_each_fit = ContextVar("fastmlp_limit_of_each_fit", default=None)


@cache
def _controller():
    return ThreadpoolController()


def allowed_threads():
    """The number of threads that fastmlp may use by default.

    The smallest of the cores available to this process, OMP_NUM_THREADS, the limit of ``each_limited_to``, and the
    current limits of BLAS and OpenMP. The last make the limits of threadpoolctl, and those that joblib sets in its
    workers, hold for fastmlp too. It is 1 in a task of dask, as a worker runs as many tasks at once as it has threads.
    """
    if dask_worker() is not None:
        return 1
    limits = [library.num_threads for library in _controller().lib_controllers] + [_limit_of_each_fit.get()]
    limits = [limit for limit in limits if limit] + [thread_pool.cores()]
    variable = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if variable.isdecimal():
        limits.append(int(variable))
    return max(1, min(limits))


def dask_worker():
    """The dask.distributed.Worker whose task runs in this thread, or None."""
    distributed = sys.modules.get("distributed")
    try:
        return distributed and distributed.get_worker()
    except (AttributeError, ValueError):  # while distributed is being imported, or outside of a task
        return None


def threads_of(n_jobs):
    """Convert ``n_jobs`` to a number of threads: -1 means all cores, -2 all but one, as in scikit-learn; None stays."""
    if n_jobs is not None and n_jobs < 0:
        return max(1, joblib.cpu_count() + 1 + n_jobs)
    return None if n_jobs is None else int(n_jobs)


@contextmanager
def each_limited_to(n_threads):
    """Context manager: limit fits and predictions that this thread starts, because other fits use the other cores."""
    token = _limit_of_each_fit.set(n_threads)
    try:
        yield
    finally:
        _limit_of_each_fit.reset(token)


class ThreadLimit:
    """Limit a backend's module to ``n_jobs`` threads inside a ``with`` block: its thread pool, and BLAS if it uses it.

    ``uses_blas``: whether the caller uses BLAS too. With ``n_jobs=None`` the limit is that of ``allowed_threads``; the
    limit of ``each_limited_to`` applies as well.

    The BLAS limit is global to the process, and only the thread that set it can restore the previous one. When fits
    overlap in several threads, the first one therefore sets the limit and removes it when it ends.
    """

    _lock = threading.Lock()

    def __init__(self, n_jobs, kernels, uses_blas=False):
        limits = [limit for limit in (threads_of(n_jobs), _limit_of_each_fit.get()) if limit is not None]
        self._n_threads, self._blas = min(limits, default=None), None
        self._limits_blas = self._n_threads is not None and (uses_blas or kernels.USES_BLAS)

    def __enter__(self):
        if self._limits_blas:
            self._blas = limit_blas(self._n_threads)
        self._pool = thread_pool.limited_to(allowed_threads if self._n_threads is None else self._n_threads)
        self._pool.__enter__()

    def __exit__(self, *exception):
        self._pool.__exit__(None, None, None)
        if self._blas is not None:
            self._blas.close()


def limit_blas(n_threads):
    """Limit BLAS to that many threads, unless another fit has set a limit. Returns the ExitStack that removes it."""
    end = ExitStack()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        end.enter_context(thread_pool.signals_wait())  # Ctrl-C in here would leave the limit set
    lock = ThreadLimit._lock  # replaced in a forked child
    if lock.acquire(blocking=False):
        end.callback(lock.release)
        end.enter_context(_controller().limit(limits=n_threads, user_api="blas"))
    return end


def _forget():
    """In a forked child no fit is running, and the lock may be held by a thread that does not exist there."""
    ThreadLimit._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
