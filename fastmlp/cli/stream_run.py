"""Training of a plain network on row groups of Parquet files by the command train: a TableModel."""

import warnings
from functools import partial
from typing import NamedTuple

import click
import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from fastmlp.sources.files import SUFFIX, is_many

from .common import TEST_SHARE
from .plain_run import EPOCHS, HIDDEN, chosen_optimizer
from .streamed_table import Statistics, StreamedTable, TrainingBlocks
from .table_model import TableModel
from .training_parts import Trained, eval_rows, fit_and_save


class Parts(NamedTuple):
    """What to train on: the files, blocks of their training rows, (X, y) of --eval or None, and the numbers of rows."""

    streamed: StreamedTable
    blocks: TrainingBlocks
    given: tuple | None
    n_rows: dict[str, int]


def prepared(source, options, say):
    """(untrained TableModel, Parts) for the files of the options."""
    check_options(options)
    streamed = StreamedTable(options)
    known = Statistics(streamed, options.target, options.task)
    table = new_model(streamed, known, options)
    given = None if options.eval_source is None else table.arrays(eval_rows(table, names_of(table), options))
    n_rows = {name: n for name, n in known.n_rows.items() if n} | ({} if given is None else {"eval": len(given[0])})
    if "train" not in n_rows:
        raise click.UsageError("there are no rows to train on: give a smaller --test-size.")
    say(f"{n_rows['train']:,} rows for training, {known.n_rows['test']:,} for testing, in {len(streamed.groups)} row "
        f"groups; {table.encoder.n_outputs} inputs")  # fmt: skip
    return table, Parts(streamed, TrainingBlocks(streamed, table, n_rows["train"]), given, n_rows)


def trained(table, parts, seconds, options, say):
    """The results of a fit, Trained."""
    model, n_rows, scores = table.model, parts.n_rows, {}
    if "test" in n_rows:
        scores["test"] = test_scores(table, parts.streamed)
    if parts.given is not None:
        scores["eval"] = model.evaluate(*parts.given)
    found = {
        "model": options.out, "rows": n_rows, "inputs": table.encoder.n_outputs, "target": table.target,
        "task": "regression" if table.classes is None else "classification", "backend": model.backend,
        "epochs": model.epoch, "best_epoch": model.best_epoch, "seconds": seconds, "interrupted": model.interrupted,
        "scores": scores, "samples_per_second": None,
    }  # fmt: skip
    return Trained(model, [model], found, "train", None, None)


def check_options(options):
    """UsageError for options that need all rows at once."""
    if not is_many(options.source) and not options.source.lower().endswith(SUFFIX):
        raise click.UsageError(
            f"--stream reads Parquet files: give a file, a folder or a pattern, not {options.source}."
        )
    if options.target is None:
        raise click.UsageError("--target is required.")
    for name in ("report", "compare", "balanced"):
        if getattr(options, name):
            raise click.UsageError(f"--{name} needs all rows in memory: it cannot be used with --stream.")
    if options.early_stopping is not None and options.eval_source is None:
        raise click.UsageError("--early-stopping with --stream needs validation data: give --eval.")
    if options.metric != "loss" and options.early_stopping is None:
        raise click.UsageError("--metric needs --early-stopping, which uses it.")
    if options.test_size is None:
        options.test_size = TEST_SHARE if options.eval_source is None else 0


def new_model(streamed, known, options):
    """An untrained TableModel."""
    classes = known.classes()
    names = list(streamed.frame(0).columns)
    table = TableModel.new(
        known.encoder(names), options.target, classes,
        (0.0, 1.0) if classes is not None else known.mean_and_std(options.target),
        hidden=HIDDEN if options.hidden is None else options.hidden, activation=options.activation,
        optimizer=chosen_optimizer(options.optimizer, options.learning_rate), alpha=options.alpha, dtype=options.dtype,
        matmul_precision=options.matmul_precision, backend=options.backend, random_state=options.seed,
    )  # fmt: skip
    table.missing = options.missing
    return table


def names_of(table):
    return [*(column["name"] for column in table.encoder.columns), table.target]


def fit(table, parts, options, together):
    """Train the model with a few row groups in memory at a time, and save it, also if a GPU fails.

    Returns the seconds of training. ``together`` says whether other processes take part (distributed/fits.py).
    """
    table.model.communicator = together.parallel
    fit = partial(
        table.model.fit_stream, parts.blocks, options.epochs or EPOCHS, options.batch_size,
        shuffle_blocks=options.shuffle_blocks, validation_data=parts.given, patience=options.early_stopping,
        metric=None if options.metric == "loss" else options.metric, progress=not options.quiet,
    )  # fmt: skip
    return fit_and_save(fit, table, options, together)


def test_scores(table, streamed):
    """{score: value} for the rows that were held out, read again."""
    model, sums, n, moments = table.model, {}, 0, np.zeros(3)
    for frame in streamed.frames(test=True):
        if not len(frame):
            continue
        X, y = table.arrays(frame)
        with warnings.catch_warnings(action="ignore", category=UndefinedMetricWarning):  # of R^2 of a single row
            scores = model.evaluate(X, y)
        for name, value in scores.items():
            sums[name] = sums.get(name, 0.0) + len(X) * value
        n += len(X)
        if table.classes is None:
            moments += [np.sum((y - model.predict(X)[:, 0]) ** 2), y.sum(), np.square(y).sum()]
    means = {name: value / n for name, value in sums.items()}
    if table.classes is None:
        error, total, squares = moments
        spread = squares - total**2 / n
        means["r2"] = float(1 - error / spread) if n > 1 and spread > 0 else float("nan")
    return means
