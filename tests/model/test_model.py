"""The model API: training, history, validation data, reproducibility and repr."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split

from fastmlp import MLP, Layer, make_optimizer
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.prediction.predictor import Predictor

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def classifier(**options):
    options = {"loss": "categorical_cross_entropy", "random_state": 0} | options
    return MLP([Layer(8, "tanh"), (6, "relu"), (3, "softmax")], **options)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy_on_iris(backend, optimizer, dtype):
    if optimizer in ("sgd", "momentum", "nesterov"):
        optimizer = make_optimizer(optimizer, 0.05)
    model = classifier(optimizer=optimizer, dtype=dtype, backend=backend).fit(X, y, epochs=60, batch_size=10)
    scores = model.evaluate(X, y)
    assert scores["accuracy"] > 0.95
    assert scores["loss"] < model.history["loss"][0]
    assert model.predict(X).dtype == dtype
    assert model.epoch == len(model.history["loss"]) <= 60


def test_accuracy_on_digits():
    data, target = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(data / 16, target, random_state=0)
    model = MLP([(128, "relu"), (10, "softmax")], "categorical_cross_entropy", random_state=0)
    assert model.fit(X_train, y_train, epochs=40).evaluate(X_test, y_test)["accuracy"] >= 0.97


def test_class_numbers_and_one_hot_targets_are_equivalent():
    a, b = classifier(), classifier()
    np.testing.assert_array_equal(a.fit(X, y).parameters, b.fit(X, np.eye(3)[y]).parameters)
    assert a.evaluate(X, y) == b.evaluate(X, np.eye(3)[y])


def test_a_linear_model_finds_the_least_squares_solution(backend):
    rng = np.random.RandomState(0)
    data, slopes = rng.standard_normal((200, 4)), np.array([[1.0, -2], [0, 3], [0.5, 0], [4, 1]])
    model = MLP([(2, "identity")], optimizer="lbfgs", dtype="float64", backend=backend, random_state=0)
    model.fit(data, data @ slopes + [5, -1], epochs=200)
    np.testing.assert_allclose(model.weights[0], slopes, atol=1e-4)
    np.testing.assert_allclose(model.biases[0], [5, -1], atol=1e-4)
    assert model.evaluate(data, data @ slopes + [5, -1])["r2"] > 0.999999


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_fit_in_two_calls_equals_one(backend, cut):
    whole, parts = classifier(backend=backend, alpha=0.1), classifier(backend=backend, alpha=0.1)
    whole.fit(X, y, epochs=10, batch_size=16)
    parts.fit(X, y, epochs=cut, batch_size=16).fit(X, y, epochs=10 - cut, batch_size=16)
    np.testing.assert_array_equal(whole.parameters, parts.parameters)
    assert whole.history == parts.history


def test_same_seed_same_bits():
    runs = [classifier(random_state=7).fit(X, y, epochs=5).parameters for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert not np.array_equal(runs[0], classifier(random_state=8).fit(X, y, epochs=5).parameters)


def test_without_a_seed_the_global_state_of_numpy_is_used():
    runs = []
    for _ in range(2):
        np.random.seed(5)
        runs.append(classifier(random_state=None).fit(X, y, epochs=2).parameters)
    np.testing.assert_array_equal(*runs)


def test_shuffle_and_batch_size():
    in_order = classifier().build(4)
    start = in_order.parameters.copy()
    in_order.fit(X, y, epochs=1, batch_size=None, shuffle=False)
    shuffled = classifier().build(4)
    np.testing.assert_array_equal(shuffled.parameters, start)
    shuffled.fit(X, y, epochs=1, batch_size=1000)
    np.testing.assert_allclose(in_order.parameters, shuffled.parameters, atol=1e-5)  # one batch: no effect
    online = classifier().fit(X, y, epochs=1, batch_size=1)
    assert online._state.step == 150


def test_history_has_an_entry_for_each_epoch():
    model = classifier().fit(X, y, 2)
    model.fit(X, y, 3, validation_data=(X[:10], y[:10]), monitor=True).fit(X, y, 1)
    assert len(model.history["loss"]) == 6
    for name in ("validation_loss", "gradient_norm", "update_norm", "dead_units"):
        known = [np.isfinite(values).all() for values in model.history[name]]
        assert known == [False] * 2 + [True] * 3


def test_validation_loss_is_recorded_and_not_trained_on():
    plain, watched = classifier().fit(X, y, epochs=4), classifier()
    watched.fit(X, y, epochs=4, validation_data=(X[:10], y[:10]))
    np.testing.assert_array_equal(plain.parameters, watched.parameters)
    assert len(watched.history["validation_loss"]) == 4
    assert watched.history["validation_loss"][-1] == pytest.approx(watched.evaluate(X[:10], y[:10])["loss"])


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_validation_on_a_full_batch_uses_the_weights_after_the_epoch(optimizer):
    """With one batch per epoch the training loss is that of the weights before the step; with L-BFGS, after it."""
    model = classifier(optimizer=optimizer, dtype="float64")
    model.fit(X, y, epochs=6, batch_size=None, validation_data=(X, y))
    loss, validation = model.history["loss"], model.history["validation_loss"]
    if optimizer == "lbfgs":
        np.testing.assert_allclose(validation, loss, rtol=1e-9)
    else:
        np.testing.assert_allclose(validation[:-1], loss[1:], rtol=1e-9)


def test_fit_in_order_after_a_shuffled_fit():
    mixed, plain = classifier().fit(X, y, epochs=1), classifier().build(4)
    plain.parameters[:] = mixed.parameters
    plain._state.slots[:], plain._state.step = mixed._state.slots, mixed._state.step
    for model in (mixed, plain):
        model.fit(X, y, epochs=1, shuffle=False)
    np.testing.assert_array_equal(mixed.parameters, plain.parameters)


def test_the_optimizer_can_be_changed_between_fits():
    model = classifier().fit(X, y, epochs=2)
    slots, step = model._state.slots, model._state.step
    model.optimizer = make_optimizer("adam", 1e-5)
    assert model._state.slots is slots
    assert model._state.step == step
    assert model._state.optimizer.learning_rate == 1e-5
    model.optimizer = "momentum"
    assert model._state.slots.shape == (1, model.n_parameters)
    assert model._state.step == 0
    model.fit(X, y, epochs=1)
    model.optimizer = "lbfgs"
    assert len(model.fit(X, y, epochs=3).history["loss"]) == 6


def test_penalty_shrinks_weights_and_is_in_the_history():
    free, held = classifier().fit(X, y, epochs=50), classifier(alpha=30.0).fit(X, y, epochs=50)
    size = [sum((W**2).sum() for W in model.weights) for model in (free, held)]
    assert size[1] < 0.7 * size[0]
    assert held.history["loss"][-1] > held.evaluate(X, y)["loss"]


def test_sparse_input_and_data_frames():
    dense = classifier().fit(X, y, epochs=3)
    np.testing.assert_array_equal(dense.parameters, classifier().fit(csr_matrix(X), y, epochs=3).parameters)
    np.testing.assert_array_equal(dense.parameters, classifier().fit(pd.DataFrame(X), y, epochs=3).parameters)
    np.testing.assert_array_equal(dense.predict(X), dense.predict(csr_matrix(X)))


@pytest.mark.parametrize("n_rows", [3, 4000])
def test_layouts_and_types_to_predict(backend, n_rows):
    data = np.random.RandomState(0).standard_normal((n_rows, 4)).astype("float32")
    model = classifier(backend=backend).build(4)
    expected = model.predict(data)
    wide = np.zeros((n_rows, 8), "float32")
    wide[:, ::2] = data
    for given in (data.astype(">f4"), data.astype("float64"), np.asfortranarray(data), wide[:, ::2], csr_matrix(data)):
        np.testing.assert_allclose(model.predict(given), expected, rtol=1e-5)
    largest = np.zeros((n_rows, 4), "float32")
    largest[:, 0] = np.finfo("float32").max  # finite, though their sum is not
    assert model.predict(largest).shape == (n_rows, 3)


def test_evaluate_computes_outputs_once(monkeypatch):
    model, calls, outputs = classifier().build(4), [], Predictor.outputs
    monkeypatch.setattr(Predictor, "outputs", lambda predictor, X: calls.append(1) or outputs(predictor, X))
    model.evaluate(X, y)
    assert len(calls) == 1


def test_sample_weight():
    weight = np.where(y == 2, 0, 1)
    model = classifier().fit(X, y, epochs=60, sample_weight=weight)
    assert not (model.predict(X).argmax(axis=1) == 2).any()
    assert model.evaluate(X, y, weight)["accuracy"] > 0.98
    assert model.evaluate(X, y)["accuracy"] < 0.7


def test_weights_are_views():
    model = classifier().build(4)
    model.weights[0][:] = 0
    model.biases[-1][:] = 9
    assert (model.parameters[:32] == 0).all()
    assert (model.parameters[-3:] == 9).all()
    assert model.n_parameters == 4 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3


def test_progress_bar_counts_samples(capsys):
    classifier().fit(X, y, epochs=3, progress=True)
    bar = capsys.readouterr().err
    assert "450/450" in bar
    assert "loss=" in bar


def test_numpy_integers_and_infinite_outputs():
    model = MLP([(1, "exp")], "poisson", n_jobs=np.int64(1)).build(2)
    model.fit([[0.0, 1.0]], [1], epochs=1)
    model.parameters[:] = 90
    with np.errstate(over="ignore"):
        scores = model.evaluate([[1.0, 1.0]] * 2, [1, 2])
    assert not np.isfinite(scores["loss"])
    assert np.isnan(scores["r2"])


def test_repr():
    text = repr(classifier().fit(X, y, epochs=2))
    for part in ("8 tanh", "3 softmax", "categorical_cross_entropy", "adam", "epoch=2", "cython"):
        assert part in text


def test_unsaved_model_has_no_weights():
    with pytest.raises(ValueError, match="no weights yet"):
        classifier().predict(X)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_train_on_their_own(duplicate):
    """And as the original does, from its weights and optimizer state on."""
    X = np.random.RandomState(0).standard_normal((40, 3)).astype("f4")
    model = MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0).fit(X, X[:, 0], 2)
    before, history = model.parameters.copy(), list(model.history["loss"])
    other = duplicate(model).fit(X, X[:, 0], 2, shuffle=False)
    np.testing.assert_array_equal(model.parameters, before)
    assert model.history["loss"] == history
    assert (model.epoch, other.epoch) == (2, 4)
    np.testing.assert_array_equal(model.fit(X, X[:, 0], 2, shuffle=False).parameters, other.parameters)
