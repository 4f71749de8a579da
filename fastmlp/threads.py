"""How many threads fastmlp may use: its own team (kernels/team.py), and BLAS while fastmlp runs."""

import os
import threading
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController

from fastmlp.kernels import team


@cache
def _controller():
    return ThreadpoolController()


def allowed_threads():
    """As many as the processor has for us, OMP_NUM_THREADS allows, and BLAS and OpenMP are held to at the moment.

    So the limits of threadpoolctl and those that joblib sets in its workers hold for fastmlp too.
    """
    limits = [library.num_threads for library in _controller().lib_controllers]
    limits = [limit for limit in limits if limit] + [team.cores()]
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal():
        limits.append(int(asked))
    return max(1, min(limits))


class ThreadLimit:
    """Hold fastmlp and BLAS to ``n_jobs`` threads inside a ``with`` block.

    None honours OMP_NUM_THREADS, threadpoolctl and joblib's inner limits; -1 means all cores, -2 all but one, as
    elsewhere in scikit-learn.

    The limit of BLAS belongs to the process, and only the thread that set it can put back what was there before. So
    where fits overlap in several threads it is the one of the fit that came first, and ends with that.
    """

    _lock = threading.Lock()

    def __init__(self, n_jobs):
        if n_jobs is not None and n_jobs < 0:
            n_jobs = max(1, joblib.cpu_count() + 1 + n_jobs)
        self.n_threads = None if n_jobs is None else int(n_jobs)

    def __enter__(self):
        self._limiter, self._held = None, ThreadLimit._lock  # another one in the child of a fork
        if self.n_threads is not None and self._held.acquire(blocking=False):
            self._limiter = _controller().limit(limits=self.n_threads, user_api="blas")
            self._limiter.__enter__()
        self._team = team.limited_to(allowed_threads if self.n_threads is None else self.n_threads)
        self._team.__enter__()

    def __exit__(self, *exception):
        self._team.__exit__(None, None, None)
        if self._limiter is not None:
            self._limiter.__exit__(*exception)
            self._held.release()


def _forget():
    """In the child of a fork: no fit runs there, and the lock may be held by a thread that is not there."""
    ThreadLimit._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
