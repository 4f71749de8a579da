"""Training of the members of a table estimator, and the mean of their outputs."""

from typing import Any, NamedTuple

import numpy as np

from fastmlp.distributed.fits import ALONE, Alone
from fastmlp.estimators.many import fit_many
from fastmlp.training.outcomes import DivergenceError

from .recipe import Variant, batch_size_for


class Rows(NamedTuple):
    """Encoded rows to train on.

    Attributes
    ----------
    matrix : ndarray of shape (n_rows, n_encoded)
    targets : ndarray of shape (n_rows,) or (n_rows, n_outputs)
    labels : ndarray of shape (n_rows,) or None
        Class numbers, by which folds are stratified.
    sample_weight, weight : ndarray of shape (n_rows,) or None
        As given to ``fit``, for scores, and multiplied by class weights, for training.
    """

    matrix: np.ndarray
    targets: np.ndarray
    labels: np.ndarray | None
    sample_weight: np.ndarray | None
    weight: np.ndarray | None


class Plan(NamedTuple):
    """Number of epochs, and for each member its Variant and the indices of its rows, or None for all.

    With folds the members of the first fold come first.
    """

    n_epochs: int
    variants: list[Variant]
    rows: list[np.ndarray | None]


class Options(NamedTuple):
    """How members are trained; ``validation`` is None or (matrix, targets) of rows that choose the best epoch.

    ``fit`` says whether other processes take part: they share out the members, or the batches of a single one.
    ``files`` are the MemberFiles from which members go on, or None.
    """

    validation: tuple[np.ndarray, np.ndarray] | None
    callbacks: Any
    n_jobs: int | None
    progress: bool
    fit: Alone = ALONE
    files: Any = None


def train(members, rows, plan, options):
    """Fit each member to its rows in the plan, in place; DivergenceError if one diverges."""
    _fit(members, rows, plan, options)
    if any(member.diverged for member in members):
        raise DivergenceError(
            "training diverged: a member's loss or weights are no longer finite. Check X and y for extreme values."
        )


def train_for_trial(members, rows, plan, options):
    """Fit each member without callbacks. Some may diverge; KeyboardInterrupt if Ctrl-C ends a fit early."""
    _fit(members, rows, plan, options._replace(callbacks=None, files=None))
    if len(trained(members)) < len(members) or any(member.interrupted for member in members):
        raise KeyboardInterrupt


def _fit(members, rows, plan, options):
    params = {
        "epochs": plan.n_epochs,
        "batch_size": batch_size_for(len(rows.matrix)),
        "sample_weight": rows.weight,
        "callbacks": options.callbacks if options.fit.leads else None,
    }
    if options.validation is not None:
        metric = "accuracy" if rows.labels is not None else None
        params |= {"validation_data": options.validation, "metric": metric, "patience": plan.n_epochs}
    left: dict[int, dict[str, Any]] = {number: {} for number in range(len(members))}
    if options.files is not None:
        left = options.files.begin(members, plan.n_epochs, options.callbacks)
    if len(members) == 1 and plan.rows[0] is None:
        for number in left:
            members[number].communicator = options.fit.parallel
            members[number].fit(rows.matrix, rows.targets, progress=options.progress, **params | left[number])
            members[number].communicator = None  # the member itself may be trained further by one process
        return
    numbers = options.fit.shared_out(list(left))
    own = [members[number] for number in numbers]
    with options.fit.agreement():
        errors = fit_many(
            own, rows.matrix, rows.targets, rows=[plan.rows[number] for number in numbers],
            fit_params=[params | left[number] for number in numbers], n_jobs=options.n_jobs, progress=options.progress,
        )  # fmt: skip
        for error in errors.values():
            raise error
    options.fit.collect_results(members, own)


def trained(members):
    """The members that have weights: after Ctrl-C some may have none."""
    return [member for member in members if member._state is not None]


def mean_outputs(members, matrix):
    """The mean of the members' outputs, an ndarray of shape (n_rows, n_outputs)."""
    return np.mean([member.predict(matrix) for member in members], axis=0)


def outputs_of_folds(members, folds, matrix):
    """Outputs for each row by the members of the fold that holds it out.

    Returns None if a fold has no trained member. ``members`` are those of all folds, the first fold's first.
    """
    n_members = len(members) // len(folds)
    outputs = None
    for number, rows in enumerate(folds):
        own = trained(members[number * n_members : (number + 1) * n_members])
        if not own:
            return None
        of_fold = mean_outputs(own, matrix[rows])
        if outputs is None:
            outputs = np.empty((len(matrix), of_fold.shape[1]), of_fold.dtype)
        outputs[rows] = of_fold
    return outputs
