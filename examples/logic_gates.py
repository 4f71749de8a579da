"""AND, OR and XOR: a single unit learns the first two, XOR needs a hidden layer."""

import warnings

import numpy as np
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLP, Adaline, Layer, Perceptron
from fastmlp.inspection.plots import plot_decision_boundary

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
GATES = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}


def fit_all(y, passes):
    """Fit a Perceptron, an Adaline and an MLP to the four samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the perceptron on XOR; see converged_
        perceptron = Perceptron(max_iter=passes, random_state=0).fit(X, y)
    adaline = Adaline(learning_rate=0.5, max_iter=passes, random_state=0).fit(X, y)
    mlp = MLP([Layer(2, "tanh"), Layer(1, "logistic")], "binary_cross_entropy", "lbfgs", random_state=1)
    return perceptron, adaline, mlp.fit(X, y, epochs=200)


def main(out, quick=False):
    """Decision regions of three models for three gates, and whether the perceptron converged."""
    numbers = {}
    figure = Figure(figsize=(9, 8), layout="constrained")
    rows = figure.subplots(3, 3, sharex=True, sharey=True)
    for row, (gate, y) in zip(rows, GATES.items()):
        perceptron, adaline, mlp = fit_all(y, passes=50 if quick else 500)
        numbers[f"perceptron converged on {gate}"] = perceptron.converged_
        numbers[f"passes of the perceptron on {gate}"] = perceptron.n_iter_
        accuracies = {
            "Perceptron": perceptron.score(X, y),
            "Adaline": adaline.score(X, y),
            "MLP, 2 tanh units": mlp.evaluate(X, y)["accuracy"],
        }
        for axes, model, (name, accuracy) in zip(row, (perceptron, adaline, mlp), accuracies.items()):
            numbers[f"{gate}, {name}"] = accuracy
            plot_decision_boundary(model, X, y, axes=axes)
            axes.get_legend().remove()
            axes.set_title(f"{gate}, {name}: {accuracy * 4:.0f} of 4", fontsize="medium")
    figure.savefig(out / "logic_gates.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
