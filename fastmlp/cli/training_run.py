"""The work of the command train: read the data, train a model, save it and show the results."""

import os
import time

import click
from sklearn.model_selection import train_test_split

from fastmlp.kernels.device_errors import DeviceError
from fastmlp.model.optimizers import make_optimizer
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.outcomes import Diverged

from .common import TEST_SHARE, check_output, echo_json
from .speed import samples_per_second
from .table_model import TableModel
from .tables import TableError, check_present, counted, drop_incomplete, incomplete, read_table, warn_of_names

WATCHED_SHARE = 0.1  # of the training rows, split off for --early-stopping without --eval
PURPOSES = {"eval": "validation", "watched": "validation", "test": "testing", "train": "training"}


def run(options):
    """Train by the options of the command. Returns whether Ctrl-C ended the training."""
    say = (lambda *given: None) if options.as_json else click.echo
    check_outputs(options.out, options.plot, options.report, [options.source, options.eval_source])
    if options.metric != "loss" and options.early_stopping is None:
        raise click.UsageError("--metric needs --early-stopping, which uses it.")
    source = table_of(options)
    table = new_model(source, options)
    parts = split(source.frame, table, options)
    arrays = {name: table.arrays(part) for name, part in parts.items()}
    say(description(table, arrays))
    seconds = fit(table, arrays, options)
    found = results(table, arrays, seconds, options)
    if options.as_json:
        echo_json(found)
    else:
        print_results(found)
    if options.plot and table.model.history["loss"]:
        from fastmlp.inspection.plots import plot_history

        plot_history(table.model.history, options.plot)
        say(f"loss plot in {options.plot}")
    if options.report:
        write_report(table, parts, found, options)
        say(f"report in {options.report}")
    return table.model.interrupted


def check_outputs(out, plot, report, inputs):
    """Check before training that all outputs can be written."""
    outputs = [path for path in (out, plot, report) if path]
    for path in outputs:
        check_output(path, *filter(None, inputs))
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise click.UsageError("--out, --plot and --report must be different files.")
    if plot or report:
        from fastmlp.inspection.plots import new_figure

        kinds = new_figure((1, 1)).canvas.get_supported_filetypes()
        if plot and os.path.splitext(plot)[1].lower()[1:] not in kinds:
            raise click.UsageError(f"--plot must end in one of {', '.join(f'.{kind}' for kind in kinds)}.")
    if report:
        from fastmlp.inspection.report import template

        template()


def table_of(options):
    """The Table of the source, without ignored columns and, with --drop-missing, incomplete rows."""
    table = read_table(
        options.source, options.target, encoding=options.encoding, missing=options.missing, texts=options.text,
        ignore=options.ignore,
    )  # fmt: skip
    frame = table.frame
    if table.target is None:
        raise click.UsageError(f"--target is required: one of {', '.join(map(str, frame.columns))}.")
    check_present(frame, options.text)
    warn_of_names(frame, table.target, options.task == "classification")
    return table._replace(frame=without_missing(frame, options.source)) if options.drop_missing else table


def without_missing(frame, source):
    """The complete rows of a table; how many were dropped, and why, is printed to stderr."""
    missing, complete = incomplete(frame), drop_incomplete(frame)
    if missing:
        dropped = len(frame) - len(complete)
        click.echo(
            f"{dropped:,} of {len(frame):,} rows of {source} dropped: missing or infinite values in "
            f"{counted(missing)}", err=True,
        )  # fmt: skip
    if not len(complete):
        raise TableError(f"every row of {source} has missing or infinite values.")
    return complete


def new_model(source, options):
    """An untrained TableModel."""
    table = TableModel.create(
        source.frame, source.target, task=options.task, hidden=options.hidden, activation=options.activation,
        optimizer=chosen_optimizer(options.optimizer, options.learning_rate), alpha=options.alpha,
        dtype=options.dtype, backend=options.backend, random_state=options.seed,
    )  # fmt: skip
    table.missing, table.decimal = options.missing, source.decimal
    if options.balanced and table.classes is None:
        raise click.UsageError("--balanced is only for classification, but the target is numeric.")
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


