"""Run many fits in threads: each in one thread while there are as many fits as threads."""

import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sklearn import config_context, get_config

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

from .callbacks import NoBar
from .interruption import Interruption, shared_with_fits


def run_fits(fits, n_jobs=None, *, ends_all=lambda error: False, bar=None):
    """Call functions that fit a model each.

    Parameters
    ----------
    fits : list of callable
        Functions without arguments.
    n_jobs : int or None, default=None
        Number of threads of all fits together.
    ends_all : callable, default=a function that returns False
        Called with an Exception; returns whether to stop all fits and raise it.
    bar : NoBar or tqdm, default=None
        Progress bar that counts fits.

    Returns
    -------
    errors : dict
        {index of a fit: its exception}
    ended : list of int
        Indices of the fits that have been run, including those with errors, in ascending order.
    interrupted : bool
        Whether Ctrl-C ended the fits early.
    """
    n_threads = threads_of(n_jobs) or allowed_threads()
    n_workers = max(1, min(n_threads, len(fits)))
    errors, ended, settings = {}, [], get_config()  # scikit-learn has settings for each thread
    bar = NoBar() if bar is None else bar

    def run(index):
        if interruption.requested:
            return
        try:
            with shared_with_fits(interruption), each_limited_to(n_threads // n_workers), config_context(**settings):
                fits[index]()
        except BaseException as error:
            if not isinstance(error, Exception) or ends_all(error):
                interruption.request()
                raise
            errors[index] = error
        ended.append(index)
        bar.update(1)

    with (
        bar,
        Interruption() as interruption,
        _one_warning_of_each_category(),
        ThreadPoolExecutor(n_workers) as pool,
    ):
        try:
            list(pool.map(run, range(len(fits))))  # raises an error that ends all
        except BaseException:  # a KeyboardInterrupt in this thread, of a second Ctrl-C or a handler of the program
            interruption.request()  # the pool waits for the fits that are running
            raise
    return dict(sorted(errors.items())), sorted(ended), interruption.requested


@contextmanager
def _one_warning_of_each_category():
    """Context manager: issue the first warning of each category, with the number of those that were left out.

    It also restores the filters at the end, which scikit-learn's validation changes, and not safely in threads.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "Training interrupted by user")  # one warning, of the caller, is enough
        try:
            yield
        finally:
            found = [(warning.category, warning.message) for warning in caught]
    counts = Counter(category for category, _ in found)
    for category, n in counts.items():
        first = next(message for kind, message in found if kind is category)
        more = f" ({n - 1} more {category.__name__} in the other fits.)" if n > 1 else ""
        warnings.warn(f"{first}{more}", category)
