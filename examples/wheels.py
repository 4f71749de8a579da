"""Classify cars and motorbikes by wheels, height and weight: the error of each of six samples during training."""

import numpy as np
from matplotlib.figure import Figure

from fastmlp import MLP, Layer, make_optimizer

VEHICLES = np.array([[4, 6, 500], [4, 5.5, 600], [4, 5, 550], [2, 3, 200], [2, 3.5, 150], [2, 4, 250]])
IS_CAR = np.array([True, True, True, False, False, False])
NAMES = "car", "motorbike"


def main(out, quick=False):
    """Mean errors before and after training, and the number of correct predictions."""
    X = (VEHICLES - VEHICLES.mean(axis=0)) / VEHICLES.std(axis=0)  # weights are much larger than wheels
    # Targets 0.1 and 0.9: logistic units never reach 0 and 1, so their weights would keep growing.
    targets = np.where(np.column_stack([IS_CAR, ~IS_CAR]), 0.9, 0.1)
    model = MLP(
        [Layer(2, "logistic"), Layer(2, "logistic")], "squared_error", make_optimizer("sgd", learning_rate=0.5),
        random_state=0,
    ).build(3)  # fmt: skip
    errors = []
    for _ in range(50 if quick else 200):
        errors.append(((model.predict(X) - targets) ** 2).sum(axis=1) / 2)
        model.fit(X, targets, epochs=1, batch_size=1)
    errors = np.array(errors)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for vehicle, curve, is_car in zip(VEHICLES, errors.T, IS_CAR):
        wheels, height, weight = vehicle
        name = f"{NAMES[0] if is_car else NAMES[1]}: {wheels:g} wheels, {height:g}, {weight:g}"
        axes.plot(curve, color="tab:blue" if is_car else "tab:orange", linestyle="-" if is_car else "--", label=name)
    axes.plot(errors.mean(axis=1), color="black", linewidth=2.5, label="mean")
    axes.set(xlabel="epoch", ylabel="half the squared error", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(title="height and weight as given", fontsize="small")
    figure.savefig(out / "wheels.png", dpi=90)
    right = (model.predict(X)[:, 0] > model.predict(X)[:, 1]) == IS_CAR
    return {
        "mean error before training": round(float(errors[0].mean()), 4),
        "mean error after training": round(float(errors[-1].mean()), 6),
        "correct": int(right.sum()),
    }


if __name__ == "__main__":
    from command_line import run

    run(main)