def eval_rows(table, columns, options):
    """The validation data of --eval, with the columns of the model."""
    frame = table.read(options.eval_source, options.encoding, with_target=True)
    check_present(frame, columns)
    return without_missing(frame[columns], options.eval_source) if options.drop_missing else frame[columns]


def description(table, arrays):
    """What will be trained on, and where."""
    n_rows = {name: len(X) for name, (X, _) in arrays.items()}
    others = "".join(f", {n:,} for {PURPOSES[name]}" for name, n in n_rows.items() if name != "train")
    return (
        f"{n_rows['train']:,} rows for training{others}; {table.encoder.n_outputs} inputs\n"
        f"backend {table.model.backend}: {table.model.backend_reason_}"
    )


def fit(table, arrays, options):
    """Train the model and save it, also if a GPU fails. Returns the seconds of training."""
    model, (X, y) = table.model, arrays["train"]
    watched = next((arrays[name] for name in ("eval", "watched", "test") if name in arrays), None)
    start = time.perf_counter()
    try:
        model.fit(
            X, y, options.epochs, options.batch_size, validation_data=watched,
            class_weight="balanced" if options.balanced else None, patience=options.early_stopping,
            metric=None if options.metric == "loss" else options.metric, progress=not options.quiet,
            monitor=options.report is not None,
        )  # fmt: skip
    except DeviceError:
        table.save(options.out)
        click.echo(f"model of epoch {model.epoch} saved in {options.out}", err=True)
        raise
    seconds = time.perf_counter() - start
    table.save(options.out)  # before results are printed: a pipe may be closed
    return seconds


def results(table, arrays, seconds, options):
    """What --json prints."""
    model = table.model
    return {
        "model": options.out, "rows": {name: len(X) for name, (X, _) in arrays.items()},
        "inputs": table.encoder.n_outputs, "target": table.target,
        "task": "regression" if table.classes is None else "classification", "backend": model.backend,
        "epochs": model.epoch, "best_epoch": model.best_epoch, "seconds": seconds, "interrupted": model.interrupted,
        "scores": {name: model.evaluate(*rows) for name, rows in arrays.items() if name != "train"},
        "samples_per_second": speeds(model, *arrays["train"], options.batch_size) if options.compare else None,
    }  # fmt: skip


def write_report(table, parts, found, options):
    """Write the report of --report, with the predictions of the first part there is."""
    from fastmlp.inspection.report import training_report

    part = next(name for name in ("test", "eval", "watched", "train") if name in parts)
    rows = parts[part]
    training_report(
        options.report, table.model, rows[table.target].to_numpy(), table.predict(rows),
        title=f"{table.target} of {options.source}: {len(rows):,} rows for {PURPOSES[part]}",
        seconds=found["seconds"], speeds=found["samples_per_second"],
    )  # fmt: skip


def speeds(model, X, y, batch_size):
    """{backend: samples per second} for the model's backend and the NumPy reference, or None if not measurable."""
    if is_full_batch(model.optimizer) or model.interrupted:
        return None
    try:
        return samples_per_second(model, X, y, list(dict.fromkeys([model.backend, "numpy"])), batch_size)
    except Diverged:
        return None


def print_results(found):
    """Print the results in readable form."""
    click.echo(f"{found['epochs']} epochs in {found['seconds']:.2f} s")
    if found["best_epoch"] is not None:
        click.echo(f"the weights are those of epoch {found['best_epoch']}")
    for part, scores in found["scores"].items():
        for name, value in scores.items():
            click.echo(f"{part} {name} {value:.4f}")
    click.echo(f"model saved in {found['model']}")
    rates = found["samples_per_second"]
    if rates is not None:
        own, reference = rates[found["backend"]], rates["numpy"]
        click.echo(
            f"training speed: {own:,.0f} samples/s with {found['backend']}, {reference:,.0f} with the NumPy reference: "
            f"{own / reference:.1f} x"
        )
