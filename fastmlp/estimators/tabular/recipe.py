"""The training recipe of the table estimators.

It follows RealMLP (Holzmueller, Grinsztajn & Steinwart 2024, "Better by default") where that proved useful on tables;
``make bench-tables`` measures it. Weights are normal with the standard deviation 1 / sqrt(fan_in) and have
learning rates in proportion to it, biases are standard normal, and the rate passes through four waves.
"""

from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np

from fastmlp.model.inputs import Embedding, OneHot, Periodic, PiecewiseLinear, Plain, inputs_of
from fastmlp.model.layer import Layer
from fastmlp.model.losses import make_loss
from fastmlp.model.mlp import MLP
from fastmlp.model.optimizers import make_optimizer
from fastmlp.tables.kinds import CODES, NUMBER, Encoded
from fastmlp.training.schedules import make_schedule
from fastmlp.typing import LossSpec, MatmulPrecision

ROWS_FOR_DETAIL = 2000  # smaller tables have neither periodic inputs nor trained factors of the inputs
QUANTILES_FOR_DETAIL = 100  # columns with fewer different quantiles have no periodic inputs
PERIODIC = Periodic(16, 3, std=0.3, rate=0.1)
INPUT_SCALE = 6.0
ONE_HOT_VALUES = 32  # columns with more categories have embeddings
EMBEDDING_SIZE = 8
N_BINS = 32  # of a column of numbers that is coded piecewise linearly
MOST_BINS = 1000  # of all columns
FEWEST_BINS = 4
EDGE_DECIMALS = 30
LABEL_SMOOTHING = 0.1
SCHEDULE = "cosine_log"  # of the learning rate
BIAS_STD = 1.0  # of the initial biases
ROWS_FOR_LARGE_BATCHES = 4000
BATCH_SIZES = 128, 256
EPOCHS_TIMES_ROWS = 400_000  # within the least and the most epochs
EPOCHS = 100, 200


class Variant(NamedTuple):
    """What differs between tables: whether numbers are coded piecewise linearly, and the strength of regularisation."""

    binned: bool
    dropout: float
    weight_decay: float


VARIANTS = Variant(False, 0.15, 0.02), Variant(False, 0.3, 0.06), Variant(True, 0.15, 0.02), Variant(True, 0.3, 0.06)


class Kind(NamedTuple):
    """What depends on the kind of targets; ``output`` is the activation of the output layer."""

    activation: str
    learning_rate: float
    output: str


CLASSES = Kind("selu", 0.08, "softmax")
NUMBERS = Kind("silu", 0.2, "identity")


def epochs_for(n_rows):
    """The number of epochs for a number of rows."""
    return int(np.clip(EPOCHS_TIMES_ROWS // n_rows, *EPOCHS))


def batch_size_for(n_rows):
    """The batch size for a number of rows."""
    return BATCH_SIZES[n_rows >= ROWS_FOR_LARGE_BATCHES]


def variants_for(encoded):
    """The Variants that differ for the columns of a TableEncoder."""
    with_bins = _n_bins(encoded) >= FEWEST_BINS
    return [variant for variant in VARIANTS if with_bins or not variant.binned]


def inputs_for(encoded, n_rows, binned):
    """The ``inputs`` of an MLP for the columns of a TableEncoder and a number of rows.

    Numbers are coded piecewise linearly if ``binned``.
    """
    n_bins = _n_bins(encoded) if binned else 0
    return [_input_for(column, n_rows, n_bins) for column in encoded]


def _has_bins(column):
    return column.kind == NUMBER and len(column.quantiles) > 2


def _n_bins(encoded):
    """Bins of a column of numbers; 0 if none has bins."""
    n_columns = sum(map(_has_bins, encoded))
    return min(N_BINS, MOST_BINS // n_columns) if n_columns else 0


def _input_for(column, n_rows, n_bins):
    if column.kind == CODES:
        few = column.n_values <= ONE_HOT_VALUES
        return OneHot(column.n_values) if few else Embedding(column.n_values, EMBEDDING_SIZE)
    if n_bins and _has_bins(column):
        return PiecewiseLinear(_edges(column.quantiles, n_bins))
    detailed = n_rows >= ROWS_FOR_DETAIL and len(column.quantiles) > QUANTILES_FOR_DETAIL
    return PERIODIC if detailed else Plain()


def _edges(quantiles, n_bins):
    """Edges of at most ``n_bins`` bins from the quantiles, which differ as float32 too.

    They are rounded, because compiled code takes denormal numbers as 0, but exported models do not.
    """
    places = np.linspace(0, len(quantiles) - 1, min(len(quantiles), n_bins + 1)).round().astype(int)
    return np.unique(np.float32(np.round(quantiles, EDGE_DECIMALS))[places])


class Task(NamedTuple):
    """What all members of a fit have in common.

    Attributes
    ----------
    encoded : list of Encoded
        The columns of the matrix.
    kind : Kind
    loss : str or result of make_loss
    hidden : list of int
        Units of the hidden layers.
    n_outputs, n_rows, n_jobs : int
        Outputs, rows to train on, and threads of one member (``n_jobs`` may be None).
    matmul_precision : str
    """

    encoded: list[Encoded]
    kind: Kind
    loss: LossSpec
    hidden: list[int]
    n_outputs: int
    n_rows: int
    n_jobs: int | None
    matmul_precision: MatmulPrecision


def new_member(task, variant, n_epochs, seed):
    """An untrained MLP whose learning rate follows a number of epochs."""
    kind, inputs = task.kind, inputs_for(task.encoded, task.n_rows, variant.binned)
    sizes = [inputs_of(inputs, None, len(inputs)).width, *task.hidden, task.n_outputs]
    layers = [Layer(units, kind.activation, dropout=variant.dropout) for units in task.hidden]
    rng = np.random.RandomState(seed)
    init = [
        (rng.normal(0, 1 / sqrt(fan_in), (fan_in, fan_out)), rng.normal(0, BIAS_STD, fan_out))
        for fan_in, fan_out in pairwise(sizes)
    ]
    optimizer = make_optimizer(
        "adamw", kind.learning_rate, beta_2=0.95, weight_decay=variant.weight_decay * sqrt(sizes[1]),
        layer_rates=[1 / sqrt(fan_in) for fan_in in sizes[:-1]],
        schedule=make_schedule(SCHEDULE, epochs=n_epochs),
    )  # fmt: skip
    return MLP(
        [*layers, Layer(task.n_outputs, kind.output)], task.loss, optimizer, init=init, random_state=seed,
        n_jobs=task.n_jobs, matmul_precision=task.matmul_precision, inputs=inputs,
        input_scale=INPUT_SCALE if task.n_rows >= ROWS_FOR_DETAIL else None,
    )  # fmt: skip


def class_loss():
    """Cross-entropy with smoothed labels."""
    return make_loss("categorical_cross_entropy", label_smoothing=LABEL_SMOOTHING)
