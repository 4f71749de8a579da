"""Vanishing gradients in a network with 20 layers, and two remedies: skip connections and Glorot's initial weights."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from fastmlp import MLP, Layer, make_optimizer

DEPTH = 20
SMALL = "normal", 0.1  # each layer of 20 units scales a signal by about 0.45


def network(init, skips):
    """With skips, every second hidden layer adds the input of the layer below to its pre-activation."""
    hidden = [
        Layer(20, "tanh", skip=2 if skips and number % 2 else 0, skip_weights=False) for number in range(2, DEPTH)
    ]
    layers = [Layer(20, "tanh"), *hidden, Layer(10, "softmax")]
    return MLP(layers, "categorical_cross_entropy", make_optimizer("sgd", 0.05), init=init, random_state=0)


def main(out, quick=False):
    """Losses, and the gradient norm of the first layer relative to that of the last hidden layer after one epoch."""
    X, y = load_digits(return_X_y=True)
    X = X / 8 - 1
    models = {
        "small weights": network(SMALL, skips=False),
        "small weights, skips": network(SMALL, skips=True),
        "Glorot's weights": network("glorot_uniform", skips=False),
    }
    numbers = {}
    figure = Figure(figsize=(12, 4), layout="constrained")
    losses, gradients, speeds = figure.subplots(1, 3)
    for name, model in models.items():
        model.fit(X, y, epochs=10 if quick else 40, monitor=True)
        loss, gradient, update = (model.history[key] for key in ("loss", "gradient_norm", "update_norm"))
        layers = range(1, DEPTH + 1)
        losses.plot(range(1, len(loss) + 1), loss, label=name)
        gradients.plot(layers, gradient[0], "o-", markersize=3)
        speeds.plot(layers, update[0], "o-", markersize=3)
        numbers[f"{name}: loss"] = round(loss[-1], 4)
        numbers[f"{name}: gradient of layer 1 / layer {DEPTH - 1}"] = float(f"{gradient[0][0] / gradient[0][-2]:.1e}")
    losses.set(xlabel="epoch", ylabel="loss", yscale="log", title="training loss")
    losses.legend()
    gradients.set(xlabel="layer", yscale="log", title="norm of the gradient after epoch 1")
    speeds.set(xlabel="layer", yscale="log", title="norm of the update in epoch 1")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    for axes in (gradients, speeds):
        axes.set_xticks(np.arange(0, DEPTH + 1, 5))
    figure.savefig(out / "vanishing_gradient.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
