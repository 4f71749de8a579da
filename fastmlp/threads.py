"""How many threads BLAS may use while fastmlp runs."""

import threading
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController


@cache
def _controller():
    return ThreadpoolController()


class ThreadLimit:
    """Hold BLAS to ``n_jobs`` threads inside a ``with`` block.

    None leaves BLAS as it is, which honours OMP_NUM_THREADS, threadpoolctl and joblib's inner limits; -1 means all
    cores, -2 all but one, as elsewhere in scikit-learn.

    The limit belongs to the process, so fits that overlap in several threads share the one of the fit that came
    first; the last to leave puts back what was there before.
    """

    _lock = threading.Lock()
    _users = 0
    _limiter = None

    def __init__(self, n_jobs):
        if n_jobs is not None and n_jobs < 0:
            n_jobs = max(1, joblib.cpu_count() + 1 + n_jobs)
        self.n_threads = None if n_jobs is None else int(n_jobs)

    def __enter__(self):
        if self.n_threads is None:
            return
        with ThreadLimit._lock:
            if ThreadLimit._users == 0:
                ThreadLimit._limiter = _controller().limit(limits=self.n_threads, user_api="blas")
            ThreadLimit._users += 1

    def __exit__(self, *exception):
        if self.n_threads is None:
            return
        with ThreadLimit._lock:
            ThreadLimit._users -= 1
            if ThreadLimit._users == 0:
                ThreadLimit._limiter.restore_original_limits()
