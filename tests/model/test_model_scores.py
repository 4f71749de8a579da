"""class_weight of MLP, and the metric for its validation data."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLP, Layer, make_optimizer

iris = load_iris()
X, X_held, y, y_held = train_test_split(iris.data, iris.target, random_state=0)
HELD = X_held, y_held


def mlp(output="softmax", units=3, rate=0.03):
    loss = {"softmax": "categorical_cross_entropy", "logistic": "binary_cross_entropy", "identity": "squared_error"}
    return MLP([Layer(6), Layer(units, output)], loss[output], make_optimizer("adam", rate), random_state=0)


def macro_f1(y, outputs):
    return f1_score(y, outputs.argmax(axis=1), average="macro")


@pytest.mark.parametrize("kind, labels, expected", [
    ({0: 3.0, 2: 0.5}, y, np.array([3, 1, 0.5])[y]), ("balanced", y, compute_sample_weight("balanced", y)),
    ({1: 4.0}, (y == 1).astype(int), np.where(y == 1, 4, 1)),
    ("balanced", (y == 1).astype(int), compute_sample_weight("balanced", y == 1)),
    ([{1: 2.0}, {0: 3}], np.column_stack([y == 1, y > 0]), np.where(y == 1, 2, 1) * np.where(y > 0, 1, 3)),
])  # fmt: skip
def test_class_weights_equal_sample_weights(kind, labels, expected):
    output, units = ("softmax", 3) if labels is y else ("logistic", 1 if labels.ndim == 1 else 2)
    rows = np.random.RandomState(0).uniform(0.5, 2, len(y))
    given = mlp(output, units).fit(X, labels, 3, sample_weight=rows, class_weight=kind)
    wanted = mlp(output, units).fit(X, labels, 3, sample_weight=rows * expected)
    np.testing.assert_allclose(given.parameters, wanted.parameters, rtol=1e-5, atol=1e-7)
    assert not np.allclose(given.parameters, mlp(output, units).fit(X, labels, 3, sample_weight=rows).parameters)


@pytest.mark.parametrize("wrong, message", [
    ({3: 1.0}, "class_weight has unknown classes 3"), ({0: -1.0}, "non-negative"), ([{0: 1}], "class_weight"),
    ("even", "class_weight"),
])  # fmt: skip
def test_invalid_class_weights(wrong, message):
    with pytest.raises(ValueError, match=message):
        mlp().fit(X, y, class_weight=wrong)
    with pytest.raises(ValueError, match="requires a classification loss, got 'squared_error'"):
        mlp("identity", 1).fit(X, y, class_weight={0: 1})


@pytest.mark.parametrize("metric, name", [("accuracy", "accuracy"), (macro_f1, "macro_f1")])
def test_patience_refers_to_the_metric(metric, name):
    kept, told = [], []
    model = mlp().fit(
        X, y, 100, validation_data=HELD, metric=metric, patience=4,
        callbacks=lambda model, epoch, results: told.append(results) or kept.append(model.parameters.copy()),
    )  # fmt: skip
    scores = model.history[f"validation_{name}"]
    best = int(np.argmax(scores))
    assert len(scores) == len(model.history["validation_loss"]) == model.epoch == best + 5
    assert model.best_epoch == best + 1
    assert_array_equal(model.parameters, kept[best])
    assert [results[f"validation_{name}"] for results in told] == scores
    outputs = model.predict(X_held)
    assert scores[best] == (macro_f1(y_held, outputs) if callable(metric) else model.evaluate(*HELD)["accuracy"])
    assert best != int(np.argmin(model.history["validation_loss"]))
    assert model.fit(X, y, 1, validation_data=HELD).best_epoch is None


def test_balanced_weights_ignore_classes_without_samples():
    model = mlp(units=5).fit(X, y, 2, class_weight="balanced")
    wanted = mlp(units=5).fit(X, y, 2, sample_weight=compute_sample_weight("balanced", y))
    np.testing.assert_allclose(model.parameters, wanted.parameters, rtol=1e-5, atol=1e-7)


def test_a_metric_must_not_be_called_loss():
    def loss(y, outputs):
        return 0.0

    with pytest.raises(ValueError, match="give it another name"):
        mlp().fit(X, y, validation_data=HELD, metric=loss)
    with pytest.raises(ValueError, match=r"must be a pair \(X, y\), got int"):
        mlp().fit(X, y, validation_data=3)


def test_a_metric_for_regression():
    model = mlp("identity", 1).fit(X, y, 3, validation_data=HELD, metric="r2")
    assert model.history["validation_r2"][-1] == model.evaluate(*HELD)["r2"]


@pytest.mark.parametrize("output, wrong, message", [
    ("softmax", "r2", "metric must be 'accuracy' for this loss"), ("identity", "accuracy", "metric must be 'r2'"),
    ("softmax", 3, "metric must be"),
])  # fmt: skip
def test_invalid_metrics(output, wrong, message):
    model = mlp(output, 3 if output == "softmax" else 1)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, validation_data=HELD, metric=wrong)
    with pytest.raises(ValueError, match="metric requires validation_data"):
        model.fit(X, y, metric="accuracy")
