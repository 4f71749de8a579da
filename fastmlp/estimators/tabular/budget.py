"""How many epochs a time limit allows."""

import time

import numpy as np

from fastmlp.training.durations import seconds_since
from fastmlp.training.many import threads_of_fits

from .members import Plan, train_for_trial
from .recipe import new_member

SHARE = 0.9  # of the time that is left
ROWS = 5000  # that a measurement trains on


class NoLimit:
    """As many epochs as wanted."""

    def epochs(self, n_epochs, variants, n_rows, share=SHARE):
        """The number of epochs."""
        return n_epochs


class TimeLimit:
    """The epochs that a number of seconds from now allows.

    Parameters
    ----------
    seconds : float
    measure : callable
        Trains so many members of a Variant at the same time, and returns the number of rows that each is trained on.
    n_jobs : int or None
        Number of threads of all members together.
    """

    def __init__(self, seconds, measure, n_jobs):
        self._end, self._measure = time.perf_counter() + seconds, measure
        self._n_threads, self._measured = threads_of_fits(n_jobs), {}

    def epochs(self, n_epochs, variants, n_rows, share=SHARE):
        """At most ``n_epochs`` for a fit of each variant to so many rows, within a share of the time that is left."""
        together = min(len(variants), self._n_threads)
        each = [self._seconds_of_row(variant, together) for variant in variants]
        of_row = sum(max(each[first : first + together]) for first in range(0, len(each), together))
        return min(n_epochs, max(0, int(share * self._left() / (of_row * n_rows))))

    def _left(self):
        return self._end - time.perf_counter()

    def _seconds_of_row(self, variant, together):
        """Seconds for a row while so many members are trained at the same time; infinite if no time is left."""
        found = variant.binned, together
        if found not in self._measured:
            if not self._measured and self._left() > 0:
                self._measure(variant, 1)  # perhaps compiles
            if self._left() <= 0:
                return np.inf
            start = time.perf_counter()
            n_rows = self._measure(variant, together)
            self._measured[found] = seconds_since(start) / n_rows
        return self._measured[found]


def measurement_of(task, rows, options):
    """The function ``measure`` of a TimeLimit.

    Rows, and those that choose the best epoch, are passed over several times if there are few, or in part.
    """
    n_rows = min(ROWS, task.n_rows)
    n_epochs, part = ROWS // n_rows, np.arange(n_rows)
    options = options._replace(progress=False)
    if options.validation is not None:
        n_validation = -(-n_rows * len(options.validation[0]) // task.n_rows)
        options = options._replace(validation=tuple(given[:n_validation] for given in options.validation))

    def measure(variant, n_members):
        members = [new_member(task, variant, 2, 0) for _ in range(n_members)]
        plan = Plan(n_epochs, [variant] * n_members, [part] * n_members)
        train_for_trial(members, rows._replace(weight=None), plan, options)
        return n_epochs * n_rows

    return measure
