"""How many epochs a time limit allows."""

import time

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

from .recipe import BATCH_SIZE, new_member, variants_for

SHARE = 0.9  # of the time that is left


class NoLimit:
    """As many epochs as wanted."""

    def epochs(self, n_epochs, n_fits, share=SHARE, part=1.0):
        """The number of epochs."""
        return n_epochs


class TimeLimit:
    """The epochs that a number of seconds from now allows, by the time that an epoch takes.

    Parameters
    ----------
    seconds : float
    task : Task
    rows : Rows
    trained : ndarray or None
        The rows that each member is trained on.
    """

    def __init__(self, seconds, task, rows, trained):
        self._end = time.perf_counter() + seconds
        trained = slice(None) if trained is None else trained
        self._data = rows.matrix[trained], rows.targets[trained]
        self._model = new_member(task, variants_for(task.encoded)[-1], 2, 0)  # the slowest variant
        self._n_threads, self._seconds_of = threads_of(task.n_jobs) or allowed_threads(), {}
        self._fit_one_epoch()  # perhaps compiles

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

    def _fit_one_epoch(self):
        self._model.fit(*self._data, 1, BATCH_SIZE)
        if self._model.interrupted:
            raise KeyboardInterrupt
