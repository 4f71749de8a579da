"""One MLP in several threads: predictions during a fit; a second fit is refused."""

import threading

import numpy as np
import pytest

from fastmlp import MLP, Callback, Layer

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


def test_a_second_fit_is_refused_while_one_runs():
    model = MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0)
    refused = []

    def begin_another():
        try:
            model.fit(X, y, 1)
        except RuntimeError as error:
            refused.append(str(error))

    def after_epoch(model, epoch, results):
        begin_another()
        other = threading.Thread(target=begin_another)
        other.start()
        other.join()

    model.fit(X, y, 2, callbacks=after_epoch)
    assert len(refused) == 4
    assert all("already being fitted" in text for text in refused)
    expected = MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0).fit(X, y, 2)
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    with pytest.raises(ValueError, match="inconsistent"):
        model.fit(X, y[:3])
    assert model.fit(X, y, 1).epoch == 3  # fits are possible again after a fit and after a refused one
