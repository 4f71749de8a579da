"""The work that is timed: networks, batch sizes and data, the same for fastmlp and for its peers."""

from typing import NamedTuple

import numpy as np


class Work(NamedTuple):
    """Layer sizes, rows of a batch, rows of the data, hidden activation, kind of task, solver, and goals.

    Goals for highest precision: ``over_peers`` times the speed of the best float32 peer, and ``of_limit`` of the
    machine's matrix rate. For high: ``high_over_peers`` times the best float32 peer; for medium: ``medium_over_peers``
    times the best peer in any precision.
    """

    sizes: tuple
    batch: int
    rows: int
    activation: str = "relu"
    task: str = "classes"
    solver: str = "adam"
    over_peers: float = 0
    of_limit: float = 0
    high_over_peers: float = 0
    medium_over_peers: float = 0

    @property
    def flops(self):
        """Of one row's step: products of the forward pass, the deltas and the gradients."""
        products = [fan_in * fan_out for fan_in, fan_out in zip(self.sizes, self.sizes[1:])]
        return 6 * sum(products) - 2 * products[0]


WORKS = {
    "iris-online 4-16-3, batch 1, SGD": Work((4, 16, 3), 1, 4096, "tanh", solver="sgd", over_peers=10),
    "tiny 8-64-64-1, batch 32": Work(
        (8, 64, 64, 1), 32, 16384, "tanh", "values", over_peers=3.5, of_limit=0.45, high_over_peers=4,
        medium_over_peers=5,
    ),
    "tabular 32-128-128-2, batch 256": Work(
        (32, 128, 128, 2), 256, 65536, over_peers=2.7, of_limit=0.82, high_over_peers=5, medium_over_peers=9
    ),
    "mnist 784-128-10, batch 32": Work(
        (784, 128, 10), 32, 16384, over_peers=2.0, of_limit=0.72, high_over_peers=2.2, medium_over_peers=3.0
    ),
    "mnist 784-128-10, batch 128": Work(
        (784, 128, 10), 128, 32768, over_peers=1.7, of_limit=0.82, high_over_peers=2.3, medium_over_peers=4.0
    ),
    "deep 784-512-512-10, batch 256": Work(
        (784, 512, 512, 10), 256, 16384, over_peers=1.2, of_limit=0.92, high_over_peers=2.4, medium_over_peers=4.5
    ),
    "wide 1024-2048-2048-1000, batch 1024": Work(
        (1024, 2048, 2048, 1000), 1024, 4096, over_peers=1.05, of_limit=0.94, high_over_peers=1.7,
        medium_over_peers=2.0,
    ),
}  # fmt: skip
# To predict with; for these the peer is ONNX Runtime, which has float32 alone.
NETWORKS = {
    "8-64-64-1": Work((8, 64, 64, 1), 1, 100_000, "tanh", "values"),
    "784-128-10": Work((784, 128, 10), 1, 20_000, "relu", "values", over_peers=1.3),
    "784-512-512-10": Work((784, 512, 512, 10), 1, 20_000, "relu", "values", medium_over_peers=3.0),
}


def data(work):
    """(X, y): float32 rows, and class numbers or float32 values."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((work.rows, work.sizes[0])).astype("f4")
    if work.task == "values":
        return X, rng.standard_normal((work.rows, work.sizes[-1])).astype("f4")
    y = rng.randint(work.sizes[-1], size=work.rows)
    y[: work.sizes[-1]] = range(work.sizes[-1])  # scikit-learn must see each class
    return X, y
