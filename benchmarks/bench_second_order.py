"""Levenberg-Marquardt beside L-BFGS: small regression networks with one hidden layer of tanh units, in float64.

Both train from the same initial weights, in turn: L-BFGS until it stops, then Levenberg-Marquardt until it has the loss
of L-BFGS, and again for its own final loss. kin8nm needs the folder that FASTMLP_DATA names (tabular/uci_kin8nm.parquet
in it). pyrenn, the Levenberg-Marquardt of another package, takes part in the smallest problem.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_friedman1, make_friedman2, make_friedman3

UNITS = {"sine": 10, "friedman1": 20, "friedman2": 20, "friedman3": 20, "kin8nm": 30}
FRIEDMAN = {"friedman1": (make_friedman1, 0.5), "friedman2": (make_friedman2, 50), "friedman3": (make_friedman3, 0.1)}
SEEDS = 0, 1, 2
ITERATIONS = {"lbfgs": 5000, "lm": 200}


def problem(name):
    """(X, y), standardised."""
    if name == "sine":
        rng = np.random.RandomState(0)
        X = rng.uniform(-3, 3, (500, 1))
        y = np.sin(3 * X[:, 0]) + 0.05 * rng.standard_normal(500)
    elif name in FRIEDMAN:
        make, noise = FRIEDMAN[name]
        X, y = make(2000, noise=noise, random_state=0)
    else:
        if "FASTMLP_DATA" not in os.environ:
            pytest.skip("needs the folder of data sets that the environment variable FASTMLP_DATA names")
        import pandas as pd

        table = pd.read_parquet(Path(os.environ["FASTMLP_DATA"]) / "tabular" / f"uci_{name}.parquet").to_numpy(float)
        X, y = table[:, :-1].copy(), table[:, -1]
    return (X - X.mean(axis=0)) / X.std(axis=0), ((y - y.mean()) / y.std())[:, None]


def fit(name, X, y, optimizer, seed, target=-np.inf):
    """(seconds, loss) of a fit that stops at a loss of ``target``."""
    from fastmlp import MLP, Layer

    layers = [Layer(UNITS[name], "tanh"), Layer(1, "identity")]
    model = MLP(layers, optimizer=optimizer, dtype="float64", random_state=seed).build(X.shape[1])
    start = time.perf_counter()
    model.fit(X, y, ITERATIONS[optimizer], callbacks=lambda model, epoch, results: results["loss"] <= target)
    return time.perf_counter() - start, model.history["loss"][-1]


def compare(name, X, y):
    """One dict for each seed: seconds and losses; NaN where Levenberg-Marquardt does not reach the loss of L-BFGS."""
    fit(name, X, y, "lm", 0, np.inf)  # BLAS starts its threads
    rows = []
    for seed in SEEDS:
        seconds, loss = fit(name, X, y, "lbfgs", seed)
        reached, least = fit(name, X, y, "lm", seed, loss)
        row = {"L-BFGS, s": seconds, "loss": loss, "lm until then, s": reached if least <= loss else np.nan}
        row["lm, s"], row["loss of lm"] = fit(name, X, y, "lm", seed)
        rows.append(row)
    return rows


@pytest.mark.parametrize("name", UNITS)
def bench_second_order(benchmark, name):
    benchmark.extra_info["runs"] = benchmark.pedantic(compare, (name, *problem(name)), rounds=1)


def bench_pyrenn(benchmark):
    """Seconds of pyrenn and fastmlp until they have the loss of L-BFGS on the smallest problem."""
    pyrenn = pytest.importorskip("pyrenn", reason="needs the package pyrenn")
    X, y = problem("sine")
    _, target = fit("sine", X, y, "lbfgs", 0)
    seconds, loss = fit("sine", X, y, "lm", 0, target)

    def theirs():  # pyrenn scales y to at most 1 and sums the squares
        np.random.seed(0)
        network, stop = pyrenn.CreateNN([1, UNITS["sine"], 1]), 2 * len(y) * target / np.abs(y).max() ** 2
        return pyrenn.train_LM(X.T, y.T, network, k_max=ITERATIONS["lm"], E_stop=stop)

    trained = benchmark.pedantic(theirs, rounds=1)
    error = float(np.mean((pyrenn.NNOut(X.T, trained) - y[:, 0]) ** 2) / 2)
    benchmark.extra_info.update({"fastmlp, s": seconds, "fastmlp, loss": loss, "pyrenn, loss": error})
