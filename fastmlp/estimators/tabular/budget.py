"""How many epochs a time limit allows."""

import time

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

from .recipe import batch_size_for, new_member, variants_for

SHARE = 0.9  # of the time that is left


class NoLimit:
    """As many epochs as wanted."""

    def epochs(self, n_epochs, n_fits, share=SHARE, part=1.0):
        """The number of epochs."""
        return n_epochs


class TimeLimit:
    """The epochs that a number of seconds from now allows.

    Parameters
    ----------
    seconds : float
    fit_one_epoch : callable
        Trains a member for an epoch.
    n_jobs : int or None
        Number of threads of all members together.
    """

    def __init__(self, seconds, fit_one_epoch, n_jobs):
        self._end, self._fit_one_epoch = time.perf_counter() + seconds, fit_one_epoch
        self._n_threads, self._seconds_of = threads_of(n_jobs) or allowed_threads(), {}
        fit_one_epoch()  # perhaps compiles

    def epochs(self, n_epochs, n_fits, share=SHARE, part=1.0):
        """At most ``n_epochs`` for so many fits to a part of the rows, within a share of the time that is left."""
        turns = -(-n_fits // self._n_threads)
        of_epoch = self._seconds_of_epoch(self._n_threads // min(n_fits, self._n_threads)) * turns * part
        return min(n_epochs, int(share * (self._end - time.perf_counter()) / of_epoch))

    def _seconds_of_epoch(self, n_threads):
        """Seconds of an epoch of a member that has so many threads."""
        if n_threads not in self._seconds_of:
            start = time.perf_counter()
            with each_limited_to(n_threads):
                self._fit_one_epoch()
            self._seconds_of[n_threads] = time.perf_counter() - start
        return self._seconds_of[n_threads]


def one_epoch_of(task, rows, trained):
    """A function that trains a member, of the slowest variant, for an epoch on some rows, or on all for None."""
    trained = slice(None) if trained is None else trained
    model, data = new_member(task, variants_for(task.encoded)[-1], 2, 0), (rows.matrix[trained], rows.targets[trained])

    def fit_one_epoch():
        model.fit(*data, 1, batch_size_for(task.n_rows))
        if model.interrupted:
            raise KeyboardInterrupt

    return fit_one_epoch
