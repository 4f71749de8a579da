"""Regularisation, Monte-Carlo dropout and monitoring, in MLP and in the estimators."""

import pickle

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastmlp
from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, dead_units, make_optimizer
from fastmlp.kernels.engine import plan
from fastmlp.kernels.spec import Noise
from fastmlp.prediction import predict as prediction

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.standard_normal((80, 4))
y = np.sin(X[:, 0]) + 0.3 * rng.standard_normal(80)
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
RANDOM = {"dropout": 0.3, "input_dropout": 0.1, "input_noise": 0.1}


def noisy_model(**options):
    layers = [Layer(20, "relu", dropout=0.3), Layer(1, "identity")]
    return MLP(layers, input_noise=0.1, random_state=0, **options)


def test_l1_makes_weights_zero_and_l2_makes_them_small():
    """Weights of irrelevant inputs."""
    sizes = {}
    for name, options in (("none", {}), ("l1", {"l1": 5.0}), ("l2", {"alpha": 50.0})):
        model = MLP([(1, "identity")], optimizer="lbfgs", init="zeros", **options).fit(X, X[:, 0], 300)
        sizes[name] = np.abs(model.weights[0][:, 0])
    assert sizes["l2"][0] < 0.8 < sizes["l1"][0] < sizes["none"][0]
    assert sizes["l1"][1:].max() < 1e-2


def test_activity_penalty_reduces_hidden_outputs():
    means = []
    for strength in (0.0, 0.1):
        model = MLP([Layer(20, "relu"), Layer(1, "identity")], activity_l1=strength, random_state=0).fit(X, y, 200)
        means.append(model.layer_outputs(X)[0].mean())
    assert means[1] < 0.3 * means[0]


def test_predictions_are_deterministic_and_monte_carlo_samples_vary(backend):
    model = noisy_model(backend=backend).fit(X, y, 30)
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    mean, spread = model.predict(X, mc_samples=400)
    assert mean.shape == spread.shape == (80, 1)
    assert (spread > 0).all()
    assert np.abs(mean - model.predict(X)).max() < 5 * (spread / 20).max() + 0.1  # the mean of a ReLU is not linear
    again = model.predict(X, mc_samples=400)
    np.testing.assert_array_equal(mean, again[0])
    np.testing.assert_array_equal(spread, again[1])


def test_monte_carlo_dropout_with_sparse_input_equals_that_with_dense_input(backend, monkeypatch):
    monkeypatch.setattr(prediction, "DENSE_BLOCK_BYTES", 30 * X.shape[1] * 4)  # blocks of 30, 30 and 20 rows
    model = noisy_model(backend=backend).build(4)
    for dense, sparse in zip(model.predict(X, mc_samples=5), model.predict(csr_array(X), mc_samples=5)):
        np.testing.assert_allclose(sparse, dense, rtol=1e-6)
    first, second = model.predict(np.vstack([X[:30]] * 2), mc_samples=5)[0].reshape(2, 30)
    assert not np.isclose(first, second).any()


