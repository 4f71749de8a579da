"""An error in a callback, a metric, a checkpoint, blocks or the engine ends a fit and keeps the weights so far."""

import time
from functools import cache, partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from fastmlp import MLP, Callback, Checkpoint, Layer, MLPClassifier, MLPEnsembleClassifier, MLPRegressor, load
from fastmlp.io import atomic as whole_files
from fastmlp.training.state import TrainingState
from patience import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, X_held, y, y_held = train_test_split(*load_iris(return_X_y=True), random_state=0)
HELD = X_held, y_held
LAST = 4  # the epoch in which errors are raised


class Failure(Exception):
    pass


class Stop(KeyboardInterrupt):
    pass


ERRORS = Failure, Stop, SystemExit


def fail_at_last(model, epoch, results=None, error=Failure):
    if epoch == LAST:
        raise error


class FailBefore(Callback):
    """Raise at the beginning of the next epoch."""

    def before_epoch(self, model, epoch):
        fail_at_last(model, epoch - 1)


class OfScikitLearn:
    max_propagation_depth = None

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, **given):
        if context.task_name == "epoch":
            fail_at_last(estimator, context.task_id + 1)


def metric(estimator, X, y):
    fail_at_last(estimator, estimator.n_iter_)
    return estimator.score(X, y)


def full_disk(tmp_path, monkeypatch):
    keep = Checkpoint(tmp_path / "m")

    def write(path, content):
        if load(tmp_path / "m").n_iter_ == LAST - 1:
            raise Failure
        whole_files.write_whole(path, content)

    MLPClassifier(max_iter=1, random_state=0).fit(X, y).save(tmp_path / "m")
    monkeypatch.setattr("fastmlp.io.model_files.write_whole", write)
    return keep


def put_coefs(model, epoch, results):
    if epoch == LAST:
        model.coefs_ = None
        raise Failure


WAYS = {
    "callback": lambda *_: {"callbacks": fail_at_last},
    "interrupt": lambda *_: {"callbacks": partial(fail_at_last, error=Stop)},
    "exit": lambda *_: {"callbacks": partial(fail_at_last, error=SystemExit)},
    "before an epoch": lambda *_: {"callbacks": FailBefore()},
    "checkpoint": lambda *given: {"callbacks": full_disk(*given)},
    "coefs": lambda *_: {"callbacks": put_coefs},
    "scikit-learn": lambda *_: {},
    "metric": lambda *_: {"eval_set": HELD, "eval_metric": [metric, "neg_log_loss"]},
}


def blocks():
    return [(X[:60], y[:60]), (X[60:], y[60:])]


def classifier(solver="adam", **options):
    options = {"max_iter": 6, "random_state": 0, "learning_rate_init": 0.1, "n_iter_no_change": np.inf} | options
    return MLPClassifier(solver=solver, hidden_layer_sizes=(7,), **options)


FITS = {
    "fit": (classifier, lambda model, **given: model.fit(X, y, **given)),
    "lbfgs": (lambda **given: classifier("lbfgs", **given), lambda model, **given: model.fit(X, y, **given)),
    "fit_stream": (classifier, lambda model, **given: model.fit_stream(blocks(), range(3), **given)),
}


@cache
def whole_fit(kind, early_stopping):
    """Return (the model fitted without an error, the weights of the first layer after each epoch)."""
    make, fit = FITS[kind]
    weights, watched = [], {"eval_set": HELD, "eval_metric": "neg_log_loss"} if early_stopping else {}
    whole = make(early_stopping=early_stopping)
    return fit(whole, callbacks=lambda model, *given: weights.append(model.coefs_[0].copy()), **watched), weights


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FITS)
def test_an_estimator_keeps_its_weights(tmp_path, monkeypatch, kind, way, early_stopping):
    """The weights of the last epoch, also in a second fit, or with early stopping the best ones."""
    if (kind, way) == ("lbfgs", "before an epoch"):
        pytest.skip("lbfgs calls back only after an iteration")
    make, fit = FITS[kind]
    whole, weights = whole_fit(kind, early_stopping)
    given = {"eval_set": HELD, "eval_metric": "neg_log_loss"} if early_stopping else {}
    given |= WAYS[way](tmp_path, monkeypatch)
    model = make(early_stopping=early_stopping)
    if not early_stopping:
        fit(model)
    if way == "scikit-learn":
        model.set_callbacks(OfScikitLearn())
    with pytest.raises(ERRORS):
        fit(model, **given)

    assert model.n_iter_ == LAST
    if hasattr(whole, "loss_curve_"):
        assert model.loss_ == whole.loss_curve_[LAST - 1]
    scored = LAST - 1 if way == "metric" else LAST
    if hasattr(model, "evals_result_"):
        assert {len(scores) for scores in model.evals_result_["validation_0"].values()} == {scored}
    expected = LAST - 1
    if early_stopping:
        assert len(model.validation_scores_) == scored
        expected = int(np.argmax(model.validation_scores_))
    assert_array_equal(model.coefs_[0], weights[expected])
    assert (model.predict(X) == model.classes_[model.predict_proba(X).argmax(axis=1)]).all()
    monkeypatch.undo()
    model.save(tmp_path / "kept")
    assert_array_equal(load(tmp_path / "kept").coefs_[0], model.coefs_[0])
    model.set_callbacks()
    n_iter = fit(model.set_params(warm_start=True, early_stopping=False)).n_iter_
    assert n_iter == 6 or kind == "lbfgs"


