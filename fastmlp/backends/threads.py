"""How many threads fastmlp may use: its own team (kernels/cpu/thread_pool.py), and BLAS while fastmlp runs."""

import os
import signal
import threading
from contextlib import ExitStack
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController

from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.reference import contract as numpy_reference


@cache
def _controller():
    return ThreadpoolController()


def allowed_threads():
    """As many as the processor has for us, OMP_NUM_THREADS allows, and BLAS and OpenMP are held to at the moment.

    So the limits of threadpoolctl and those that joblib sets in its workers hold for fastmlp too.
    """
    limits = [library.num_threads for library in _controller().lib_controllers]
    limits = [limit for limit in limits if limit] + [thread_pool.cores()]
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal():
        limits.append(int(asked))
    return max(1, min(limits))


def threads_of(n_jobs):
    """How many threads ``n_jobs`` allows: -1 means all cores, -2 all but one, as elsewhere in scikit-learn; or None."""
    if n_jobs is not None and n_jobs < 0:
        return max(1, joblib.cpu_count() + 1 + n_jobs)
    return None if n_jobs is None else int(n_jobs)


class ThreadLimit:
    """Hold a backend's module to ``n_jobs`` threads inside a ``with`` block: its thread pool, or BLAS if it uses that.

    None honours OMP_NUM_THREADS, threadpoolctl and joblib's inner limits.

    The limit of BLAS belongs to the process, and only the thread that set it can put back what was there before. So
    where fits overlap in several threads it is the one of the fit that came first, and ends with that.
    """

    _lock = threading.Lock()

    def __init__(self, n_jobs, kernels):
        self._n_threads, self._blas = threads_of(n_jobs), None
        self._limits_blas = self._n_threads is not None and kernels is numpy_reference

    def __enter__(self):
        if self._limits_blas:
            self._blas = self._limit_blas()
        self._team = thread_pool.limited_to(allowed_threads if self._n_threads is None else self._n_threads)
        self._team.__enter__()

    def _limit_blas(self):
        """What ends the limit."""
        end = ExitStack()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            end.enter_context(thread_pool.signals_wait())  # Ctrl-C in here would leave the limit for ever
        lock = ThreadLimit._lock  # another one in the child of a fork
        if lock.acquire(blocking=False):
            end.callback(lock.release)
            end.enter_context(_controller().limit(limits=self._n_threads, user_api="blas"))
        return end

    def __exit__(self, *exception):
        self._team.__exit__(None, None, None)
        if self._blas is not None:
            self._blas.close()


def _forget():
    """In the child of a fork: no fit runs there, and the lock may be held by a thread that is not there."""
    ThreadLimit._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
