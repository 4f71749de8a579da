"""Small random networks with rows to learn from, over the tables of activations and losses."""

import numpy as np

from fastmlp.kernels.network import Network, aligned_zeros
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES

COMPILED = ("cython", "numba")
DTYPES = ("float32", "float64")

# Every loss with every output activation it can have.
OUTPUTS = [
    (loss, activation)
    for loss, row in LOSSES.items()
    for activation in ([row.link] if row.link else ACTIVATIONS)
]  # fmt: skip
HIDDEN = [name for name, row in ACTIVATIONS.items() if not row.rowwise]


class Problem:
    """A network with random weights, and rows it could learn from."""

    def __init__(self, loss="squared_error", output="identity", hidden=("tanh",), sizes=(5, 7, 3), rows=40,
                 dtype="float64", seed=0):  # fmt: skip
        rng = np.random.RandomState(seed)
        self.network = Network(tuple(sizes), (*hidden, output), loss)
        self.parameters = aligned_zeros(self.network.n_parameters, dtype)
        self.parameters[:] = rng.uniform(-0.6, 0.6, self.parameters.size)
        self.X = rng.standard_normal((rows, sizes[0])).astype(dtype)
        self.y = targets(loss, rng, rows, sizes[-1]).astype(dtype)
        self.weight = rng.uniform(0.2, 2, rows).astype(dtype)
        self.order = rng.permutation(rows)


def targets(loss, rng, rows, columns):
    """Targets in the loss's own range."""
    if loss == "categorical_cross_entropy":
        return np.eye(columns)[rng.randint(columns, size=rows)]
    low, high = LOSSES[loss].targets
    if (low, high) == (0, 1):
        return rng.randint(2, size=(rows, columns)).astype(float)
    return np.clip(rng.standard_normal((rows, columns)) * 2, low, high)


def relative_error(found, expected):
    """Largest difference over the largest expected magnitude."""
    expected = np.asarray(expected, np.float64)
    return np.abs(np.asarray(found, np.float64) - expected).max() / max(np.abs(expected).max(), 1e-300)
