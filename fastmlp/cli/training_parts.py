"""Shared parts of training plain networks and table estimators: rows to train on, and results."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from fastmlp.kernels.device_errors import DeviceError
from fastmlp.model.mlp import MLP
from fastmlp.training.durations import seconds_since
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.outcomes import Diverged

from .frames import TableError, counted, pd
from .speed import samples_per_second
from .tables import check_present, incomplete, incomplete_rows

OUT_OF_FOLD = "out-of-fold"
# In the order in which a report prefers them.
PURPOSES = {
    "test": "testing", "eval": "validation", "watched": "validation", OUT_OF_FOLD: "cross-validation",
    "train": "training",
}  # fmt: skip


class Trained(NamedTuple):
    """A trained model, and its results.

    Attributes
    ----------
    model : MLP or table estimator
    members : list of MLP
        The networks.
    found : dict
        Results for --json.
    part : str
        The rows for the report, one of PURPOSES.
    rows : DataFrame
    predict : callable
        Returns the predictions for ``rows``.
    """

    model: Any
    members: list[MLP]
    found: dict
    part: str
    rows: pd.DataFrame
    predict: Callable


def without_missing(frame, source, columns):
    """Rows without missing or infinite values in some columns; a line on stderr says how many were dropped, and why."""
    missing = incomplete(frame[columns])
    if not missing:
        return frame
    complete = frame[~incomplete_rows(frame[columns])].reset_index(drop=True)
    click.echo(
        f"{len(frame) - len(complete):,} of {len(frame):,} rows of {source} dropped: missing or infinite values in "
        f"{counted(missing)}", err=True,
    )  # fmt: skip
    if not len(complete):
        raise TableError(f"every row of {source} has missing or infinite values.")
    return complete


def eval_rows(table, columns, options):
    """The validation data of --eval, with the columns of the model."""
    frame = table.read(options.eval_source, options.encoding, with_target=True)
    check_present(frame, columns)
    return without_missing(frame[columns], options.eval_source, columns) if options.drop_missing else frame[columns]


def rows_of(parts):
    """The numbers of rows of {part: frame}, as text."""
    others = "".join(f", {len(rows):,} for {PURPOSES[name]}" for name, rows in parts.items() if name != "train")
    return f"{len(parts['train']):,} rows for training{others}"


def check_balanced(options, classes):
    """UsageError for --balanced without classes."""
    if options.balanced and classes is None:
        raise click.UsageError("--balanced is only for classification, but the target is numeric.")


def fit_and_save(fit, table, options, together):
    """Call ``fit`` for the model of a TableModel, and save it, also if a GPU fails. Returns the seconds of the fit."""
    start = time.perf_counter()
    try:
        fit()
    except DeviceError:
        table.save(options.out)
        click.echo(f"model of epoch {table.model.epoch} saved in {options.out}", err=True)
        raise
    seconds = seconds_since(start)
    together.decide(lambda: table.save(options.out))  # before results are printed: a pipe may be closed
    return seconds


def speeds(model, X, y, batch_size):
    """{backend: samples per second} for an MLP's backend and the NumPy reference, or None if not measurable."""
    if is_full_batch(model.optimizer) or model.interrupted:
        return None
    try:
        return samples_per_second(model, X, y, list(dict.fromkeys([model.backend, "numpy"])), batch_size)
    except Diverged:
        return None
