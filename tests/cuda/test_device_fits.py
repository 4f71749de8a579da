"""Fits on the device: models, estimators, device arrays, data larger than device memory, custom functions."""

import math
import re
import weakref

import numpy as np
import pytest
from numba import cuda
from numpy.testing import assert_allclose, assert_array_equal

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, make_loss, make_optimizer
from fastmlp.backends import registry
from fastmlp.estimators.prediction import predictor_of
from fastmlp.kernels.cuda import data, devices, dispatch, executor, training_strategies
from fastmlp.kernels.cuda.simt.prediction import prediction_kernel
from fastmlp.kernels.cuda.simt.training_kernel import training_kernel

ON_CPU = registry.choose().name  # a machine with a GPU may have no extension module
rng = np.random.RandomState(0)
X = rng.standard_normal((30, 4)).astype("f4")
y = np.sin(X[:, :1])


def model(backend, **options):
    layers = [Layer(6, "tanh"), Layer(1, "identity")]
    return MLP(layers, optimizer=make_optimizer("adam", 0.01), random_state=0, backend=backend, **options)


def test_models_agree_with_those_of_other_backends():
    fits = [model(name, alpha=0.1).fit(X, y, 3, 8, validation_data=(X[:9], y[:9])) for name in ("cuda", ON_CPU)]
    assert fits[0].backend == "cuda"
    assert re.search(r"one block of \d+ threads computes whole steps", fits[0].backend_reason_)
    assert fits[1].backend_reason_ == "requested"
    for curve in ("loss", "validation_loss"):
        assert_allclose(fits[0].history[curve], fits[1].history[curve], rtol=1e-4)
    assert_allclose(fits[0].predict(X), fits[1].predict(X), rtol=1e-3, atol=1e-5)
    assert_allclose(fits[0].compile_predict()(X[0]), fits[0].predict(X[:1])[0], rtol=1e-6)


@pytest.mark.parametrize("kind, target", [(MLPClassifier, (y[:, 0] > 0).astype(int)), (MLPRegressor, y[:, 0])])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(kind, target):
    wide = X.astype("f8")
    fits = [
        kind(hidden_layer_sizes=(5,), max_iter=3, batch_size=8, random_state=0, backend=name, dropout=0.2).fit(
            wide, target
        )
        for name in ("cuda", "numpy")
    ]
    assert_allclose(fits[0].loss_curve_, fits[1].loss_curve_, rtol=1e-9)
    assert_allclose(*(predictor_of(fit).outputs(wide) for fit in fits), rtol=1e-9)
    assert fits[0].backend_ == "cuda"
    assert re.match(r"requested; one block of \d+ threads computes whole steps", fits[0].backend_reason_)


def test_device_arrays_are_not_copied(monkeypatch):
    """They are passed to kernels without a copy, and the fit is the same."""
    there = cuda.to_device(X)
    copied = []
    to_device = cuda.to_device
    monkeypatch.setattr(cuda, "to_device", lambda array, *rest: copied.append(array.shape) or to_device(array, *rest))
    found = model("cuda").fit(there, y, 2, 8)
    assert X.shape not in copied
    assert_array_equal(found.parameters, model("cuda").fit(X, y, 2, 8).parameters)
    assert X.shape in copied
    assert_array_equal(found.predict(there), found.predict(X))
    assert found.evaluate(there, cuda.to_device(y)) == found.evaluate(X, y)
    assert_array_equal(model(ON_CPU).fit(there, y, 1).predict(X), model(ON_CPU).fit(X, y, 1).predict(X))


def test_blocks_of_rows():
    """Also blocks on the device, and of lengths that are not multiples of the batch size."""
    blocks = [(X[:11], y[:11]), (cuda.to_device(X[11:13]), y[11:13]), (X[13:], y[13:])]
    parts = model("cuda").fit_stream(blocks, 2, 8, shuffle=False)
    whole = model("cuda").fit(X, y, 2, 8, shuffle=False)
    assert_array_equal(parts.parameters, whole.parameters)
    assert parts.history == whole.history


@pytest.mark.parametrize(
    "wrong, message",
    [
        (X.astype("f8"), "X on the GPU is float64, but the model is float32: convert it"),
        (X[:, 0].copy(), "a non-empty 2-D array"),
        (np.asfortranarray(X), "C-contiguous"),
        (np.where(X > 2, np.nan, X), "NaN or infinity"),
        (X[:, :3].copy(), "3 columns"),
    ],
)
def test_wrong_rows_on_the_device(wrong, message):
    with pytest.raises(ValueError, match=message):
        model("cuda").build(4).fit(cuda.to_device(wrong), y)


def test_data_larger_than_device_memory_is_copied_in_blocks(monkeypatch):
    """Blocks of two batches, with two buffers in turn."""
    whole = model("cuda").fit(X, y, 2, 5, sample_weight=np.arange(1.0, 31))
    monkeypatch.setattr(devices, "free_bytes", lambda: 100)
    monkeypatch.setattr(data, "BLOCK_BYTES", 10 * X.shape[1] * 4)
    buffers = []
    load = data._StagingBuffer.load
    monkeypatch.setattr(data._StagingBuffer, "load", lambda self, *given: buffers.append(self) or load(self, *given))
    streamed = model("cuda").fit(X, y, 2, 5, sample_weight=np.arange(1.0, 31))
    assert_array_equal(streamed.parameters, whole.parameters)
    assert streamed.history == whole.history
    assert len(buffers) >= 6
    assert len(set(map(id, buffers[:3]))) == 2
    assert_array_equal(streamed.predict(X), whole.predict(X))