def test_standard_deviation_of_monte_carlo_dropout_equals_that_of_the_passes(backend):
    model = noisy_model(backend=backend).build(4)
    seeds = np.random.RandomState(model._state.seed % 2**32).randint(2**63 - 1, size=7, dtype=np.int64)
    kernels = fastmlp.backends.registry.choose(backend).kernels
    passes = [
        kernels.forward(model.network, model.parameters, X.astype("f4"), noise=Noise(int(seed), 0, 0.1, (0.3, 0.0)))
        for seed in seeds
    ]
    mean, spread = model.predict(X, mc_samples=7)
    np.testing.assert_allclose(mean, np.mean(passes, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(spread, np.std(passes, axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_estimators_with_dropout_and_noise(backend, kind):
    target = LABELS if kind is MLPClassifier else y
    estimator = kind(hidden_layer_sizes=(20, 20), max_iter=40, random_state=0, backend=backend, skip=2, **RANDOM)
    again = kind(hidden_layer_sizes=(20, 20), max_iter=40, random_state=0, backend="numpy", skip=2, **RANDOM)
    estimator.fit(X, target)
    np.testing.assert_allclose(estimator._net.parameters, again.fit(X, target)._net.parameters, rtol=1e-7, atol=1e-9)
    predict = estimator.predict_proba if kind is MLPClassifier else estimator.predict
    mean, spread = predict(X, mc_samples=30)
    assert mean.shape == spread.shape == predict(X).shape
    assert spread.min() > 0
    estimator.set_params(dropout=0.0, input_noise=0.0, input_dropout=0.0)
    np.testing.assert_array_equal(predict(X, mc_samples=30)[1], spread)  # parameters set after the fit have no effect


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("through", ["file", "pickle", "joblib"])
def test_saved_estimators_draw_the_same_samples(tmp_path, kind, through):
    estimator = kind(
        hidden_layer_sizes=(8, 8), activation=["prelu", "gelu"], solver=make_optimizer("adamw", 0.01, clip_norm=1.0),
        max_iter=5, random_state=0, skip=2, **RANDOM,
    ).fit(X, LABELS)  # fmt: skip
    path = tmp_path / "m"
    if through == "file":
        estimator.save(path)
        again = fastmlp.load(path)
    elif through == "joblib":
        joblib.dump(estimator, path)
        again = joblib.load(path)
    else:
        again = pickle.loads(pickle.dumps(estimator))
    name = "predict_proba" if kind is MLPClassifier else "predict"
    for given in ({}, {"mc_samples": 5}):
        np.testing.assert_array_equal(getattr(again, name)(X, **given), getattr(estimator, name)(X, **given))
    assert again.get_params() == estimator.get_params()
    for model in (estimator, again):
        model.partial_fit(X, LABELS)
    np.testing.assert_array_equal(again._net.parameters, estimator._net.parameters)


def test_an_interrupted_fit_with_dropout_resumes_bit_for_bit(tmp_path):
    whole, half = noisy_model().fit(X, y, 6), noisy_model().fit(X, y, 3)
    half.save(tmp_path / "m")
    np.testing.assert_array_equal(MLP.load(tmp_path / "m").fit(X, y, 3).parameters, whole.parameters)


@pytest.mark.parametrize("batch_size", [48, 256])
def test_same_bits_for_every_number_of_threads(batch_size, monkeypatch):
    """With all regularisation; groups of rows whose gradients are summed, and parts of every matrix."""
    monkeypatch.setattr(plan, "CALL_FLOPS", 0)
    monkeypatch.setattr(plan, "THREAD_FLOPS", 1)
    rows = np.random.RandomState(1).standard_normal((1024, 96)).astype("f4")
    layers = [
        Layer(128, "prelu", dropout=0.2), Layer(128, "gelu", skip=2, dropout=0.1),
        Layer(128, "shared_prelu", skip=2, skip_weights=False), Layer(3, "identity"),
    ]  # fmt: skip
    found = []
    for n_threads in (1, 2, 3):
        given = make_optimizer("adamw", 0.01, clip_norm=0.5, max_norm=1.5)
        model = MLP(
            layers, "huber", given, l1=0.1, activity_l2=0.01, input_noise=0.1, random_state=0, n_jobs=n_threads
        ).fit(rows, rows[:, :3], 2, batch_size)
        found.append((model.parameters.copy(), model.history["loss"], model.predict(rows, mc_samples=3)[1]))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        assert found[0][1] == other[1]
        np.testing.assert_array_equal(found[0][2], other[2])


def test_early_stopping_of_a_model_restores_the_best_epoch():
    held_out = X[60:], y[60:]
    model = MLP([Layer(50, "relu"), Layer(1, "identity")], optimizer=make_optimizer("adam", 0.02), random_state=0)
    model.fit(X[:60], y[:60], 500, validation_data=held_out, patience=10)
    curve = model.history["validation_loss"]
    assert len(curve) < 500
    assert len(curve) == int(np.argmin(curve)) + 1 + 10
    assert model.evaluate(*held_out)["loss"] == pytest.approx(min(curve), rel=1e-6)
    assert min(curve) < curve[-1]


def test_early_stopping_with_lbfgs():
    held_out = X[60:], y[60:]
    model = MLP([Layer(30, "tanh"), Layer(1, "identity")], optimizer="lbfgs", random_state=0)
    model.fit(X[:60], y[:60], 500, validation_data=held_out, patience=5)
    curve = model.history["validation_loss"]
    assert len(curve) == int(np.argmin(curve)) + 1 + 5
    assert model.evaluate(*held_out)["loss"] == pytest.approx(min(curve), rel=1e-5)


def test_monitor_records_norms_and_dead_units(backend):
    model = MLP([Layer(6, "relu"), Layer(5, "tanh"), Layer(1, "identity")], random_state=0, backend=backend).build(4)
    model.biases[0][:3] = -100
    before = model.parameters.copy()
    model.fit(X, y, 2, monitor=True)
    history = model.history
    assert [len(history[name]) for name in ("loss", "gradient_norm", "update_norm", "dead_units")] == [2, 2, 2, 2]
    assert history["dead_units"] == [(3.0, 0.0)] * 2
    assert dead_units(model, X) == (3, 0)
    gradient = model._backend.kernels.loss_and_gradient(model.network, model.parameters, X.astype("f4"),
                                                       y[:, None].astype("f4"))[2]  # fmt: skip
    parts = np.split(gradient, [block.start for block in model.network.blocks][1:])
    np.testing.assert_allclose(history["gradient_norm"][-1], [np.linalg.norm(part) for part in parts], rtol=1e-4)
    moved = np.split(model.parameters - before, [block.start for block in model.network.blocks][1:])
    assert all(norm <= sum(steps) + 1e-6 for norm, *steps in zip(map(np.linalg.norm, moved), *history["update_norm"]))


def test_dead_units_of_estimators(backend):
    """Inputs are scaled first; dense and sparse input."""
    for options in ({}, {"scale": "standard"}):
        model = MLPRegressor(hidden_layer_sizes=(6, 5), max_iter=2, random_state=0, backend=backend, **options)
        model.fit(X + 5, y)
        model.intercepts_[0][:3] = -100
        inputs = X + 5 if not options else (X - X.mean(axis=0)) / X.std(axis=0)
        first = inputs @ model.coefs_[0] + model.intercepts_[0]
        second = np.maximum(first, 0) @ model.coefs_[1] + model.intercepts_[1]
        expected = tuple(int((z <= 0).all(axis=0).sum()) for z in (first, second))
        assert expected[0] >= 3
        assert dead_units(model, X + 5) == expected
        if not options:
            assert dead_units(model, csr_array(X + 5)) == expected
    with pytest.raises(NotFittedError):
        dead_units(MLPRegressor(), X)


def test_monitor_does_not_change_the_training():
    layers = [Layer(6, "relu", dropout=0.2), Layer(1, "identity")]
    plain, watched = (MLP(layers, random_state=0).fit(X, y, 3, monitor=monitor) for monitor in (False, True))
    np.testing.assert_array_equal(plain.parameters, watched.parameters)


def test_history_of_layers_is_saved(tmp_path):
    model = MLP([Layer(3, "tanh"), Layer(1, "identity")], random_state=0).fit(X, y, 2, monitor=True)
    model.save(tmp_path / "m")
    assert MLP.load(tmp_path / "m").history == model.history


@pytest.mark.parametrize("weighted", [True, False])
def test_skip_connections_prevent_vanishing_gradients(weighted):
    """20 layers of small tanh units: without skips the first layers have almost no gradient."""
    ratios = {}
    for skip in (0, 2):
        layers = [Layer(16, "tanh", skip=skip if n > 2 else 0, skip_weights=weighted) for n in range(1, 20)]
        model = MLP([*layers, Layer(1, "identity")], init=("normal", 0.1), random_state=0)
        model.fit(X, y, 1, monitor=True)
        norms = model.history["gradient_norm"][0]
        ratios[skip] = norms[0] / norms[-1]
    assert ratios[0] < 1e-6
    assert ratios[2] > 1e3 * ratios[0]


def test_warm_start_and_new_shapes():
    estimator = MLPRegressor(hidden_layer_sizes=(4, 4), activation="prelu", warm_start=True, max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="cannot change the architecture"):
        estimator.set_params(activation="relu").fit(X, y)
    with pytest.raises(ValueError, match="cannot change the architecture"):
        estimator.set_params(activation="prelu", skip=2).fit(X, y)
    with pytest.warns(ConvergenceWarning):
        estimator.set_params(skip=0, dropout=0.2).fit(X, y)
