"""The command ``fastmlp``: train on a table, predict, score and export with a saved model, see which backends work."""

import json
import math
import os
import sys
import time
import warnings
from contextlib import contextmanager

import click

from fastmlp import __version__
from fastmlp.kernels.device_errors import DeviceError
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS

from . import backends, cost_model
from .saving import check_destination

HIDDEN_ACTIVATIONS = [name for name, row in ACTIVATIONS.items() if not row.rowwise]
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


class Widths(click.ParamType):
    """Comma-separated widths of the hidden layers; '' for none."""

    name = "widths"

    def convert(self, value, param, ctx):
        try:
            widths = [int(part) for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is not a list of widths like 100 or 64,32")
        if any(width < 1 for width in widths):
            self.fail("widths must be at least 1")
        return widths


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main():
    """Train and run multilayer perceptrons, fast."""


@main.command(epilog="Examples: fastmlp train digits; fastmlp train houses.csv --target price --hidden 64,64")
@click.argument("source")
@click.option("--target", help="Column to predict. Needed for CSV files.")
@click.option("--task", type=click.Choice(["auto", "classification", "regression"]), default="auto", show_default=True)
@click.option("--hidden", type=Widths(), default="100", show_default=True, help="Widths of the hidden layers: 64,32.")
@click.option("--activation", type=click.Choice(HIDDEN_ACTIVATIONS), default="relu", show_default=True)
@click.option("--optimizer", type=click.Choice([*OPTIMIZERS, "lbfgs"]), default="adam", show_default=True)
@click.option("--learning-rate", type=float, help="Step size; the optimizer's own default otherwise.")
@click.option("--alpha", type=float, default=1e-4, show_default=True, help="L2 penalty.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--test-size", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.2, show_default=True,
              help="Share of the rows held out for the score.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float64", "bfloat16"]), default="float32", show_default=True)
@click.option("--backend", type=click.Choice(backends.NAMES), default="auto", show_default=True)
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Leave a column out; may be repeated.")
@click.option("--drop-missing", is_flag=True, help="Leave out rows with missing values.")
@click.option("--out", type=click.Path(dir_okay=False), default="model.fastmlp", show_default=True)
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the loss curves into this image file.")
@click.option("--compare", is_flag=True, help="Measure training speed beside the NumPy reference.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(source, target, task, hidden, activation, optimizer, learning_rate, alpha, epochs, batch_size, test_size,
          seed, dtype, backend, ignore, drop_missing, out, plot, compare, quiet):  # fmt: skip
    """Train on SOURCE: a CSV file, an NPZ file with X and y, or the name of a bundled data set.

    Bundled: digits, iris, wine, breast_cancer, diabetes. Numeric columns are standardised, texts become categories.
    The model is saved with its columns, for 'fastmlp predict'. Ctrl-C ends training early and saves what there is.
    """
    from sklearn.model_selection import train_test_split

    from .choices import make_optimizer
    from .speed import samples_per_second
    from .table_model import TableModel
    from .tables import check_present, drop_incomplete, read_table

    with plain_messages():
        for path in filter(None, (out, plot)):
            check_output(path, source)
        frame, target = read_table(source, target)
        if target is None:
            raise click.UsageError(f"--target is needed: one of {', '.join(map(str, frame.columns))}.")
        check_present(frame, ignore)
        frame = frame.drop(columns=list(ignore))
        if drop_missing:
            frame = drop_incomplete(frame)
        if optimizer == "lbfgs":
            if learning_rate is not None:
                raise click.UsageError("--learning-rate is not for lbfgs, which finds its steps by line search.")
        else:
            optimizer = make_optimizer(optimizer, learning_rate)
        table = TableModel.create(
            frame, target, task=task, hidden=hidden, activation=activation, optimizer=optimizer, alpha=alpha,
            dtype=dtype, backend=backend, random_state=seed,
        )  # fmt: skip
        rows = train_test_split(frame, test_size=test_size, random_state=seed)
        (X, y), held_out = map(table.arrays, rows)
        model = table.model
        click.echo(f"{len(X):,} rows to train on, {len(held_out[0]):,} held out; {table.encoder.n_outputs} inputs")
        click.echo(f"backend {model.backend}: {model.backend_reason_}")

        start = time.perf_counter()
        try:
            model.fit(X, y, epochs, batch_size, validation_data=held_out, progress=not quiet)
        except DeviceError:
            table.save(out)
            click.echo(f"model of epoch {model.epoch} saved in {out}", err=True)
            raise
        seconds = time.perf_counter() - start
        table.save(out)  # before the results are printed: the reader of a pipe may be gone

        click.echo(f"{model.epoch} epochs in {seconds:.2f} s")
        for name, value in model.evaluate(*held_out).items():
            click.echo(f"test {name} {value:.4f}")
        click.echo(f"model saved in {out}")
        if plot and model.history["loss"]:
            from .plots import plot_history

            plot_history(model.history, plot)
            click.echo(f"loss plot in {plot}")
        if compare and optimizer != "lbfgs" and not model.interrupted:
            rates = samples_per_second(model, X, y, [model.backend, "numpy"], batch_size)
            click.echo(
                f"training speed: {rates[model.backend]:,.0f} samples/s with {model.backend}, {rates['numpy']:,.0f} "
                f"with the NumPy reference: {rates[model.backend] / rates['numpy']:.1f} x"
            )
    if model.interrupted:
        sys.exit(INTERRUPTED)


