"""Iris from petal length and width: linear boundaries of softmax regression, curved ones of an MLP."""

from matplotlib.figure import Figure
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp import MLP, Layer, softmax_regression
from fastmlp.inspection.plots import plot_decision_boundary

PETALS = [2, 3]  # columns: length and width


def main(out, quick=False):
    """Test accuracies of both models."""
    data = load_iris()
    X_train, X_test, y_train, y_test = train_test_split(
        data.data[:, PETALS], data.target, test_size=0.5, stratify=data.target, random_state=0
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    mlp = MLP([Layer(8, "tanh"), Layer(3, "softmax")], "categorical_cross_entropy", "lbfgs", alpha=0.01, random_state=0)
    models = {"softmax regression": softmax_regression(3, alpha=0.01, random_state=0), "MLP, 8 tanh units": mlp}
    numbers = {}
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, model) in zip(figure.subplots(1, 2, sharey=True), models.items()):
        model.fit(X_train, y_train, epochs=50 if quick else 500)
        accuracy = model.evaluate(X_test, y_test)["accuracy"]
        numbers[name] = round(accuracy, 3)
        plot_decision_boundary(model, X_test, y_test, axes=axes)
        axes.set(title=f"{name}: {accuracy:.1%} test accuracy", xlabel="petal length, standardised")
    figure.axes[0].set_ylabel("petal width, standardised")
    figure.axes[0].get_legend().remove()
    for text, name in zip(figure.axes[1].get_legend().get_texts(), data.target_names):
        text.set_text(name)
    figure.savefig(out / "iris.png", dpi=90)
    return numbers


if __name__ == "__main__":
    from command_line import run

    run(main)
