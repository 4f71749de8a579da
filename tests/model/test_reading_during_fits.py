"""What other threads see of a model while a thread fits it: predictions, files, copies and pickles."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastmlp import (
    MLP,
    Adaline,
    Layer,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    Perceptron,
    TabularMLPRegressor,
)
from fastmlp.model.exclusive import Reading, claim, release
from fastmlp.training.state import TrainingState
from patience import PATIENCE

rng = np.random.RandomState(0)
X = rng.standard_normal((400, 6))
y = X[:, 0] * X[:, 1]
LABELS, OTHERS = (y > 0).astype(int), np.where(y > 0, "b", "a")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def in_a_thread(function, *given):
    """The result or the error of a call in another thread."""
    found = []

    def call():
        try:
            found.append(function(*given))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "the call hangs"
    return found[0]


def regressor(**more):
    return MLPRegressor(hidden_layer_sizes=8, max_iter=3, random_state=0, **more)


def classifier(**more):
    return MLPClassifier(8, max_iter=3, random_state=0, **more)


# {name: (a fitted model, a fit of it with callbacks, whether that goes on with its weights)}
FITS = {
    "regressor": (lambda: regressor().fit(X, y), lambda m, **more: m.fit(X, -y, **more), False),
    "classifier": (lambda: classifier().fit(X, LABELS), lambda m, **more: m.fit(X, OTHERS, **more), False),
    "warm start": (
        lambda: regressor(warm_start=True).fit(X, y), lambda m, **more: m.fit(X, -y, **more), True,
    ),
    "lbfgs": (
        lambda: regressor(solver="lbfgs", warm_start=True).fit(X, y), lambda m, **more: m.fit(X, -y, **more), True,
    ),
    "stream": (
        lambda: classifier().fit(X, LABELS), lambda m, **more: m.fit_stream([(X, OTHERS)], ["a", "b"], **more), False,
    ),
    "table": (
        lambda: TabularMLPRegressor(epochs=2, random_state=0, n_jobs=1).fit(X, y),
        lambda m, **more: m.fit(X[:, :3], -y, **more), False,
    ),
    "MLP": (lambda: network().fit(X, y, 2), lambda m, **more: m.fit(X, -y, 3, **more), True),
    "MLP by lbfgs": (lambda: network("lbfgs").fit(X, y, 2), lambda m, **more: m.fit(X, -y, 3, **more), True),
}  # fmt: skip


def network(optimizer="adam"):
    return MLP([Layer(8, "tanh"), Layer(1, "identity")], optimizer=optimizer, random_state=0)


@pytest.mark.parametrize("name", FITS)
def test_another_thread_predicts_as_before_or_as_at_the_end_of_an_epoch(name):
    make, fit, goes_on = FITS[name]
    model = make()
    before, seen, own = model.predict(X), [], []

    def look(trained, epoch, results):
        own.append(trained.predict(X) if goes_on else None)
        seen.append(in_a_thread(model.predict, X))

    fit(model, callbacks=look)
    assert len(seen) >= 2
    for prediction, now in zip(seen, own):
        np.testing.assert_array_equal(prediction, now if goes_on else before)
    assert not np.array_equal(in_a_thread(model.predict, X), before)


def test_an_ensemble_predicts_as_before():
    model, seen = MLPEnsembleRegressor(regressor(), n_members=2, n_jobs=1, random_state=0).fit(X, y), []
    before = model.predict(X)

    def metric(*given):
        seen.append(in_a_thread(model.predict, X))
        return 0.0

    model.fit(X, -y, eval_set=(X, y), eval_metric=metric)
    assert seen
    assert all(np.array_equal(one, before) for one in seen)


@pytest.mark.parametrize("kind", [Perceptron, Adaline])
def test_models_of_one_layer_predict_as_before(kind, monkeypatch):
    model, seen = kind(max_iter=2, random_state=0).fit(X, LABELS), []
    before, train = model.predict(X), kind._train

    def watched(model, *given):
        seen.append(in_a_thread(model.predict, X))
        train(model, *given)
        seen.append(in_a_thread(model.predict, X))

    monkeypatch.setattr(kind, "_train", watched)
    model.fit(X, OTHERS)
    assert len(seen) == 2
    assert all(np.array_equal(one, before) for one in seen)
    assert set(model.predict(X)) == {"a", "b"}
    with pytest.raises(RuntimeError, match="already being fitted"):
        monkeypatch.setattr(kind, "_train", lambda model, *given: model.fit(X, LABELS))
        model.fit(X, LABELS)


def test_the_first_fit_of_an_estimator_shows_its_epochs():
    model, seen, own = classifier(), [], []

    def look(model, epoch, results):
        own.append(model.predict_proba(X))
        seen.append(in_a_thread(model.predict_proba, X))

    model.fit(X, OTHERS, callbacks=look)
    np.testing.assert_array_equal(seen, own)


def test_before_its_first_epoch_it_is_not_fitted():
    model = regressor()
    own = claim(model)
    assert isinstance(in_a_thread(model.predict, X), NotFittedError)
    release(model, own)


@pytest.mark.parametrize("name", FITS)
def test_it_cannot_be_saved_or_copied_by_another_thread(name, tmp_path):
    make, fit, _ = FITS[name]
    model, errors = make(), []

    def look(trained, epoch, results):
        for call in (copy.copy, copy.deepcopy, pickle.dumps, lambda model: model.save(tmp_path / "model")):
            errors.append(in_a_thread(call, model))

    fit(model, callbacks=look)
    assert len(errors) >= 8
    assert all(isinstance(one, RuntimeError) and "being fitted by another thread" in str(one) for one in errors)
    assert not list(tmp_path.iterdir())
    assert copy.deepcopy(model)
    model.save(tmp_path / "model")


def test_a_fit_waits_for_predictions_that_are_running():
    model, order = network().fit(X, y, 1), []

    def fit():
        order.append("asked")
        model.fit(X, y, 1, callbacks=lambda *given: order.append("fitted"))

    with Reading(model):
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        thread.join(0.2)
        assert order == ["asked"]
        model.predict(X)  # a reader may read again, and the fit still waits
        order.append("read")
    thread.join(PATIENCE)
    assert order == ["asked", "read", "fitted"]


def test_a_reader_that_no_longer_exists_does_not_block_a_fit():
    model = network().fit(X, y, 1)
    reading = Reading(model)
    reading.__enter__()
    del reading  # as after Ctrl-C just before the block
    assert in_a_thread(model.fit, X, y, 1) is model


def test_a_thread_may_fit_what_it_reads():
    model = network().fit(X, y, 1)
    with Reading(model):
        assert in_a_thread(lambda: None) is None
        model.fit(X, y, 1)


def test_readers_wait_for_single_steps():
    """Steps keep no copy of the weights; a thread that makes one step after the other does not shut others out."""
    model = network().build(6)
    step, over, rows = model.compile_step(32), threading.Event(), X[:32].astype("f4")
    targets = rows[:, :1].copy()

    def learn():
        while not over.is_set():
            step(rows, targets)

    learner = threading.Thread(target=learn, daemon=True)
    learner.start()
    try:
        for _ in range(20):
            assert in_a_thread(model.predict, rows).shape == (32, 1)
            assert in_a_thread(copy.deepcopy, model).predict(rows).shape == (32, 1)
    finally:
        over.set()
        learner.join(PATIENCE)


def test_two_models_copy_from_each_other():
    one, other = network().build(6), network().build(6)

    def copy_from(source, target):
        for _ in range(500):
            target.copy_parameters(source, 0.5)

    threads = [threading.Thread(target=copy_from, args=pair, daemon=True) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def test_weights_for_others_are_those_before_a_change():
    parameters = np.zeros(3)
    state = TrainingState.without_optimizer(parameters)
    with state.rewriting():
        parameters += 1
        np.testing.assert_array_equal(state.seen_by_others(), np.zeros(3))
    np.testing.assert_array_equal(state.seen_by_others(), np.ones(3))
    state.keep_start()
    parameters += 1
    np.testing.assert_array_equal(state.seen_by_others(), np.ones(3))
    state.drop_epoch_in_progress()
    seen = state.seen_by_others()
    parameters += 1
    np.testing.assert_array_equal(seen, np.full(3, 2.0))


def test_weights_that_change_while_they_are_copied_are_copied_again():
    class Slow(np.ndarray):
        def copy(self, *given):
            if not state.n_writes:  # an epoch begins and ends during the first copy
                torn = np.array([0.0, 1.0])
                state.epoch_start = np.array([0.0, 0.0])
                state.n_writes += 1
                state.epoch_start = None
                self[...] = 1
                return torn
            return np.array(self)

    state = TrainingState.without_optimizer(np.zeros(2).view(Slow))
    np.testing.assert_array_equal(state.seen_by_others(), np.ones(2))


@pytest.mark.parametrize("make", [lambda: network().fit(X, y, 1), lambda: regressor().fit(X, y)])
def test_a_refused_fit_is_never_seen_half_undone(make):
    """Attributes are restored at once: a prediction never finds the model without weights."""
    model, errors, over = make(), [], threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def read():
        while not over.is_set():
            try:
                model.predict(X[:1])
                repr(model)
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(200):
            with pytest.raises(ValueError, match="inconsistent"):
                model.fit(X, y[:3])
    finally:
        over.set()
        reader.join(PATIENCE)
        sys.setswitchinterval(interval)
    assert not errors