def test_an_error_in_the_first_epoch_leaves_the_estimator_unchanged():
    class AtOnce(Callback):
        def before_epoch(self, model, epoch):
            raise Failure

    def late():
        yield X[:60], y[:60]
        raise Failure

    model = classifier().fit(X, y)
    before, weights = dict(vars(model)), model.coefs_[0].copy()
    for refused in (
        lambda: model.fit(X, y, callbacks=AtOnce()),
        lambda: model.fit_stream(late, range(3)),
        lambda: model.fit(X, y, eval_set=(X_held[:, :3], y_held)),
    ):
        with pytest.raises((Failure, ValueError)):
            refused()
        assert vars(model) == before
        assert_array_equal(model.coefs_[0], weights)


def test_an_error_of_blocks_in_a_later_epoch():
    epochs = []

    def given():
        epochs.append(1)
        yield X[:60], y[:60]
        if len(epochs) == LAST:
            raise Failure
        yield X[60:], y[60:]

    model = classifier(shuffle=False, batch_size=10)
    with pytest.raises(Failure):
        model.fit_stream(given, range(3))
    assert model.n_iter_ == len(model.loss_curve_) == LAST - 1
    whole = classifier(shuffle=False, batch_size=10, max_iter=LAST - 1).fit_stream(blocks(), range(3))
    assert_array_equal(model.coefs_[0], whole.partial_fit(X[:60], y[:60]).coefs_[0])  # and the block before the error


@pytest.fixture
def no_memory(monkeypatch):
    """``no_memory(n)``: native calls fail from the n-th one on."""
    take_prepared = TrainingState.take_prepared

    def after(n):
        calls = []

        def failing(state, *given):
            calls.append(1)
            if len(calls) >= n:
                raise MemoryError
            return take_prepared(state, *given)

        monkeypatch.setattr(TrainingState, "take_prepared", failing)

    return after


def test_an_error_of_the_engine_keeps_the_weights_of_the_last_epoch_or_the_old_ones(no_memory):
    model, expected = classifier(backend="cython").fit(X, y), whole_fit("fit", False)[1][1]
    before, weights = dict(vars(model)), model.coefs_[0].copy()
    no_memory(1)
    with pytest.raises(MemoryError):
        model.fit(X, y)
    assert vars(model) == before
    assert_array_equal(model.coefs_[0], weights)
    no_memory(3)
    with pytest.raises(MemoryError):
        model.fit(X, y, callbacks=Callback())  # with callbacks every epoch is a native call
    assert model.n_iter_ == 2
    assert_array_equal(model.coefs_[0], expected)


def test_the_rest_of_an_epoch_after_an_engine_error_is_not_trained_later(no_memory, monkeypatch):
    model = classifier(backend="cython", batch_size=8).partial_fit(X, y, classes=range(3))
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)
    no_memory(3)
    with pytest.raises(MemoryError):
        model.partial_fit(X, y)
    monkeypatch.undo()
    steps = model._net.training.step
    assert model.partial_fit(X, y)._net.training.step == steps + 14


