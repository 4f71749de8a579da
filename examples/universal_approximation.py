"""Approximate x², sin πx, |x| and sign x with three tanh units."""

import numpy as np
from matplotlib.figure import Figure

from fastmlp import MLP, Layer

FUNCTIONS = {
    "x²": np.square,
    "sin πx": lambda x: np.sin(np.pi * x),
    "|x|": np.abs,
    "sign x": np.sign,
}
x = np.linspace(-1, 1, 50)[:, None]


def best_fit(y, seeds):
    """The network with the smallest error over several seeds, because some end in local minima."""
    fits = [
        MLP([Layer(3, "tanh"), Layer(1, "identity")], "squared_error", "lbfgs", init=("normal", 2), dtype="float64",
            random_state=seed).fit(x, y, epochs=2000)
        for seed in range(seeds)
    ]  # fmt: skip
    return min(fits, key=lambda model: model.history["loss"][-1])


def main(out, quick=False):
    """Root mean squared errors of the four fits."""
    numbers = {}
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, (name, function) in zip(figure.subplots(2, 2).flat, FUNCTIONS.items()):
        y = function(x)
        model = best_fit(y, seeds=3 if quick else 20)
        error = float(np.sqrt(np.mean((model.predict(x) - y) ** 2)))
        numbers[name] = round(error, 5)
        axes.plot(x, model.layer_outputs(x)[0], "--", color="grey", linewidth=1)
        axes.plot(x, y, "o", color="tab:blue", markersize=4)
        axes.plot(x, model.predict(x), color="tab:red")
        axes.set_title(f"{name}: error {error:.1e}; dashed: the hidden units", fontsize="medium")
        axes.set_xticks([-1, 0, 1])
        axes.grid(alpha=0.3)
    figure.savefig(out / "universal_approximation.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
