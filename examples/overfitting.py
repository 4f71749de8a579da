"""Overfitting with 30 noisy points and 10,000 weights, three remedies, and the uncertainty estimated by dropout."""

import numpy as np
from matplotlib.figure import Figure

from fastmlp import MLP, Layer, make_optimizer

NOISE = 0.25
wide = np.linspace(-1.6, 1.6, 321)[:, None]  # the data are between -1 and 1
INSIDE = abs(wide[:, 0]) <= 1


def truth(x):
    return np.sin(np.pi * x)


def noisy_points(n, seed):
    random = np.random.RandomState(seed)
    x = random.uniform(-1, 1, (n, 1))
    return x, truth(x) + random.normal(0, NOISE, x.shape)


def network(dropout=0.0, alpha=0.0):
    layers = [Layer(100, "relu", dropout=dropout), Layer(100, "relu", dropout=dropout), Layer(1, "identity")]
    return MLP(layers, "squared_error", make_optimizer("adam", 0.005), alpha=alpha, random_state=0)


def rms(errors):
    return float(np.sqrt(np.mean(errors**2)))


def draw_curves(axes, history):
    axes.plot(history["loss"], label="training", linewidth=1)
    axes.plot(history["validation_loss"], label="validation", linewidth=1)
    axes.set(xlabel="epoch", yscale="log")
    axes.grid(alpha=0.3)


def draw_fit(axes, x, y, prediction, band=None):
    if band is not None:
        mean, std = (part[:, 0] for part in band)
        axes.fill_between(wide[:, 0], mean - 2 * std, mean + 2 * std, color="tab:red", alpha=0.2)
    axes.plot(wide, truth(wide), "--", color="grey", label="truth")
    axes.plot(x, y, "o", markersize=3, color="tab:blue")
    axes.plot(wide, prediction, color="tab:red", label="prediction")
    axes.set(xlabel="x", ylim=(-2.5, 2.5))


def main(out, quick=False):
    """Validation losses, errors against the true curve, and the width of the dropout band outside the data."""
    x, y = noisy_points(30, seed=0)
    held_out = noisy_points(100, seed=100)
    variants = {  # the network, and the patience of its fit
        "no remedy": (network(), None),
        "early stopping": (network(), 100),
        "dropout": (network(dropout=0.1), None),
        "L2 penalty": (network(alpha=0.1), None),
    }
    numbers = {}
    figure = Figure(figsize=(12, 6), layout="constrained")
    above, below = figure.subplots(2, len(variants), sharey="row")
    for top, bottom, (name, (model, patience)) in zip(above, below, variants.items()):
        model.fit(x, y, 1000 if quick else 2000, batch_size=None, validation_data=held_out, patience=patience)
        prediction = model.predict(wide)
        band = model.predict(wide, mc_samples=100) if name == "dropout" else None
        draw_curves(top, model.history)
        draw_fit(bottom, x, y, prediction, band)
        top.set_title(name)
        numbers[f"{name}: epochs"] = model.epoch
        numbers[f"{name}: validation loss"] = round(model.evaluate(*held_out)["loss"], 4)
        numbers[f"{name}: error against the truth"] = round(rms((prediction - truth(wide))[INSIDE]), 3)
        if band:
            ratio = band[1][~INSIDE].mean() / band[1][INSIDE].mean()
            numbers["width of the dropout band outside the data / inside"] = round(float(ratio), 2)
    above[0].set_ylabel("loss (training: with the penalty)")
    above[0].legend()
    below[0].legend(loc="lower left")
    figure.savefig(out / "overfitting.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
