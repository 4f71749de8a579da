"""The command train: its options. The work is in training_run.py."""

import sys
from types import SimpleNamespace

import click

from fastmlp.backends import registry
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.training.full_batch import FULL_BATCH

from .common import EXIT_INTERRUPTED, TEST_SHARE, Widths, as_json, encoding, plain_messages

HIDDEN_ACTIVATIONS = [name for name, row in ACTIVATIONS.items() if not row.rowwise]


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
@click.option("--optimizer", type=click.Choice([*OPTIMIZERS, *FULL_BATCH]), default="adam", show_default=True,
              help="Training algorithm; lm is for regression and small networks.")  # fmt: skip
@click.option("--learning-rate", type=float, help="Learning rate.  [default: that of the optimizer]")
@click.option("--alpha", type=float, default=1e-4, show_default=True, help="L2 penalty.")
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True,
              help="Passes over the training data; iterations of lbfgs and lm.")  # fmt: skip
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
@click.option("--text", multiple=True, metavar="COLUMN",
              help="Read a column as strings, for example codes such as 01; may be repeated.")  # fmt: skip
@click.option("--missing", multiple=True, metavar="STRING",
              help="Read this string as a missing value in all columns, here and in 'predict'; may be repeated. "
              "By default only empty fields, and in columns of numbers words such as '?', 'NA' and 'unknown', are "
              "missing.")  # fmt: skip
@encoding
@click.option("--drop-missing", is_flag=True, help="Drop rows with missing or infinite values.")
@click.option("--out", type=click.Path(dir_okay=False), default="model.fastmlp", show_default=True,
              help="Save the model to this file.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False), help="Save a plot of the loss curves as this image file.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write a training report as this HTML file.")
@click.option("--compare", is_flag=True, help="Compare the training speed with the NumPy reference.")
@click.option("--quiet", is_flag=True, help="Do not show a progress bar.")
@as_json
def train(**options):
    """Train on SOURCE: a CSV file, perhaps compressed (.gz, .bz2, .xz, .zip), a Parquet or NPZ file (with X and y), or
    the name of a bundled data set.

    Bundled: digits, iris, wine, breast_cancer, diabetes. Numeric columns are standardised, string columns one-hot
    encoded. The model is saved with its columns, for 'fastmlp predict'. Ctrl-C stops training and saves the model.
    """
    with plain_messages():
        from .training_run import run

        interrupted = run(SimpleNamespace(**options))
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
