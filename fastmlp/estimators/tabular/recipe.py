"""The training recipe of the table estimators.

It follows RealMLP (Holzmueller, Grinsztajn & Steinwart 2024, "Better by default") where that proved useful on tables;
``make bench-tables`` measures it. Weights are normal with the standard deviation 1 / sqrt(fan_in) and have
learning rates in proportion to it, biases are standard normal, and the rate passes through four waves.
"""

from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np

from fastmlp.model.inputs import Embedding, OneHot, Periodic, Plain, inputs_of
from fastmlp.model.layer import Layer
from fastmlp.model.losses import make_loss
from fastmlp.model.mlp import MLP
from fastmlp.model.optimizers import make_optimizer
from fastmlp.tables.kinds import CODES, Encoded
from fastmlp.training.schedules import make_schedule
from fastmlp.typing import LossSpec

ROWS_FOR_DETAIL = 2000  # smaller tables have neither periodic inputs nor trained factors of the inputs
QUANTILES_FOR_DETAIL = 100  # columns with fewer different quantiles have no periodic inputs
PERIODIC = Periodic(16, 3, std=0.3, rate=0.1)
INPUT_SCALE = 6.0
ONE_HOT_VALUES = 32  # columns with more categories have embeddings
EMBEDDING_SIZE = 8
DROPOUT = 0.15
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
SCHEDULE = "cosine_log"  # of the learning rate
BIAS_STD = 1.0  # of the initial biases
BATCH_SIZE = 256


class Kind(NamedTuple):
    """What depends on the kind of targets; ``output`` is the activation of the output layer."""

    activation: str
    learning_rate: float
    output: str


CLASSES = Kind("selu", 0.08, "softmax")
NUMBERS = Kind("silu", 0.2, "identity")


def inputs_for(encoded, n_rows):
    """The ``inputs`` of an MLP for the columns of a TableEncoder and a number of rows."""
    return [_input_for(column, n_rows) for column in encoded]


def _input_for(column, n_rows):
    if column.kind == CODES:
        few = column.n_values <= ONE_HOT_VALUES
        return OneHot(column.n_values) if few else Embedding(column.n_values, EMBEDDING_SIZE)
    detailed = n_rows >= ROWS_FOR_DETAIL and (column.n_values or 0) > QUANTILES_FOR_DETAIL
    return PERIODIC if detailed else Plain()


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
    """

    encoded: list[Encoded]
    kind: Kind
    loss: LossSpec
    hidden: list[int]
    n_outputs: int
    n_rows: int
    n_jobs: int | None


def new_member(task, n_epochs, seed):
    """An untrained MLP whose learning rate follows a number of epochs."""
    kind, inputs = task.kind, inputs_for(task.encoded, task.n_rows)
    sizes = [inputs_of(inputs, None, len(inputs)).width, *task.hidden, task.n_outputs]
    layers = [Layer(units, kind.activation, dropout=DROPOUT) for units in task.hidden]
    rng = np.random.RandomState(seed)
    init = [
        (rng.normal(0, 1 / sqrt(fan_in), (fan_in, fan_out)), rng.normal(0, BIAS_STD, fan_out))
        for fan_in, fan_out in pairwise(sizes)
    ]
    optimizer = make_optimizer(
        "adamw", kind.learning_rate, beta_2=0.95, weight_decay=WEIGHT_DECAY * sqrt(sizes[1]),
        layer_rates=[1 / sqrt(fan_in) for fan_in in sizes[:-1]],
        schedule=make_schedule(SCHEDULE, epochs=n_epochs),
    )  # fmt: skip
    return MLP(
        [*layers, Layer(task.n_outputs, kind.output)], task.loss, optimizer, init=init, random_state=seed,
        n_jobs=task.n_jobs, inputs=inputs, input_scale=INPUT_SCALE if task.n_rows >= ROWS_FOR_DETAIL else None,
    )  # fmt: skip


def class_loss():
    """Cross-entropy with smoothed labels."""
    return make_loss("categorical_cross_entropy", label_smoothing=LABEL_SMOOTHING)
