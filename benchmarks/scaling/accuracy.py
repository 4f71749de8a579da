"""Test scores and speed of fits with local steps and with compression, beside plain ones, for several seeds.

Fashion-MNIST (784-128-10), California housing and letter recognition (two hidden layers of 128 units), of the folder
that FASTMLP_DATA names; all ranks have all rows, and a batch has the same rows as without MPI. Scores are accuracies,
and R^2 for California housing.
"""

import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

VARIANTS = {
    "gradients": {}, "bfloat16": {"compression": "bfloat16"},
    **{f"{steps} local steps": {"local_steps": steps} for steps in (2, 4, 8, 16)},
}  # fmt: skip
PLAIN, SEEDS = "1 process", range(5)


class Problem(NamedTuple):
    """Units of hidden layers, rows of a batch, epochs, and (X, y, X_test, y_test); classes are numbers."""

    hidden: tuple
    batch: int
    epochs: int
    arrays: tuple


def fashion_mnist():
    from bench_accuracy import load

    folder = Path(os.environ["FASTMLP_DATA"]) / "fashion_mnist"
    return Problem((128,), 128, 3, (*load(folder, "train"), *load(folder, "t10k")))


def california():
    return _table("california", 256, 15)


def letters():
    return _table("LetterRecognition", 128, 10)


def _table(name, batch, epochs):
    """Numbers standardised, missing ones replaced by the median; classes of a column as columns of 0 and 1."""
    import pandas as pd
    from tables import split, tables

    X, X_test, y, y_test, classes = split(tables()[name](), 0, 0)
    X, X_test = (pd.get_dummies(part, dtype=float) for part in (X, X_test))
    X_test = X_test.reindex(columns=X.columns, fill_value=0.0)
    X, X_test = X.fillna(X.median()), X_test.fillna(X.median())
    X, X_test = ((part - X.mean()) / X.std() for part in (X, X_test))
    if classes:
        names, y = np.unique(y, return_inverse=True)
        y_test = np.searchsorted(names, y_test)
    else:
        y, y_test = ((part - y.mean()) / y.std() for part in (y, y_test))
    return Problem((128, 128), batch, epochs, (X.to_numpy("f4"), y, X_test.to_numpy("f4"), y_test))


PROBLEMS = {
    "Fashion-MNIST": fashion_mnist, "California housing": california, "letter recognition": letters,
}  # fmt: skip


def fits(name, together):
    """A function ((variant, seed)) that fits, and returns on rank 0 (score, rows a second after the first epoch)."""
    from fastmlp import MLP, DataParallel

    problem, communicator, leads = PROBLEMS[name](), None, True
    X, y, X_test, y_test = problem.arrays
    classes = y.dtype.kind == "i"
    targets = np.eye(y.max() + 1, dtype="f4")[y] if classes else y.astype("f4")[:, None]
    layers = [(units, "relu") for units in problem.hidden]
    layers.append((targets.shape[1], "softmax" if classes else "identity"))
    if together:
        from mpi4py import MPI

        communicator, leads = MPI.COMM_WORLD, MPI.COMM_WORLD.rank == 0

    def answer(request):
        variant, seed = request
        times, parallel = [], DataParallel(communicator, **VARIANTS[variant]) if together else None
        model = MLP(
            layers, "categorical_cross_entropy" if classes else "squared_error", dtype="float32", random_state=seed,
            n_jobs=1, communicator=parallel,
        )  # fmt: skip
        model.fit(
            X, targets, epochs=problem.epochs, batch_size=problem.batch,
            callbacks=lambda model, epoch, results: times.append(time.perf_counter()),
        )  # fmt: skip
        if not leads:
            return None
        found = model.predict(X_test)
        if classes:
            score = np.mean((found.argmax(axis=1) if found.ndim == 2 else found) == y_test)
        else:
            score = 1 - np.mean((found.ravel() - y_test) ** 2) / np.var(y_test)
        return float(score), len(X) * (problem.epochs - 1) / (times[-1] - times[0])

    return answer


def measure(name, start, n_seeds):
    """{"1 process" or "variant, n ranks": {"scores": [...], "rate": median rows a second}}"""
    teams = {PLAIN: (start(("accuracy", "fits"), {"name": name, "together": False}, 1, False), next(iter(VARIANTS)))}
    for n in (2, 4):
        team = start(("accuracy", "fits"), {"name": name, "together": True}, n)
        teams |= {f"{variant}, {n} ranks": (team, variant) for variant in VARIANTS}
    found = {label: [] for label in teams}
    for seed in SEEDS[:n_seeds]:
        for label, (team, variant) in teams.items():
            found[label] += team.ask((variant, seed))
    return {
        label: {"scores": [score for score, _ in pairs], "rate": statistics.median(rate for _, rate in pairs)}
        for label, pairs in found.items()
    }
