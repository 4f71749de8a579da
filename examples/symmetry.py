"""Weight space symmetry: M hidden tanh units can be permuted and negated in 2^M M! equivalent ways."""

from itertools import permutations, product
from math import factorial

import numpy as np
from matplotlib.figure import Figure

from fastmlp import MLP, Layer

UNITS = 3


def copies(model):
    """Parameter vectors of all equivalent networks, with hidden units permuted and their weights negated."""
    (W, V), (b, c) = model.weights, model.biases
    for order in map(list, permutations(range(UNITS))):
        for signs in product([1, -1], repeat=UNITS):
            parts = W[:, order] * signs, b[order] * signs, V[order] * np.c_[list(signs)], c
            yield np.concatenate([part.ravel() for part in parts])


def main(out, quick=False):
    """The number of equivalent copies of a trained network, and the difference of their errors."""
    x = np.linspace(-1, 1, 50)[:, None]
    y = np.sin(np.pi * x)
    model = MLP([Layer(UNITS, "tanh"), Layer(1, "identity")], "squared_error", "lbfgs", dtype="float64", random_state=0)
    model.fit(x, y, epochs=500)
    minimum = model.parameters.copy()

    def error(parameters):
        model.parameters[:] = parameters
        return model.evaluate(x, y)["loss"]

    found = list(copies(model))
    errors = [error(each) for each in found]
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    way = np.linspace(0, 1, 11 if quick else 61)
    for each in found[1:]:  # the first is the network itself
        axes.plot(way, [error(minimum + t * (each - minimum)) for t in way], color="tab:blue", alpha=0.4)
    axes.set(xlabel="straight line from one minimum to another in weight space", ylabel="error", yscale="log")
    axes.set_title(f"{len(found)} equivalent minima with barriers between them")
    axes.grid(alpha=0.3)
    figure.savefig(out / "symmetry.png", dpi=90)
    return {
        "2^M M!": 2**UNITS * factorial(UNITS),
        "distinct copies": len(np.unique(found, axis=0)),
        "error": round(errors[0], 7),
        "largest relative difference of errors": float(f"{max(abs(np.array(errors) / errors[0] - 1)):.0e}"),
    }


if __name__ == "__main__":
    from command_line import run

    run(main)
