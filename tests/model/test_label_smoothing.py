"""Label smoothing of the cross-entropies: training and losses are those of smoothed targets, scores are not."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastmlp
from fastmlp import MLP, Layer, MLPClassifier, make_loss
from fastmlp.model.losses import check_loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMOOTHING = 0.3
INPUTS, NUMBERS = load_iris(return_X_y=True)
INPUTS = (INPUTS - INPUTS.mean(axis=0)) / INPUTS.std(axis=0)
LABELS = np.eye(3)[NUMBERS]
KINDS = {"categorical_cross_entropy": ("softmax", 3), "binary_cross_entropy": ("logistic", 2)}


def smoothed(name):
    """The targets by which a smoothed loss is trained, of PyTorch's documentation."""
    return (1 - SMOOTHING) * LABELS + SMOOTHING / KINDS[name][1]


def network(loss, name, **options):
    given = {"optimizer": "adam", "random_state": 0, "dtype": "float64"} | options
    return MLP([Layer(6, "tanh"), Layer(3, KINDS[name][0])], loss, **given)


def weights_of(kind, name):
    """Weights of samples, and of targets with some missing where the loss has them."""
    rng = np.random.RandomState(0)
    if kind == "targets" and name == "binary_cross_entropy":
        return rng.uniform(0, 1, LABELS.shape) * (rng.uniform(size=LABELS.shape) > 0.2)
    return None if kind == "none" else rng.uniform(0, 1, len(LABELS))


@pytest.mark.parametrize("weights", ["none", "samples", "targets"])
@pytest.mark.parametrize("name", KINDS)
def test_training_and_losses_are_those_of_smoothed_targets(backend, name, weights):
    weight = weights_of(weights, name)
    ours = network(make_loss(name, label_smoothing=SMOOTHING), name, backend=backend)
    plain = network(name, name, backend=backend)
    ours.fit(INPUTS, LABELS, 3, 16, sample_weight=weight, validation_data=(INPUTS, LABELS))
    plain.fit(INPUTS, smoothed(name), 3, 16, sample_weight=weight, validation_data=(INPUTS, smoothed(name)))
    np.testing.assert_allclose(ours.parameters, plain.parameters, rtol=1e-9, atol=1e-12)
    for curve in ("loss", "validation_loss"):
        np.testing.assert_allclose(ours.history[curve], plain.history[curve], rtol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_is_that_of_pytorch_and_the_accuracy_is_not_smoothed(name):
    model = network(make_loss(name, label_smoothing=SMOOTHING), name).fit(INPUTS, LABELS, 200)
    p, u = model.predict(INPUTS), smoothed(name)
    losses = -u * np.log(p) - (0 if name == "categorical_cross_entropy" else (1 - u) * np.log(1 - p))
    found = model.evaluate(INPUTS, LABELS)
    assert found["loss"] == pytest.approx(losses.sum(axis=1).mean(), rel=1e-12)
    hits = p.argmax(axis=1) == NUMBERS if KINDS[name][0] == "softmax" else ((p > 0.5) == LABELS).all(axis=1)
    assert found["accuracy"] == hits.mean() > 0.8


def test_without_smoothing_nothing_changes():
    made = network(make_loss("categorical_cross_entropy", label_smoothing=0), "categorical_cross_entropy")
    named = network("categorical_cross_entropy", "categorical_cross_entropy")
    np.testing.assert_array_equal(made.fit(INPUTS, LABELS, 3).parameters, named.fit(INPUTS, LABELS, 3).parameters)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name, y", [
    ("categorical_cross_entropy", NUMBERS), ("categorical_cross_entropy", NUMBERS > 0),
    ("binary_cross_entropy", NUMBERS > 0), ("binary_cross_entropy", LABELS.astype(int)),
], ids=["classes", "two classes", "binary", "multilabel"])  # fmt: skip
def test_classifiers(tmp_path, solver, name, y):
    """Probabilities stay away from 0 and 1; early stopping monitors the accuracy, as without smoothing."""
    options = {"solver": solver, "max_iter": 300, "learning_rate_init": 0.02, "random_state": 0}
    loss = make_loss(name, label_smoothing=SMOOTHING)
    options |= {"class_weight": None if y.ndim > 1 else "balanced", "early_stopping": solver == "adam"}
    plain, ours = MLPClassifier((10,), **options).fit(INPUTS, y), MLPClassifier((10,), loss=loss, **options)
    ours.fit(INPUTS, y)
    assert ours.score(INPUTS, y) > 0.75
    assert np.median(ours.predict_proba(INPUTS).max(axis=1)) < np.median(plain.predict_proba(INPUTS).max(axis=1))
    if solver == "adam":
        assert all(0 <= score <= 1 for score in ours.validation_scores_)
    ours.save(tmp_path / "m")
    loaded = fastmlp.load(tmp_path / "m")
    assert loaded.loss == loss
    np.testing.assert_array_equal(loaded.predict_proba(INPUTS), ours.predict_proba(INPUTS))
    np.testing.assert_array_equal(loaded.fit(INPUTS, y).predict_proba(INPUTS), ours.predict_proba(INPUTS))


@pytest.mark.parametrize("name, y, message", [
    ("binary_cross_entropy", NUMBERS, "cannot be used for several classes: use make_loss('categorical_cross_entropy'"),
    ("categorical_cross_entropy", LABELS, "cannot be used for multilabel y: use make_loss('binary_cross_entropy'"),
])  # fmt: skip
def test_a_loss_for_other_labels_is_refused_and_nothing_is_lost(name, y, message):
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(INPUTS, NUMBERS > 0)
    before = model.predict_proba(INPUTS)
    with pytest.raises(ValueError) as error:
        model.set_params(loss=make_loss(name, label_smoothing=0.1)).fit(INPUTS, y)
    assert message in str(error.value)
    np.testing.assert_array_equal(model.predict_proba(INPUTS), before)


@pytest.mark.parametrize("name", KINDS)
def test_files_of_earlier_versions_have_no_smoothing(name, tmp_path, monkeypatch):
    assert check_loss((name, ())) == check_loss(name) == (name, (0.0,))
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(INPUTS, NUMBERS)
    model._net.network = model._net.network._replace(loss_options=())
    model.save(tmp_path / "m")
    loaded = fastmlp.load(tmp_path / "m")
    assert loaded._net.network.loss_options == (0.0,)
    loaded.partial_fit(INPUTS, NUMBERS)
