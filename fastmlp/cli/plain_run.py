"""Training of a plain network by the command train: a TableModel."""

from functools import partial
from typing import NamedTuple

import click
from sklearn.model_selection import train_test_split

from fastmlp.model.optimizers import make_optimizer
from fastmlp.training.full_batch import is_full_batch

from .common import TEST_SHARE
from .frames import pd
from .table_model import TableModel
from .training_parts import PURPOSES, Trained, check_balanced, eval_rows, fit_and_save, rows_of, speeds

HIDDEN, EPOCHS = (100,), 50  # by default
WATCHED_SHARE = 0.1  # of the training rows, split off for --early-stopping without --eval


class Parts(NamedTuple):
    """{part: frame} and {part: (X, y)}."""

    frames: dict[str, pd.DataFrame]
    arrays: dict[str, tuple]


def prepared(source, options, say):
    """(untrained TableModel, Parts) for a Table."""
    if options.metric != "loss" and options.early_stopping is None:
        raise click.UsageError("--metric needs --early-stopping, which uses it.")
    table = new_model(source, options)
    frames = split(source.frame, table, options)
    arrays = {name: table.arrays(part) for name, part in frames.items()}
    say(rows_of(frames) + f"; {table.encoder.n_outputs} inputs")
    say(f"backend {table.model.backend}: {table.model.backend_reason_}")
    return table, Parts(frames, arrays)


def trained(table, parts, seconds, options, say):
    """The results of a fit, Trained."""
    model, (frames, arrays) = table.model, parts
    found = {
        "model": options.out, "rows": {name: len(X) for name, (X, _) in arrays.items()},
        "inputs": table.encoder.n_outputs, "target": table.target,
        "task": "regression" if table.classes is None else "classification", "backend": model.backend,
        "epochs": model.epoch, "best_epoch": model.best_epoch, "seconds": seconds, "interrupted": model.interrupted,
        "scores": {name: model.evaluate(*rows) for name, rows in arrays.items() if name != "train"},
        "samples_per_second": speeds(model, *arrays["train"], options.batch_size) if options.compare else None,
    }  # fmt: skip
    part = next(name for name in PURPOSES if name in frames)
    return Trained(model, [model], found, part, frames[part], lambda: table.predict(frames[part]))


def new_model(source, options):
    """An untrained TableModel."""
    table = TableModel.create(
        source.frame, source.target, task=options.task,
        hidden=HIDDEN if options.hidden is None else options.hidden, activation=options.activation,
        optimizer=chosen_optimizer(options.optimizer, options.learning_rate), alpha=options.alpha, dtype=options.dtype,
        matmul_precision=options.matmul_precision, backend=options.backend, random_state=options.seed,
    )  # fmt: skip
    table.missing, table.decimal = options.missing, source.decimal
    check_balanced(options, table.classes)
    return table


def chosen_optimizer(name, learning_rate):
    if not is_full_batch(name):
        return make_optimizer(name, learning_rate)
    if learning_rate is not None:
        raise click.UsageError(f"--learning-rate cannot be used with {name}, which chooses the length of its steps.")
    return name


def split(frame, table, options):
    """{part: frame} with 'train', and optionally 'eval' (given), 'watched' (split off to stop early) and 'test'."""
    parts, test_size = {}, TEST_SHARE
    if options.eval_source is not None:
        parts["eval"], test_size = eval_rows(table, list(frame.columns), options), 0
    if options.test_size is not None:
        test_size = options.test_size
    if test_size:
        frame, parts["test"] = train_test_split(frame, test_size=test_size, random_state=options.seed)
    if options.early_stopping is not None and "eval" not in parts:
        frame, parts["watched"] = train_test_split(frame, test_size=WATCHED_SHARE, random_state=options.seed)
    return {"train": frame} | parts


def fit(table, parts, options, together):
    """Train the model and save it, also if a GPU fails. Returns the seconds of training.

    ``together`` says whether other processes take part (distributed/fits.py).
    """
    model, arrays = table.model, parts.arrays
    model.communicator, (X, y) = together.parallel, arrays["train"]
    watched = next((arrays[name] for name in ("eval", "watched", "test") if name in arrays), None)
    fit = partial(
        model.fit, X, y, options.epochs or EPOCHS, options.batch_size, validation_data=watched,
        class_weight="balanced" if options.balanced else None, patience=options.early_stopping,
        metric=None if options.metric == "loss" else options.metric, progress=not options.quiet,
        monitor=options.report is not None,
    )  # fmt: skip
    return fit_and_save(fit, table, options, together)
