"""The command train."""

import os
import sys
import time

import click

from fastmlp.backends import registry
from fastmlp.kernels.device_errors import DeviceError
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS

from .common import EXIT_INTERRUPTED, Widths, as_json, check_output, echo_json, plain_messages

HIDDEN_ACTIVATIONS = [name for name, row in ACTIVATIONS.items() if not row.rowwise]
TEST_SHARE, WATCHED_SHARE = 0.2, 0.1


@click.command(
    epilog="Examples: fastmlp train digits; fastmlp train houses.csv --target price --hidden 64,64 "
    "--early-stopping 20 --report houses.html; fastmlp train old.parquet --target y --eval new.parquet --json"
)
@click.argument("source")
@click.option("--target", help="Column to predict; required for CSV and Parquet files.")
@click.option("--task", type=click.Choice(["auto", "classification", "regression"]), default="auto", show_default=True,
              help="Kind of target; auto decides by the values of the target column.")  # fmt: skip
@click.option(
    "--hidden", type=Widths(), default="100", show_default=True, help="Widths of the hidden layers, for example 64,32."
)
@click.option("--activation", type=click.Choice(HIDDEN_ACTIVATIONS), default="relu", show_default=True,
              help="Activation of the hidden layers.")  # fmt: skip
@click.option("--optimizer", type=click.Choice([*OPTIMIZERS, "lbfgs"]), default="adam", show_default=True,
              help="Training algorithm.")  # fmt: skip
@click.option("--learning-rate", type=float, help="Learning rate.  [default: that of the optimizer]")
@click.option("--alpha", type=float, default=1e-4, show_default=True, help="L2 penalty.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True,
              help="Passes over the training data; iterations of lbfgs.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True,
              help="Samples per gradient step.")  # fmt: skip
@click.option("--balanced", is_flag=True, help="Weight classes inversely to their frequency.")
@click.option("--test-size", type=click.FloatRange(0, 1, max_open=True),
              help=f"Fraction of the rows held out for testing.  [default: {TEST_SHARE}, with --eval 0]")  # fmt: skip
@click.option("--eval", "eval_source", metavar="FILE", help="Validation data, scored after each epoch.")
@click.option("--early-stopping", type=click.IntRange(1), metavar="EPOCHS",
              help="Stop after this many epochs without improvement on the data of --eval, or on a tenth of the "
              "training rows, and keep the best weights.")  # fmt: skip
@click.option("--metric", type=click.Choice(["loss", "accuracy", "r2"]), default="loss", show_default=True,
              help="The score that --early-stopping uses.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of the random split, the initial weights and the order of the samples.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64", "bfloat16"]), default="float32", show_default=True,
              help="Precision of the computation.")  # fmt: skip
@click.option("--backend", type=click.Choice(registry.NAMES), default="auto", show_default=True,
              help="Compute backend.")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Drop a column; may be repeated.")
