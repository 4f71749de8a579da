"""One epoch of training through the same call, for every backend and for scikit-learn, in float32."""

import warnings
from typing import NamedTuple

import numpy as np
import pytest
from sklearn import neural_network

import fastmlp
from fastmlp import backends


class Work(NamedTuple):
    """Layer sizes, rows of a batch, rows of the data, activation, kind of task and solver."""

    sizes: tuple
    batch: int
    rows: int
    activation: str = "relu"
    kind: str = "MLPClassifier"
    solver: str = "adam"


WORKS = {
    "iris-online 4-16-3, batch 1, SGD": Work((4, 16, 3), 1, 1024, "tanh", solver="sgd"),
    "tiny 8-64-64-1, batch 32": Work((8, 64, 64, 1), 32, 16384, "tanh", "MLPRegressor"),
    "tabular 32-128-128-10, batch 256": Work((32, 128, 128, 10), 256, 32768),
    "mnist 784-128-10, batch 32": Work((784, 128, 10), 32, 8192),
    "mnist 784-128-10, batch 128": Work((784, 128, 10), 128, 16384),
    "deep 784-512-512-10, batch 256": Work((784, 512, 512, 10), 256, 8192),
}
PEERS = (*backends.MODULES, "scikit-learn")


def data(work):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((work.rows, work.sizes[0])).astype("f4")
    if work.kind == "MLPRegressor":
        return X, rng.standard_normal(work.rows).astype("f4")
    return X, rng.randint(work.sizes[-1], size=work.rows)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", WORKS)
def bench_epoch(benchmark, name, peer):
    """fit() for one epoch from the weights of the last, checks of the input included."""
    work = WORKS[name]
    X, y = data(work)
    package, own = (neural_network, {}) if peer == "scikit-learn" else (fastmlp, {"backend": peer})
    model = getattr(package, work.kind)(
        hidden_layer_sizes=work.sizes[1:-1], activation=work.activation, solver=work.solver, batch_size=work.batch,
        max_iter=1, warm_start=True, learning_rate_init=1e-3, random_state=0, **own,
    )  # fmt: skip
    benchmark.extra_info["rows"] = work.rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        benchmark.pedantic(model.fit, (X, y), rounds=9, warmup_rounds=1)
