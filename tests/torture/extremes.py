"""Denormal, huge, tiny, ill-conditioned, constant and one-sided data: finite results, one warning or one error.

Every situation is tried with several solvers, most with and without scaling, in both dtypes, on every backend of a CPU.
All backends must end in the same way: with finite predictions, with predictions and one kind of warning, or with the
same error.
"""

import itertools
import re
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.backends import registry

# Rows of the unbalanced classes; epochs; dtypes.
SIZES = (200, 2, ("float32",)), (1_000_000, 3, ("float32", "float64"))
FIGURE = (
    "{fits} fits of {situations} situations: {finite} finite without a word, {warned} with a warning, {refused} refused"
)
SOLVERS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "adam, scaled": {"solver": "adam", "scale": "standard"},
    "lbfgs, scaled": {"solver": "lbfgs", "scale": "standard"},
}


def run(size, seed, folder):
    """Try every situation with every solver, dtype and backend."""
    (rows, epochs, dtypes), rng = size, np.random.default_rng(seed)
    data = situations(rng, rows)
    counts = {"situations": len(data), "fits": 0, "finite": 0, "warned": 0, "refused": 0, "faults": []}
    for (name, given), solver, dtype in itertools.product(data.items(), SOLVERS, dtypes):
        ends = {}
        for backend in registry.ON_CPU:
            kind, text = ending(given(np.finfo(dtype)), SOLVERS[solver], dtype, backend, epochs)
            counts["fits"] += 1
            counts[kind if kind in counts else "refused"] += 1
            ends[backend] = kind, text
        if len(set(ends.values())) > 1 or ends["numpy"][0] == "faults":
            counts["faults"].append(f"{name}, {solver}, {dtype}: {ends}")
    return counts


def ending(data, options, dtype, backend, epochs):
    """How a fit ends: (what, the text that a user sees)."""
    X, y, *weight = data
    kind = MLPClassifier if y.dtype == bool else MLPRegressor
    model = kind(hidden_layer_sizes=(8,), backend=backend, dtype=dtype, max_iter=epochs, random_state=0, **options)
    predict = model.predict_proba if y.dtype == bool else model.predict
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", ".*(reached|MAX|maximum number)", ConvergenceWarning)  # there are few epochs
        try:
            model.fit(X, y, *weight)
            found = predict(X[:1000])
        except ValueError as error:
            return "refused", without_numbers(f"{type(error).__name__}: {error}")
    texts = sorted({without_numbers(warning.message) for warning in seen})
    if not np.isfinite(found).all():
        return ("warned" if texts else "faults"), f"not finite, {texts}"
    return ("warned" if texts else "finite"), " / ".join(texts)


def without_numbers(text):
    """A message without its numbers, such as the epoch in which a fit diverges."""
    return re.sub(r"\d\S*", "0", str(text))


def situations(rng, n_unbalanced):
    """{name: function of a finfo that returns (X, y) and perhaps sample weights}."""
    rows = 60
    X, noise = rng.standard_normal((rows, 4)), rng.standard_normal(rows)
    y, classes = X[:, 0] - X[:, 1] ** 2 + 0.1 * noise, X[:, 0] > X[:, 1]
    scales = np.geomspace(1e-6, 1e6, 4)
    hilbert = 1 / (np.arange(rows)[:, None] + np.arange(1, 5))
    constant = np.where(np.arange(4) < 2, X, 3.7)
    rare = np.arange(n_unbalanced) == n_unbalanced // 2
    wide = rng.standard_normal((n_unbalanced, 2))
    wide[rare] += 6

    def inputs(factor):
        """Inputs of a size, with classes and with numbers to predict."""
        return {
            f"inputs {factor}, {what}": lambda info, factor=factor, goal=goal: (X * size_of(factor, info), goal)
            for what, goal in (("classes", classes), ("numbers", y))
        }

    sizes = ("denormal", "smallest normal", "root of the largest", "a quarter of the largest")
    table = {}
    for factor in sizes:
        table |= inputs(factor)
        table[f"targets {factor}"] = lambda info, factor=factor: (X, y * size_of(factor, info))
        table[f"weights {factor}"] = lambda info, factor=factor: (X, classes, abs(noise) * size_of(factor, info) + 0)
    return table | {
        "inputs of sizes from 1e-6 to 1e6": lambda info: (X * scales, y),
        "one huge input among ordinary ones": lambda info: (np.where(X == X.max(), info.max / 8, X), y),
        "a Hilbert matrix": lambda info: (hilbert, y),
        "equal columns": lambda info: (np.repeat(X[:, :1], 4, axis=1) * (1 + info.eps * np.arange(4)), y),
        "columns far from 0": lambda info: (X + 1 / info.eps, classes),
        "constant columns": lambda info: (constant, y),
        "only constant columns": lambda info: (np.full((rows, 4), 3.7), classes),
        "only zeros": lambda info: (np.zeros((rows, 4)), y),
        "a constant target": lambda info: (X, np.full(rows, 2.5)),
        "a huge constant target": lambda info: (X, np.full(rows, info.max / 8)),
        "targets with one outlier": lambda info: (X, np.where(y == y.max(), 1e12, y)),
        "one sample": lambda info: (X[:1], y[:1]),
        "one of a million": lambda info: (wide, rare),
        "one of a million, balanced": lambda info: (wide, rare, np.where(rare, 1.0 * n_unbalanced, 1.0)),
    }


def size_of(name, info):
    """A factor for numbers of ordinary size."""
    tiny, largest = float(info.tiny), float(info.max)
    return {
        "denormal": tiny / 1024, "smallest normal": tiny, "root of the largest": largest**0.5,
        "a quarter of the largest": largest / 16,
    }[name]  # fmt: skip