@click.option("--drop-missing", is_flag=True, help="Drop rows with missing or infinite values.")
@click.option("--out", type=click.Path(dir_okay=False), default="model.fastmlp", show_default=True,
              help="Save the model to this file.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False), help="Save a plot of the loss curves as this image file.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write a training report as this HTML file.")
@click.option("--compare", is_flag=True, help="Compare the training speed with the NumPy reference.")
@click.option("--quiet", is_flag=True, help="Do not show a progress bar.")
@as_json
def train(source, target, task, hidden, activation, optimizer, learning_rate, alpha, epochs, batch_size, balanced,
          test_size, eval_source, early_stopping, metric, seed, dtype, backend, ignore, drop_missing, out, plot, report,
          compare, quiet, as_json):  # fmt: skip
    """Train on SOURCE: a CSV, Parquet or NPZ file (with X and y), or the name of a bundled data set.

    Bundled: digits, iris, wine, breast_cancer, diabetes. Numeric columns are standardised, string columns one-hot
    encoded. The model is saved with its columns, for 'fastmlp predict'. Ctrl-C stops training and saves the model.
    """
    say = (lambda *given: None) if as_json else click.echo
    with plain_messages():
        from .table_model import TableModel

        check_outputs(out, plot, report, [path for path in (source, eval_source) if path])
        if metric != "loss" and early_stopping is None:
            raise click.UsageError("--metric needs --early-stopping, which uses it.")
        frame, target = table_of(source, target, ignore, drop_missing)
        table = TableModel.create(
            frame, target, task=task, hidden=hidden, activation=activation,
            optimizer=chosen_optimizer(optimizer, learning_rate), alpha=alpha, dtype=dtype, backend=backend,
            random_state=seed,
        )  # fmt: skip
        if balanced and table.classes is None:
            raise click.UsageError("--balanced is only for classification, but the target is numeric.")
        eval_frame = None
        if eval_source is not None:
            eval_frame = rows_to_watch(eval_source, table, list(frame.columns), drop_missing)
        if test_size is None:
            test_size = TEST_SHARE if eval_frame is None else 0
        parts = split(frame, eval_frame, test_size, early_stopping is not None, seed)
        arrays = {name: table.arrays(part) for name, part in parts.items()}
        X, y = arrays.pop("train")
        watched = arrays.get("eval", arrays.get("watched", arrays.get("test")))
        model = table.model
        others = "".join(f", {len(rows):,} for {PURPOSES[name]}" for name, (rows, _) in arrays.items())
        say(f"{len(X):,} rows for training{others}; {table.encoder.n_outputs} inputs")
        say(f"backend {model.backend}: {model.backend_reason_}")

        start = time.perf_counter()
        try:
            model.fit(
                X, y, epochs, batch_size, validation_data=watched, class_weight="balanced" if balanced else None,
                patience=early_stopping, metric=None if metric == "loss" else metric, progress=not quiet,
                monitor=report is not None,
            )  # fmt: skip
        except DeviceError:
            table.save(out)
            click.echo(f"model of epoch {model.epoch} saved in {out}", err=True)
            raise
        seconds = time.perf_counter() - start
        table.save(out)  # before results are printed: a pipe may be closed

        found = {
            "model": out, "rows": {"train": len(X)} | {name: len(rows) for name, (rows, _) in arrays.items()},
            "inputs": table.encoder.n_outputs, "target": target,
            "task": "regression" if table.classes is None else "classification", "backend": model.backend,
            "epochs": model.epoch, "best_epoch": model.best_epoch,
            "seconds": seconds, "interrupted": model.interrupted,
            "scores": {name: model.evaluate(*rows) for name, rows in arrays.items()},
            "samples_per_second": speeds(model, X, y, batch_size) if compare else None,
        }  # fmt: skip
        if as_json:
            echo_json(found)
        else:
            print_results(found)
        if plot and model.history["loss"]:
            from fastmlp.inspection.plots import plot_history

            plot_history(model.history, plot)
            say(f"loss plot in {plot}")
        if report:
            from fastmlp.inspection.report import training_report

            part = next(name for name in ("test", "eval", "watched", "train") if name in parts)
            rows = parts[part]
            training_report(
                report, model, rows[target].to_numpy(), table.predict(rows),
                title=f"{target} of {source}: {len(rows):,} rows for {PURPOSES[part]}", seconds=seconds,
                speeds=found["samples_per_second"],
            )  # fmt: skip
            say(f"report in {report}")
    if model.interrupted:
        sys.exit(EXIT_INTERRUPTED)


PURPOSES = {"eval": "validation", "watched": "validation", "test": "testing", "train": "training"}


def check_outputs(out, plot, report, inputs):
    """Check before training that all outputs can be written."""
    outputs = [path for path in (out, plot, report) if path]
    for path in outputs:
        check_output(path, *inputs)
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


def rows_to_watch(source, table, columns, drop_missing):
    """The validation data of --eval, with the columns of the model."""
    from .tables import check_present, drop_incomplete, read_table

    frame = read_table(source, table.target, texts=table.texts)[0]
    check_present(frame, columns)
    return drop_incomplete(frame[columns]) if drop_missing else frame[columns]


def table_of(source, target, ignore, drop_missing):
    """(frame, target) without ignored columns and, if asked, incomplete rows."""
    from .tables import check_present, drop_incomplete, read_table

    frame, target = read_table(source, target)
    if target is None:
        raise click.UsageError(f"--target is required: one of {', '.join(map(str, frame.columns))}.")
    check_present(frame, ignore)
    frame = frame.drop(columns=list(ignore))
    return (drop_incomplete(frame) if drop_missing else frame), target


def chosen_optimizer(name, learning_rate):
    from fastmlp.model.optimizers import make_optimizer

    if name != "lbfgs":
        return make_optimizer(name, learning_rate)
    if learning_rate is not None:
        raise click.UsageError("--learning-rate cannot be used with lbfgs, which chooses its steps by line search.")
    return name


def split(frame, eval_frame, test_size, watches, seed):
    """{part: frame} with 'train', and optionally 'eval' (given), 'watched' (split off to stop early) and 'test'."""
    from sklearn.model_selection import train_test_split

    parts = {} if eval_frame is None else {"eval": eval_frame}
    if test_size:
        frame, parts["test"] = train_test_split(frame, test_size=test_size, random_state=seed)
    if watches and eval_frame is None:
        frame, parts["watched"] = train_test_split(frame, test_size=WATCHED_SHARE, random_state=seed)
    return {"train": frame} | parts


def speeds(model, X, y, batch_size):
    """{backend: samples per second} for the model's backend and the NumPy reference, or None if not measurable."""
    from fastmlp.training.outcomes import Diverged

    from .speed import samples_per_second

    if model.optimizer == "lbfgs" or model.interrupted:
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
