"""Which variant, rows and epochs each member is trained with, as far as a time limit allows."""

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from .budget import NoLimit, TimeLimit, measurement_of
from .members import Plan
from .trials import variants_of_members

FEWEST_EPOCHS = 20  # a time limit reduces members before epochs


def folds_of(n_folds, y, labels, random_state):
    """The rows that each fold holds out, stratified by ``labels`` or None; ValueError if there are too few."""
    most = len(y) if labels is None else np.bincount(labels).max()
    if n_folds > most:
        of_class = "" if labels is None else " of the most frequent class"
        raise ValueError(f"n_folds={n_folds} needs at least {n_folds} rows{of_class}, got {most}: use fewer folds.")
    if labels is None:
        split = KFold(n_folds, shuffle=True, random_state=random_state).split(y)
    else:
        split = StratifiedKFold(n_folds, shuffle=True, random_state=random_state).split(y, labels)
    return [held_out for _, held_out in split]


def check_weights_of_folds(folds, weight):
    """ValueError if all rows that are not in a fold have the weight 0."""
    if weight is not None and not all(np.delete(weight, fold, axis=0).any() for fold in folds):
        raise ValueError(
            "n_folds: all rows with a weight (sample_weight times class_weight) are held out by the same fold, so its "
            "members have none to train on. Use more rows with a weight, or no folds."
        )


def parts_of(n_rows, folds):
    """The rows that the members of each fold are trained on; without folds None, for all rows, once."""
    return [np.setdiff1d(np.arange(n_rows), fold) for fold in folds] or [None]


def plan_for(task, rows, folds, n_epochs, n_members, time_limit, options, random_state):
    """The Plan for ``n_members``, of each fold if there are folds, or for as much as a time limit allows."""
    parts = parts_of(task.n_rows, folds)
    limit = NoLimit()
    if time_limit is not None:
        limit = TimeLimit(time_limit, measurement_of(task, rows, options), task.n_jobs)
    variants = variants_of_members(n_members, task, rows, limit, n_epochs, options, random_state)
    n_rows = task.n_rows - min(map(len, folds), default=0)
    n_epochs, variants = within(limit, n_epochs, variants, len(parts), n_rows)
    variants = variants * len(parts)
    return Plan(n_epochs, variants, rows_of_members(parts, len(variants)))


def rows_of_members(parts, n_members):
    """The part that each member is trained on: all members of a part come one after the other."""
    return [part for part in parts for _ in range(n_members // len(parts))]


def within(limit, n_epochs, variants, n_parts, n_rows):
    """(epochs, variants of the members) that a limit allows for members of each of some parts, of so many rows."""
    while len(variants) > 1 and limit.epochs(n_epochs, variants * n_parts, n_rows) < min(n_epochs, FEWEST_EPOCHS):
        variants = variants[:-1]
    return max(1, limit.epochs(n_epochs, variants * n_parts, n_rows)), variants
