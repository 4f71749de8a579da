"""Small random networks with data, and grids over the tables of activations, losses and optimizers."""

import math
import random
from itertools import combinations, product

import numpy as np
import pytest

from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.kernels.spec import Batches, Network, aligned_zeros

COMPILED = ("cython", "numba")
DTYPES = ("float32", "float64")

# Every loss with every output activation it can have.
OUTPUTS = [
    (loss, activation)
    for loss, row in LOSSES.items()
    for activation in ([row.link] if row.link else ACTIVATIONS)
]  # fmt: skip
HIDDEN = [name for name, row in ACTIVATIONS.items() if not row.rowwise]


def covering(rows, n):
    """A small subset of the rows that contains every combination of n values in any columns; sorted."""
    flat = [tuple(enumerate(row)) for row in rows]
    random.Random(0).shuffle(flat)
    chosen, covered = [], set()
    for least in range(math.comb(len(flat[0]), n), 0, -1):
        for row in flat:
            fresh = set(combinations(row, n)) - covered
            if len(fresh) >= least:
                chosen.append(tuple(value for _, value in row))
                covered |= fresh
    return sorted(chosen)


def grid(*factors, n=1):
    """Parameters for every row of a grid; all but a small covering subset are marked exhaustive.

    ``factors``: one list of rows, or lists of values for each of which the grid has a column.
    """
    rows = list(factors[0] if len(factors) == 1 else product(*factors))
    quick = set(covering(rows, n))
    return [pytest.param(*row, marks=() if row in quick else pytest.mark.exhaustive) for row in rows]


def quick_first(values, n=1):
    """Parameters; all but the first n are marked exhaustive."""
    return [pytest.param(value, marks=pytest.mark.exhaustive if i >= n else ()) for i, value in enumerate(values)]


# (hidden activation, loss, output activation, optimizer): every valid pair of names.
COMBINATIONS = covering([(h, *output, o) for h, output, o in product(HIDDEN, OUTPUTS, OPTIMIZERS)], 2)


class Problem:
    """A network with random weights, inputs, targets and sample weights."""

    def __init__(self, loss="squared_error", output="identity", hidden=("tanh",), sizes=(5, 7, 3), rows=40,
                 dtype="float64", seed=0, skips=()):  # fmt: skip
        rng = np.random.RandomState(seed)
        options = tuple(value or 0.2 for _, value in LOSSES[loss].options) if isinstance(loss, str) else ()
        self.network = Network(tuple(sizes), (*hidden, output), loss, options, tuple(skips))
        self.parameters = aligned_zeros(self.network.n_parameters, dtype)
        self.parameters[:] = rng.uniform(-0.6, 0.6, self.parameters.size)
        self.X = rng.standard_normal((rows, sizes[0])).astype(dtype)
        self.y = targets(loss, rng, rows, sizes[-1]).astype(dtype)
        self.weight = rng.uniform(0.2, 2, rows).astype(dtype)
        self.order = rng.permutation(rows)

    def batches(self, size, sample_weight=None, order=None):
        """The samples as Batches, in this or another order."""
        return Batches(self.X, self.y, self.order if order is None else order, size, sample_weight)


def targets(loss, rng, rows, columns):
    """Targets in the range of the loss."""
    if loss == "categorical_cross_entropy":
        return np.eye(columns)[rng.randint(columns, size=rows)]
    low, high = LOSSES[loss].targets if isinstance(loss, str) else (-np.inf, np.inf)
    if (low, high) == (0, 1):
        return rng.randint(2, size=(rows, columns)).astype(float)
    return np.clip(rng.standard_normal((rows, columns)) * 2, low, high)


def relative_error(found, expected):
    """Largest difference over the largest expected magnitude."""
    expected = np.asarray(expected, np.float64)
    return np.abs(np.asarray(found, np.float64) - expected).max() / max(np.abs(expected).max(), 1e-300)
