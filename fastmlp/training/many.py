"""Run many fits at once: in threads, each in one while there are as many fits as threads, or in other processes."""

import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from sklearn import config_context, get_config

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

from .callbacks import NoBar
from .interruption import Interruption, shared_with_fits
from .pools import active_pool


class Fit(NamedTuple):
    """A call ``function(model, **arguments)``, which fits the model in place."""

    function: Any
    model: Any
    arguments: Mapping[str, Any]

    def run(self):
        return self.function(self.model, **self.arguments)


class Ended(NamedTuple):
    """How fits ended.

    Attributes
    ----------
    values : dict
        {index of a fit: what its function returned}, without those with errors
    errors : dict
        {index of a fit: its exception}
    interrupted : bool
        Whether Ctrl-C ended the fits early.
    """

    values: dict[int, Any]
    errors: dict[int, Exception]
    interrupted: bool

    @property
    def indices(self):
        """The indices of the fits that have been run, in ascending order."""
        return sorted((*self.values, *self.errors))


def threads_of_fits(n_jobs):
    """The number of threads that fits have together: of this process, or of the workers of joblib's backend."""
    pool = active_pool(n_jobs)
    return (threads_of(n_jobs) or allowed_threads()) if pool is None else pool.n_threads


def run_fits(fits, n_jobs=None, *, ends_all=lambda model, error: False, bar=None):
    """Run fits, in threads of this process, or by the workers of the joblib backend that the user has selected.

    Parameters
    ----------
    fits : list of Fit
    n_jobs : int or None, default=None
        Number of threads of all fits together.
    ends_all : callable, default=a function that returns False
        Called with the model and the exception of a fit; returns whether to stop all fits and raise it.
    bar : NoBar or tqdm, default=None
        Progress bar that counts fits.

    Returns
    -------
    Ended
        After Ctrl-C models have the weights that they had in threads of this process; those of other processes that
        were still being fitted are unchanged.
    """
    bar = NoBar() if bar is None else bar
    with bar, _one_warning_of_each_category():
        pool = active_pool(n_jobs) if fits else None
        if pool is None:
            return _run_in_threads(fits, threads_of(n_jobs) or allowed_threads(), ends_all, bar)
        return _run_elsewhere(fits, pool, ends_all, bar)


def _run_in_threads(fits, n_threads, ends_all, bar):
    n_workers = max(1, min(n_threads, len(fits)))
    values, errors, settings = {}, {}, get_config()  # scikit-learn has settings for each thread

    def run(index):
        if interruption.requested:
            return
        try:
            with shared_with_fits(interruption), each_limited_to(n_threads // n_workers), config_context(**settings):
                values[index] = fits[index].run()
        except BaseException as error:
            if ends_all(fits[index].model, error) or not isinstance(error, Exception):
                interruption.request()
                raise
            errors[index] = error
        bar.update(1)

    with Interruption() as interruption, ThreadPoolExecutor(n_workers) as pool:
        try:
            list(pool.map(run, range(len(fits))))  # raises an error that ends all
        except BaseException:  # a KeyboardInterrupt in this thread, of a second Ctrl-C or a handler of the program
            interruption.request()  # the pool waits for the fits that are running
            raise
    return Ended(values, dict(sorted(errors.items())), interruption.requested)


def _run_elsewhere(fits, pool, ends_all, bar):
    from .parcels import Post  # needs cloudpickle, which takes time to import

    post = Post(fits, pool.name)
    more = get_config(), pool.threads_of_each(len(fits))
    calls = [((parcel, *more), positions) for parcel, positions in zip(post.parcels, post.positions)]
    values, errors = {}, {}
    with _InterruptedWait() as interruption, closing(pool.results(calls, post.blocks)) as results:
        while not interruption.requested and (ended := interruption.next_of(results)) is not None:
            index, outcome = ended
            if isinstance(outcome, ModuleNotFoundError) and (outcome.name or "").startswith("fastmlp"):
                raise RuntimeError(
                    f"a worker of joblib's backend {pool.name!r} cannot import fastmlp ({outcome}): install the same "
                    "version there."
                ) from outcome
            value, error = post.take_over(index, outcome) if isinstance(outcome, bytes) else (None, outcome)
            if error is None:
                values[index] = value
            elif ends_all(fits[index].model, error) or not isinstance(error, Exception):
                raise error
            else:
                errors[index] = error
            bar.update(1)
    return Ended(values, dict(sorted(errors.items())), interruption.requested)


class _InterruptedWait(Interruption):
    """Interruption by the first Ctrl-C also while this thread waits for a result."""

    _waits = False

    def next_of(self, results):
        """The next result; None after the last one and after Ctrl-C."""
        try:
            self._waits = True
            return next(results, None)
        except KeyboardInterrupt:
            if not self.requested:  # that of a handler of the program
                raise
            return None
        finally:
            self._waits = False

    def _handle(self, number, frame):
        waits, self._waits = self._waits, False
        super()._handle(number, frame)
        if waits:
            raise KeyboardInterrupt


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