@main.command(epilog="Example: fastmlp predict model.fastmlp new.csv --out predictions.csv")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("source")
@click.option("--proba", is_flag=True, help="Write the probability of each class instead of the label.")
@click.option("--out", type=click.Path(dir_okay=False), help="CSV file to write; stdout otherwise.")
def predict(model, source, proba, out):
    """Predict the rows of SOURCE (CSV, NPZ or a bundled data set) with a MODEL that 'fastmlp train' saved."""
    import pandas as pd

    from .table_model import TableModel
    from .tables import read_table

    with plain_messages():
        if out:
            check_output(out, source, model)
        table = TableModel.load(model)
        frame, _ = read_table(source, texts=table.encoder.texts)
        result = table.predict_proba(frame) if proba else pd.DataFrame({table.target: table.predict(frame)})
        result.to_csv(out if out else sys.stdout, index=False)


@main.command(epilog="Example: fastmlp evaluate model.fastmlp held_out.csv --json")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def evaluate(model, source, as_json):
    """Score a MODEL that 'fastmlp train' saved on the rows of SOURCE, which has the target's column too."""
    from .table_model import TableModel
    from .tables import read_table

    with plain_messages():
        table = TableModel.load(model)
        labels = table.classes is not None and table.classes.dtype.kind in "UO"
        texts = [*table.encoder.texts, *([table.target] if labels else [])]
        X, y = table.arrays(read_table(source, table.target, texts=texts)[0])
        scores = {"rows": len(X)} | table.model.evaluate(X, y)
        if as_json:
            finite = {name: value if math.isfinite(value) else None for name, value in scores.items()}
            click.echo(json.dumps(finite))
        else:
            for name, value in scores.items():
                click.echo(f"{name} {value:,}" if name == "rows" else f"{name} {value:.4f}")


EXPORTS = ".onnx", ".c", ".py"


@main.command(epilog="Examples: fastmlp export model.fastmlp model.onnx; fastmlp export model.fastmlp model.c --int8")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--name", help="What names in a file of C begin with, instead of 'model'.")
@click.option("--int8", is_flag=True, help="Weights of 8 bits in a file of C.")
def export(model, out, name, int8):
    """Write a MODEL as an ONNX graph (OUT ends in .onnx), one file of C99 (.c) or a module for NumPy alone (.py).

    Inputs of a model that 'fastmlp train' saved are its columns as they are in the table: the standardisation is in the
    weights. A column of texts becomes one of 0 and 1 for each of its values.
    """
    from .export_c import to_c
    from .export_numpy import to_numpy_source
    from .export_onnx import to_onnx
    from .saving import load

    with plain_messages():
        check_output(out, model)
        if not out.endswith(EXPORTS):
            raise click.UsageError(f"OUT must end in one of {', '.join(EXPORTS)}, got {out!r}.")
        if (int8 or name) and not out.endswith(".c"):
            raise click.UsageError("--int8 and --name are for files of C.")
        given = load(model)
        if out.endswith(".c"):
            to_c(given, out, name=name or "model", int8=int8)
        elif out.endswith(".py"):
            to_numpy_source(given, out)
        else:
            to_onnx(given, out)
    click.echo(f"{out} written")


@main.command()
def info():
    """Which backends work here, and why not; versions and threads."""
    from importlib.metadata import version
    from platform import platform, python_version

    from threadpoolctl import threadpool_info

    chosen = backends.choose()
    click.echo(f"fastmlp {__version__}, Python {python_version()}, {platform()}")
    for package in ("numpy", "scipy", "scikit-learn", "numba"):
        click.echo(f"  {package} {version(package)}")
    for name in backends.MODULES:
        reason = backends.why_not(name)
        click.echo(f"backend {name}: {'works' if reason is None else 'does not work: ' + reason}")
    click.echo(f"backend auto takes {chosen.name}: {chosen.reason}")
    for library in threadpool_info():
        if library["user_api"] == "blas":
            click.echo(f"BLAS {library['internal_api']} {library['version']}: {library['num_threads']} threads")


@main.command()
def measure():
    """Measure a few networks on CPU and GPU, so that the backend 'auto' knows which to take."""
    from .speed import measure_gpu

    reason = backends.why_not("cuda")
    if reason is not None:
        raise click.ClickException(f"there is no GPU to measure: {reason}")
    with plain_messages():
        for name, cpu, gpu in measure_gpu():
            click.echo(f"{name}: {cpu * 1e6:.0f} us a step on the CPU, {gpu * 1e6:.0f} us on the GPU")
    click.echo(f"kept in {cost_model.FILE}")


def check_output(path, *inputs):
    """Refuse, before any work is done, to write where one cannot or over what is read."""
    check_destination(path)
    for source in inputs:
        if os.path.exists(source) and os.path.exists(path) and os.path.samefile(source, path):
            raise click.UsageError(f"{path} is read by this command, and would be overwritten.")


@contextmanager
def plain_messages():
    """Errors that a user can mend become one line on stderr and exit status 1; so does each warning, without exit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, TypeError, ImportError, MemoryError, OSError, DeviceError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error
        finally:
            for warning in caught:
                click.echo(f"warning: {warning.message}", err=True)