@pytest.mark.parametrize("n_jobs, error", [(1, Failure), (2, Failure), (2, SystemExit)])
def test_an_ensemble_keeps_the_members_that_have_finished_an_epoch(n_jobs, error, no_memory):
    scored = []

    def third(estimator, X, y):
        if estimator not in scored:
            scored.append(estimator)
        if estimator is scored[-1] and len(scored) == 3:
            end = time.monotonic() + PATIENCE
            while any(other.n_iter_ < 6 for other in scored[:2]) and time.monotonic() < end:
                time.sleep(0.001)  # one of them may run in the other thread
            raise error
        return 0.0

    ensemble = MLPEnsembleClassifier(classifier(backend="cython"), n_members=4, n_jobs=n_jobs, random_state=0)
    before = ensemble.fit(X, y).members_
    with pytest.raises(error):
        ensemble.fit(X, y, eval_set=HELD, eval_metric=third)
    complete = [member.n_iter_ for member in ensemble.members_ if any(member is one for one in scored[:2])]
    assert complete == [6, 6]  # whichever members they are: threads may run at any speed
    assert 3 <= len(ensemble.members_) < 4 + (n_jobs == 2)
    assert not set(map(id, before)) & set(map(id, ensemble.members_))
    assert {member.n_jobs for member in ensemble.members_} == {n_jobs}
    assert ensemble.predict(X).shape == y.shape
    before = ensemble.members_
    no_memory(1)
    with pytest.raises(MemoryError):
        ensemble.fit(X, y)
    assert ensemble.members_ is before


def network():
    return MLP([Layer(5, "tanh"), Layer(3, "softmax")], "categorical_cross_entropy", random_state=0)


@pytest.mark.parametrize("blocks_of_rows", [False, True])
def test_an_mlp_resumes_after_an_error_in_its_metric(blocks_of_rows):
    calls = []

    def correct(y, outputs):
        calls.append(1)
        if len(calls) == LAST:
            raise Failure
        return (outputs.argmax(axis=1) == y).mean()

    def fit(model, epochs):
        options = {"validation_data": HELD, "metric": correct, "patience": 20}
        if blocks_of_rows:
            return model.fit_stream(blocks(), epochs, 16, **options)
        return model.fit(X, y, epochs, 16, **options, monitor=True)

    model = network()
    with pytest.raises(Failure):
        fit(model, 9)
    assert model.epoch == len(model.history["loss"]) == LAST
    calls = [1] * LAST
    whole = fit(network(), 9)
    fit(model, 9 - LAST)
    assert model.history["loss"] == whole.history["loss"]
    for name, curve in model.history.items():
        assert len(curve) == 9, name
        assert np.isnan(curve[LAST - 1]).all() == (name != "loss")
    assert model.best_epoch is not None


@pytest.mark.parametrize("rows", [16, 48, 112])
def test_an_mlp_resumes_bit_for_bit_after_an_error_in_the_progress_bar(monkeypatch, rows):
    """In the middle of an epoch, or after its last batch."""
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)
    whole, model, seen = network().fit(X, y, 5, 16), network(), []

    def update(self, n):
        seen.append(n)
        if sum(seen) >= rows:
            raise Failure

    with monkeypatch.context() as patch:
        patch.setattr("fastmlp.training.callbacks.NoBar.update", update)
        with pytest.raises(Failure):
            model.fit(X, y, 5, 16)
    assert model._state.position == rows
    model.fit(X, y, 5 - model.epoch, 16)
    assert_array_equal(model.parameters, whole.parameters)
    assert model.history == whole.history


def test_a_regressor_too():
    model = MLPRegressor(max_iter=9, random_state=0)
    with pytest.raises(Failure):
        model.fit(X, X[:, 0], callbacks=fail_at_last)
    assert_array_equal(model.coefs_[0], MLPRegressor(max_iter=LAST, random_state=0).fit(X, X[:, 0]).coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_stop_iteration_of_a_callback_is_an_error_like_others(solver):
    """SciPy ends a minimisation when a callback raises it."""

    def stop(model, epoch, results):
        if epoch == LAST:
            raise StopIteration("mine")

    model = classifier(solver)
    with pytest.raises(StopIteration, match="mine"):
        model.fit(X, y, callbacks=stop)
    assert model.n_iter_ == LAST
    with pytest.raises(StopIteration, match="mine"):
        MLP([Layer(3, "softmax")], "categorical_cross_entropy", solver).fit(X, y, 9, callbacks=stop)


def test_the_first_error_is_raised_with_later_ones_as_notes():
    class Fails(Callback):
        def after_fit(self, model, error):
            raise KeyError("after")

    with pytest.raises(Failure) as caught:
        classifier().fit(X, y, callbacks=[fail_at_last, Fails()])
    assert caught.value.__notes__ == ["after_fit of Fails failed too: KeyError('after')"]
    with pytest.raises(KeyError, match="after"):
        classifier().fit(X, y, callbacks=Fails())
