"""The command train: its options. The work is in training_run.py."""

import sys
from types import SimpleNamespace

import click
from click.core import ParameterSource

from fastmlp.backends import registry
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.kernels.spec import PRECISIONS
from fastmlp.training.full_batch import FULL_BATCH

from .common import EXIT_INTERRUPTED, TEST_SHARE, Widths, as_json, encoding, plain_messages
from .ranks import of_all_ranks

HIDDEN_ACTIVATIONS = [name for name, row in ACTIVATIONS.items() if not row.rowwise]
# Options of one of the two kinds of models. One of the first selects a plain network.
PLAIN = (
    "activation", "optimizer", "learning_rate", "alpha", "batch_size", "early_stopping", "metric", "dtype", "backend",
    "stream", "shuffle_blocks",
)  # fmt: skip
TABULAR = "members", "folds", "time_limit"


def kind_of_model(context):
    """Whether a plain network is to be trained; UsageError for options that exclude each other."""
    given = [name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    plain = [name for name in given if name in ("plain", *PLAIN)]
    tabular = [name for name in given if name in TABULAR]
    if plain and tabular:
        one, other = (f"--{names[0].replace('_', '-')}" for names in (tabular, plain))
        raise click.UsageError(f"{one} is not for a plain network, which {other} selects: give one of them.")
    return bool(plain)


@click.command(
    epilog="Examples: fastmlp train digits; fastmlp train houses.csv --target price --members 5 --report houses.html; "
    "fastmlp train old.parquet --target y --folds 5 --json; fastmlp train houses.csv --target price --hidden 64,64 "
    "--early-stopping 20"
)
@click.argument("source")
@click.option("--target", help="Column to predict; required for CSV and Parquet files.")
@click.option("--task", type=click.Choice(["auto", "classification", "regression"]), default="auto", show_default=True,
              help="Kind of target; auto decides by the values of the target column.")  # fmt: skip
@click.option("--members", type=click.IntRange(1),
              help="Networks whose predictions are averaged; 5 usually predict better.  [default: 1]")  # fmt: skip
@click.option("--folds", type=click.IntRange(2),
              help="Train members for each of so many folds, and score them on the rows that they were not trained on; "
              "no other rows are held out.")  # fmt: skip
@click.option("--time-limit", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Choose the numbers of epochs and members so that training takes no longer.")  # fmt: skip
@click.option("--hidden", type=Widths(),
              help="Widths of the hidden layers, for example 64,32.  [default: 128,128,128; plain: 100]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1),
              help="Passes over the training data; iterations of lbfgs and lm.  "
              "[default: 200, or down to 100 if there are many rows; plain: 50]")  # fmt: skip
@click.option("--balanced", is_flag=True, help="Weight classes inversely to their frequency.")
@click.option("--test-size", type=click.FloatRange(0, 1, max_open=True),
              help="Fraction of the rows held out for testing.  "
              f"[default: {TEST_SHARE}; with --eval or --folds: 0]")  # fmt: skip
@click.option("--eval", "eval_source", metavar="FILE",
              help="Validation data, scored after each epoch: the best weights are kept (plain: with "
              "--early-stopping).")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of the random split, the initial weights and the order of the samples.")  # fmt: skip
@click.option("--matmul-precision", type=click.Choice(list(PRECISIONS)), default="highest", show_default=True,
              help="Precision of matrix products: medium rounds their factors to bfloat16, high to sums of two "
              "bfloat16.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Train a plain network; so does each option marked with 'plain:'.")
@click.option("--activation", type=click.Choice(HIDDEN_ACTIVATIONS), default="relu", show_default=True,
              help="plain: activation of the hidden layers.")  # fmt: skip
@click.option("--optimizer", type=click.Choice([*OPTIMIZERS, *FULL_BATCH]), default="adam", show_default=True,
              help="plain: training algorithm; lm is for regression and small networks.")  # fmt: skip
@click.option("--learning-rate", type=float, help="plain: learning rate.  [default: that of the optimizer]")
@click.option("--alpha", type=float, default=1e-4, show_default=True, help="plain: L2 penalty.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True,
              help="plain: samples per gradient step.")  # fmt: skip
@click.option("--early-stopping", type=click.IntRange(1), metavar="EPOCHS",
              help="plain: stop after this many epochs without improvement on the data of --eval, or on a tenth of the "
              "training rows, and keep the best weights.")  # fmt: skip
@click.option("--metric", type=click.Choice(["loss", "accuracy", "r2"]), default="loss", show_default=True,
              help="plain: the score that --early-stopping uses.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True,
              help="plain: precision of the computation; for bfloat16 see --matmul-precision.")  # fmt: skip
@click.option("--backend", type=click.Choice(registry.NAMES), default="auto", show_default=True,
              help="plain: compute backend.")  # fmt: skip
@click.option(
    "--stream",
    is_flag=True,
    help="plain: keep only a few row groups of the Parquet files in memory; test rows are drawn from each.",
)
@click.option("--shuffle-blocks", type=click.IntRange(1), default=1, show_default=True,
              help="plain: row groups whose rows --stream shuffles together; more for sorted files.")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Drop a column; may be repeated.")
@click.option("--text", multiple=True, metavar="COLUMN",
              help="Read a column as strings, for example codes such as 01; may be repeated.")  # fmt: skip
@click.option("--missing", multiple=True, metavar="STRING",
              help="Read this string as a missing value in all columns, here and in 'predict'; may be repeated. "
              "By default only empty fields, and in columns of numbers words such as '?', 'NA' and 'unknown', are "
              "missing.")  # fmt: skip
@encoding
@click.option("--drop-missing", is_flag=True,
              help="Drop rows with missing or infinite values. Only plain networks need this.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False), default="model.fastmlp", show_default=True,
              help="Save the model to this file.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False), help="Save a plot of the loss curves as this image file.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write a training report as this HTML file.")
@click.option("--compare", is_flag=True, help="Compare the training speed with the NumPy reference.")
@click.option("--quiet", is_flag=True, help="Do not show a progress bar.")
@click.option("--mpi", is_flag=True,
              help="Train by all processes that mpiexec started: 'mpiexec -n 4 fastmlp train ... --mpi'.")  # fmt: skip
@as_json
@click.pass_context
def train(context, **options):
    """Train on SOURCE: a CSV file, perhaps compressed (.gz, .bz2, .xz, .zip), a Parquet or NPZ file (with X and y), a
    folder or pattern of Parquet files, or the name of a bundled data set: digits, iris, wine, breast_cancer, diabetes.

    Trains fastmlp.TabularMLPClassifier or TabularMLPRegressor: numbers, strings, dates and missing values need no
    preparation. --plain, and every option marked with 'plain:', trains a plain network instead: numeric columns are
    standardised, string columns one-hot encoded, and missing values are an error.

    The model is saved with its columns, for 'fastmlp predict'. Ctrl-C stops training and saves the model.
    """
    options["plain"] = kind_of_model(context)
    with plain_messages(), of_all_ranks(options.pop("mpi")) as fit:
        from .training_run import run

        interrupted = run(SimpleNamespace(**options), fit)
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