def test_several_launches_per_epoch(monkeypatch):
    once = model("cuda").fit(X, y, 2, 2)
    monkeypatch.setattr(training_strategies, "STEPS_PER_LAUNCH", 4)
    assert_array_equal(model("cuda").fit(X, y, 2, 2).parameters, once.parameters)


def test_memory_of_a_failed_call_is_freed_before_the_retry():
    class Held:
        pass

    tries = []

    def work():
        if tries:
            return tries[0]()
        held = Held()
        tries.append(weakref.ref(held))
        raise devices.OutOfDeviceMemory

    assert executor.call_with_retry(work) is None


def test_single_row_predictions_are_checked_and_reuse_their_output():
    predict = model("cuda").build(4).compile_predict()
    assert predict(X[0]) is predict(X[1])
    for wrong in (X[0, :2], np.zeros(7, "f4"), X[0].astype("f8")):
        with pytest.raises(ValueError, match="the row must be 4 numbers of the model's dtype"):
            predict(wrong)


def test_kernels_are_reused_for_other_numbers_of_rows():
    """Compilation takes seconds: batches, evaluations and predictions of other sizes must not trigger it."""
    fitted = model("cuda").fit(X, y, 1, 30)
    fitted.evaluate(X, y)
    fitted.predict(X[:5])
    compiled = training_kernel.cache_info().misses, prediction_kernel.cache_info().misses
    fitted.fit(X[:20], y[:20], 1, 19)
    fitted.fit(X, y, 1, 17)
    for n in (17, 25, 31):
        fitted.evaluate(X[:n], y[:n])
    for n in (2, 3, 8):
        fitted.predict(X[:n])
    assert (training_kernel.cache_info().misses, prediction_kernel.cache_info().misses) == compiled


def test_custom_functions():
    def bump(z):
        return math.exp(-z * z)

    def bump_derivative(z):
        return -2 * z * math.exp(-z * z)

    def fourth(p, t):
        return (p - t) ** 4

    def fourth_derivative(p, t):
        return 4 * (p - t) ** 3

    fits = [
        MLP(
            [Layer(5, (bump, bump_derivative)), Layer(1, "identity")], (fourth, fourth_derivative), dtype="float64",
            random_state=0, backend=name,
        ).fit(X, y, 2, 8)
        for name in ("cuda", "numpy")
    ]  # fmt: skip
    assert_allclose(fits[0].parameters, fits[1].parameters, rtol=1e-9)


def test_the_strategy_depends_on_the_shape():
    from fastmlp.kernels.cuda.simt.layout import Features
    from fastmlp.kernels.spec import Network

    class H200:
        processors, shared_bytes = 132, 232448

    def strategy(sizes, batch_size):
        network = Network(sizes, ("relu",) * (len(sizes) - 2) + ("identity",), "squared_error")
        return dispatch.training_config(network, Features(), "adam", np.dtype("f4"), batch_size, H200).strategy

    assert strategy((4, 16, 3), 1) == strategy((8, 64, 64, 1), 8) == "block"
    assert strategy((784, 128, 10), 128) == "grid"
    assert strategy((64,) * 6, 2**18) == "tiles"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_losses_of_single_outputs_are_refused_before_anything_changes():
    """They can be evaluated, but not trained on."""
    twice, weight = np.hstack([y, -y]), np.ones((30, 2), "f4")
    layers, levels = [Layer(2, "identity")], make_loss("quantile", quantile=[0.1, 0.9])
    plain = MLP(layers, random_state=0, backend="cuda").fit(X, twice, 1)
    before = plain.parameters.copy()
    regressor = MLPRegressor(hidden_layer_sizes=(), max_iter=1, backend="cuda", random_state=0).fit(X, twice)
    for call in (
        lambda: plain.fit(X, twice, sample_weight=weight),
        lambda: plain.fit_stream([(X, twice, weight)]),
        lambda: plain.compile_step(30)(X, twice, weight),
        lambda: MLP(layers, levels, backend="cuda").fit(X, y),
        lambda: MLP(layers, levels, "lbfgs", backend="cuda").fit(X, y),
        lambda: regressor.fit(X, twice, weight),
        lambda: MLPRegressor(levels, (), backend="cuda", max_iter=1).fit(X, y[:, 0]),
        lambda: MLPRegressor(missing_targets="ignore", backend="cuda").fit(X, np.where(twice > 0.5, np.nan, twice)),
    ):
        with pytest.raises(ValueError, match="'cuda' does not support weights of single targets"):
            call()
    assert_array_equal(plain.parameters, before)
    assert plain.epoch == 1
    assert plain.evaluate(X, twice, weight)["loss"] == pytest.approx(plain.evaluate(X, twice)["loss"], rel=1e-6)
    assert regressor.score(X, twice, weight) == pytest.approx(regressor.score(X, twice))
    one = MLPRegressor(missing_targets="ignore", backend="cuda", hidden_layer_sizes=(), max_iter=1, random_state=0)
    assert np.isfinite(one.fit(X, np.where(y[:, 0] > 0.5, np.nan, y[:, 0])).loss_)  # weights of samples
