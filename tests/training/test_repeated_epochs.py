"""Several epochs in one native call have the results of single ones, bit for bit."""

import threading
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLP, MLPClassifier, make_optimizer, make_schedule
from fastmlp.kernels.cpu.training import Training
from fastmlp.training.shuffling import Shuffle, draws_of

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def estimator(**given):
    def fit(**more):
        model = MLPClassifier(8, max_iter=60, random_state=3, **given, **more).fit(X, y)
        return model._net.training, model._random_state, model.loss_curve_, model.t_

    return fit


def network(optimizer="adam", n_fits=1, batch_size=32, **given):
    def fit(**more):
        layers = [(8, "tanh"), (3, "softmax")]
        model = MLP(layers, "categorical_cross_entropy", optimizer, random_state=np.random.RandomState(5), **more)
        for _ in range(n_fits):
            model.fit(X, y, epochs=13, batch_size=batch_size, **given)
        return model._state, model._random_state, model.history["loss"], model.diverged

    return fit


FITS = {
    "an estimator": estimator(),
    "samples in order": estimator(shuffle=False, batch_size=7),
    "online": estimator(batch_size=1),
    "stopped by tol": estimator(learning_rate_init=0.1, tol=0.01),
    "a rate that falls at plateaus": estimator(
        solver="sgd", learning_rate="adaptive", learning_rate_init=0.5, tol=0.01, n_iter_no_change=3
    ),
    "a rate set after each epoch": estimator(solver="sgd", learning_rate="invscaling"),
    "dropout": estimator(dropout=0.2, input_noise=0.1),
    "an MLP": network(),
    "two fits in float64": network(n_fits=2, batch_size=None),
    "one sample a step": network(batch_size=1),
    "a schedule": network(make_optimizer("adam", schedule=make_schedule("cosine", epochs=30)), 2),
    "a schedule by the loss": network(make_optimizer("sgd", schedule=make_schedule("reduce_on_plateau", patience=1))),
    "sample weights": network(sample_weight=np.arange(150.0)),
    "diverged": network(make_optimizer("sgd", learning_rate=1e38)),
    "large weights": network(make_optimizer("sgd", learning_rate=30.0)),
}


@pytest.fixture
def native_calls(monkeypatch):
    """The numbers of epochs of the native calls with several."""
    numbers, repeat = [], Training.repeat

    def counted(self, batches, step, repetition, rates=None):
        numbers.append(repetition.n_epochs)
        return repeat(self, batches, step, repetition, rates)

    monkeypatch.setattr(Training, "repeat", counted)
    return numbers


@pytest.mark.parametrize("backend", ["cython", "numba"])
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_results_do_not_depend_on_the_number_of_epochs_in_a_call(fit, backend, native_calls, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        state, rng, *rest = fit(backend=backend)
        several = bool(native_calls)
        monkeypatch.setattr(Training, "repeat", None)
        alone, alone_rng, *alone_rest = fit(backend=backend)
    assert several == (fit not in (FITS["a rate set after each epoch"], FITS["a schedule by the loss"]))
    assert rest[-1] is True or fit is not FITS["diverged"]
    assert_array_equal(state.parameters, alone.parameters)
    assert_array_equal(state.slots, alone.slots)
    assert (state.step, state.epoch, *rest) == (alone.step, alone.epoch, *alone_rest)
    assert rng.randint(2**31) == alone_rng.randint(2**31)


def test_an_estimator_asks_for_no_more_epochs_than_its_rule_must_wait(native_calls):
    model = MLPClassifier(8, n_iter_no_change=4, tol=0.01, max_iter=300, random_state=0).fit(X, y)
    assert set(native_calls) <= {2, 3, 4, 5}
    assert native_calls[0] == 5
    assert len(model.loss_curve_) == model.n_iter_


@pytest.mark.parametrize("watched", ["callbacks", "validation_data", "monitor"])
def test_epochs_that_are_watched_are_native_calls_of_their_own(watched, native_calls):
    given = {"callbacks": lambda *call: None, "validation_data": (X, y), "monitor": True}
    network(**{watched: given[watched]})()
    assert native_calls == []


@pytest.mark.parametrize("n", [1, 2, 3, 150, 257])
def test_shuffling_draws_the_numbers_of_numpy(n, native_calls):
    # The seed of either generator is the same; the fit draws permutations of n samples.
    rng, expected = np.random.RandomState(1), np.random.RandomState(1)
    model = MLP([(1, "identity")], random_state=rng).build(1)
    expected.set_state(rng.get_state())
    model.fit(np.ones((n, 1)), np.ones(n), epochs=5)
    assert native_calls == [5]
    for _ in range(5):
        expected.permutation(n)
    assert_array_equal(rng.get_state()[1], expected.get_state()[1])


def test_predictions_in_another_thread_see_the_weights_before_the_call(monkeypatch):
    repeat, seen = Training.repeat, []
    model = MLP([(3, "softmax")], "categorical_cross_entropy").fit(X, y, epochs=1)
    before = model.predict(X)

    def watched(*given):
        results = repeat(*given)
        thread = threading.Thread(target=lambda: seen.append(model.predict(X)))
        thread.start()
        thread.join()
        return results

    monkeypatch.setattr(Training, "repeat", watched)
    model.fit(X, y, epochs=10)
    assert_array_equal(seen[0], before)
    assert not np.array_equal(model.predict(X), before)


def test_a_generator_in_use_by_another_thread_is_not_touched():
    rng = np.random.RandomState(0)
    with rng._bit_generator.lock:
        given = []
        thread = threading.Thread(target=lambda: given.append(draws_of(Shuffle(rng, True)).__enter__()))
        thread.start()
        thread.join()
    assert given == [None]
