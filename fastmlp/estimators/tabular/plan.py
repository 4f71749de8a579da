"""How many epochs and members a time limit allows, and which rows each member is trained on."""

import time
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

FEWEST_EPOCHS = 20  # rather fewer members than fewer epochs
SHARE = 0.9  # of the time limit that is planned for training


class Plan(NamedTuple):
    """Number of epochs, and for each member the indices of its rows, or None for all.

    With folds the members of the first fold come first.
    """

    n_epochs: int
    rows: list[np.ndarray | None]

    @classmethod
    def of(cls, n_epochs, n_members, folds, n_rows):
        """A plan for a number of members, of each fold if there are folds."""
        if not folds:
            return cls(n_epochs, [None] * n_members)
        trained = [np.setdiff1d(np.arange(n_rows), fold) for fold in folds]
        return cls(n_epochs, [rows for rows in trained for _ in range(n_members)])


def folds_of(n_folds, y, labels, random_state):
    """The rows that each fold holds out; they are stratified by ``labels``, or None."""
    if labels is None:
        split = KFold(n_folds, shuffle=True, random_state=random_state).split(y)
    else:
        split = StratifiedKFold(n_folds, shuffle=True, random_state=random_state).split(y, labels)
    return [held_out for _, held_out in split]


def within(seconds, fit_one_epoch, n_epochs, n_members, n_folds, n_jobs):
    """(epochs, members of each fold) that a time limit allows. ``fit_one_epoch`` trains a member for an epoch."""
    begin = time.perf_counter()
    n_threads, durations = threads_of(n_jobs) or allowed_threads(), {}
    fit_one_epoch()  # perhaps compiles

    def duration(of_each):
        """Seconds of an epoch of a member that has so many threads."""
        if of_each not in durations:
            start = time.perf_counter()
            with each_limited_to(of_each):
                fit_one_epoch()
            durations[of_each] = time.perf_counter() - start
        return durations[of_each]

    def epochs_for(members):
        fits = members * max(n_folds, 1)
        of_epoch = duration(n_threads // min(fits, n_threads)) * -(-fits // n_threads)
        return int(SHARE * (seconds - (time.perf_counter() - begin)) / of_epoch)

    while n_members > 1 and epochs_for(n_members) < min(n_epochs, FEWEST_EPOCHS):
        n_members -= 1
    return max(1, min(n_epochs, epochs_for(n_members))), n_members
