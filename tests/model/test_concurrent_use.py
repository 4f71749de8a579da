"""One model in several threads: predictions of an MLP during a fit; a second fit of any model is refused."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone

from fastmlp import MLP, Callback, Layer, MLPClassifier, MLPEnsembleRegressor, MLPRegressor

rng = np.random.RandomState(0)
X = rng.standard_normal((2000, 8)).astype("f4")
y = X[:, :1] * X[:, 1:2]


class Reader(Callback):
    """A callback that predicts in another thread, from the end of the first epoch to the end of the fit."""

    def __init__(self):
        self.allowed, self.seen, self.error, self._over = set(), set(), None, False
        self._thread = threading.Thread(target=self._read)

    def after_epoch(self, model, epoch, results):
        self.allowed.add(model.predict(X[:50]).tobytes())
        if epoch == 1:
            self.model = model
            self._thread.start()

    def after_fit(self, model, error):
        self._over = True
        self._thread.join()

    def _read(self):
        try:
            while not self._over:
                self.seen.add(self.model.predict(X[:50]).tobytes())
                self.model.evaluate(X[:50], y[:50])
                self.model.layer_outputs(X[:2])
                self.model.compile_predict()(X[0])
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize("stream", [False, True])
def test_predictions_during_a_fit_are_those_of_the_last_epoch(backend, stream):
    model = MLP([Layer(32, "tanh"), Layer(1, "identity")], backend=backend, random_state=0)
    model.build(8).predict(X[:50])  # compiles
    reader, epochs = Reader(), 5 if backend == "numpy" else 40
    if stream:
        model.fit_stream([(X, y)], epochs, callbacks=reader)
    else:
        model.fit(X, y, epochs, validation_data=(X, y), metric="r2", patience=1000, monitor=True, callbacks=reader)
    assert reader.error is None
    assert reader.seen
    assert reader.seen <= reader.allowed


def network():
    return MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0)


def regressor():
    return MLPRegressor(hidden_layer_sizes=4, max_iter=2, random_state=0)


def classifier():
    return MLPClassifier(4, max_iter=2, random_state=0)


LABELS = (y[:, 0] > 0).astype(int)
CALLS = {  # model: methods that change its weights
    network: {
        "fit": lambda model, **more: model.fit(X, y, 2, **more),
        "fit_stream": lambda model, **more: model.fit_stream([(X, y)], 2, **more),
        "build": lambda model: model.build(8),
        "layers": lambda model: setattr(model, "layers", [(1, "identity")]),
    },
    regressor: {
        "fit": lambda model, **more: model.fit(X, y[:, 0], **more),
        "fit_stream": lambda model, **more: model.fit_stream([(X, y[:, 0])], **more),
        "partial_fit": lambda model: model.partial_fit(X, y[:, 0]),
    },
    classifier: {
        "fit": lambda model, **more: model.fit(X, LABELS, **more),
        "fit_stream": lambda model, **more: model.fit_stream([(X, LABELS)], [0, 1], **more),
        "partial_fit": lambda model: model.partial_fit(X, LABELS, classes=[0, 1]),
    },
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("outer", ["fit", "fit_stream"])
@pytest.mark.parametrize("make", CALLS)
def test_changes_of_a_model_are_refused_while_a_fit_runs(make, outer):
    """In a callback and in another thread. Copies of the model can be fitted, also by the callback."""
    fit, refused, copies = CALLS[make][outer], [], []

    def call_each(model):
        for call in CALLS[make].values():
            try:
                call(model)
            except RuntimeError as error:
                refused.append(str(error))

    def after_epoch(model, epoch, results):
        call_each(model)
        other = threading.Thread(target=call_each, args=[model])
        other.start()
        other.join()
        copies.extend([copy.deepcopy(model), pickle.loads(pickle.dumps(model))])
        copies.extend([clone(model)] if isinstance(model, BaseEstimator) else [])

    model, expected = make(), fit(make())
    for _ in range(2):  # a fit is possible again after a fit and after a refused one
        refused.clear()
        fit(model, callbacks=after_epoch)
        assert len(refused) == 2 * 2 * len(CALLS[make])
        assert all(f"this {type(model).__name__} is already being fitted" in text for text in refused)
        with pytest.raises(ValueError, match=r"inconsistent|blocks"):
            fit_without_data(model, outer)
        np.testing.assert_array_equal(first_weights(model), first_weights(expected))
        if make is network:
            fit(expected)
    for one in copies:
        fit(one)


def first_weights(model):
    return model.weights[0] if isinstance(model, MLP) else model.coefs_[0]


def fit_without_data(model, method):
    if method == "fit":
        model.fit(X, LABELS[:3])
    elif isinstance(model, MLPClassifier):
        model.fit_stream([], [0, 1])
    else:
        model.fit_stream([])


def test_a_metric_of_an_ensemble_cannot_fit_it():
    ensemble = MLPEnsembleRegressor(regressor(), n_members=1)
    with pytest.raises(RuntimeError, match="this MLPEnsembleRegressor is already being fitted"):
        ensemble.fit(X, y[:, 0], eval_set=(X, y[:, 0]), eval_metric=lambda *given: ensemble.fit(X, y[:, 0]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which this system lacks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_may_fit_a_model_that_was_being_fitted():
    model, statuses = MLP([Layer(4), Layer(1, "identity")], random_state=0), []

    def callback(model, epoch, results):
        child = os.fork()
        if not child:
            try:
                model.fit(X[:50], y[:50], 1)
            finally:
                os._exit(model.epoch)  # before pytest notices the child
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    model.fit(X[:50], y[:50], 1, callbacks=callback)
    assert statuses == [2]
