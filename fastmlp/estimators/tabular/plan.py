"""How many epochs and members a time limit allows, and which rows each member is trained on."""

import time
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from fastmlp.backends.threads import allowed_threads, each_limited_to, threads_of

from .recipe import BATCH_SIZE, new_member

FEWEST_EPOCHS = 20  # a time limit reduces members before epochs
SHARE = 0.9  # of the time limit that is planned for training


class Plan(NamedTuple):
    """Number of epochs, and for each member the indices of its rows, or None for all.

    With folds the members of the first fold come first.
    """

    n_epochs: int
    rows: list[np.ndarray | None]


def folds_of(n_folds, y, labels, random_state):
    """The rows that each fold holds out; they are stratified by ``labels``, or None."""
    if labels is None:
        split = KFold(n_folds, shuffle=True, random_state=random_state).split(y)
    else:
        split = StratifiedKFold(n_folds, shuffle=True, random_state=random_state).split(y, labels)
    return [held_out for _, held_out in split]


def plan_for(task, rows, folds, n_epochs, n_members, time_limit):
    """The Plan for ``n_members``, of each fold if there are folds, or for as much as a time limit allows."""
    parts = [np.setdiff1d(np.arange(task.n_rows), fold) for fold in folds]
    if time_limit is not None:
        trial, part = new_member(task, 2, 0), parts[0] if parts else slice(None)

        def fit_one_epoch():
            trial.fit(rows.matrix[part], rows.targets[part], 1, BATCH_SIZE)
            if trial.interrupted:
                raise KeyboardInterrupt

        n_epochs, n_members = within(time_limit, fit_one_epoch, n_epochs, n_members, len(folds), task.n_jobs)
    return Plan(n_epochs, [part for part in parts or [None] for _ in range(n_members)])


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
