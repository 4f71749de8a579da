"""Callbacks of scikit-learn, set on an estimator or passed on by a pipeline."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.callback import FitCallback, ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
FEW = {"max_iter": 4, "random_state": 0}


class Recorder:
    """A callback that records its calls, and stops the fit after epoch ``end``."""

    max_propagation_depth = None  # meta-estimators pass it on

    def __init__(self, end=None):
        self.notes, self.kept, self.end = [], [], end

    def setup(self, estimator, context):
        self.notes.append("setup")

    def teardown(self, estimator, context):
        self.notes.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.notes.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.notes.append(("end", context.task_name, context.task_id))
        if isinstance(estimator, (MLPClassifier, MLPRegressor)):
            self.kept.append((context.task_name, X, y, metadata, fitted_estimator))
        return context.task_name == "epoch" and context.task_id + 1 == self.end


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("end", [None, 2])
def test_a_fit_is_a_task_and_an_epoch_a_subtask(solver, end):
    diary = Recorder(end)
    assert isinstance(diary, FitCallback)
    weights = np.arange(len(y)) % 3
    model = MLPClassifier(solver=solver, **FEW).set_callbacks(diary).fit(X, y, sample_weight=weights)
    epochs = [(what, "epoch", number) for number in range(end or 4) for what in ("begin", "end")]
    assert diary.notes == ["setup", ("begin", "fit", 0), *epochs, ("end", "fit", 0), "teardown"]
    assert model.n_iter_ == (end or 4)
    for _, given_X, given_y, metadata, _ in diary.kept:
        assert given_X is X
        assert given_y is y
        assert metadata == {"sample_weight": weights}
    assert [kept[-1].n_iter_ for kept in diary.kept[:-1]] == list(range(1, (end or 4) + 1))
    *of_epochs, last = (kept[-1].predict_proba(X) for kept in diary.kept)
    assert_array_equal(last, model.predict_proba(X))
    assert len({outputs.tobytes() for outputs in of_epochs}) == len(of_epochs)  # each has the weights of its epoch


def test_estimators_passed_to_callbacks_are_copies():
    plain = MLPClassifier(**FEW).fit(X, y)
    heard = MLPClassifier(**FEW).set_callbacks(Recorder()).fit(X, y)
    assert_array_equal(plain.coefs_[0], heard.coefs_[0])
    other = copy.copy(plain).partial_fit(X, y)
    assert not np.array_equal(plain.coefs_[0], other.coefs_[0])
    assert_array_equal(plain.coefs_[0], heard.coefs_[0])
    assert len(other.loss_curve_) == len(plain.loss_curve_) + 1
    assert_array_equal(plain.partial_fit(X, y).coefs_[0], other.coefs_[0])


def test_scoring_monitor_scores_each_epoch():
    monitor, own = ScoringMonitor(scoring="neg_log_loss"), []
    model = MLPClassifier(**FEW).set_callbacks(monitor)
    model.fit(X, y, callbacks=lambda model, *given: own.append(-log_loss(y, model.predict_proba(X))))
    log = monitor.get_logs().data_as_pandas
    assert_allclose(log[log.task_name == "epoch"].neg_log_loss, own)
    search = GridSearchCV(MLPClassifier(**FEW).set_callbacks(monitor), {"alpha": [0.1, 1]}, cv=3, n_jobs=2).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    assert (log.task_name == "epoch").sum() == (2 * 3 + 1) * 4
    assert search.best_estimator_.n_iter_ == 4


def test_a_pipeline_passes_callbacks_on():
    diary = Recorder()
    make_pipeline(StandardScaler(), MLPRegressor(**FEW)).set_callbacks(diary).fit(X, y)
    assert diary.notes.count("setup") == diary.notes.count("teardown") == 1
    assert [note for note in diary.notes if note[:2] == ("end", "epoch")] == [("end", "epoch", i) for i in range(4)]


def test_an_error_calls_teardown():
    diary = Recorder()
    model = MLPClassifier(**FEW).set_callbacks(diary)
    with pytest.raises(ValueError, match="inconsistent"):
        model.fit(X, y[:-1])
    assert diary.notes == ["setup", ("begin", "fit", 0), "teardown"]
    model.fit(X, y)
    assert diary.notes[-2:] == [("end", "fit", 0), "teardown"]
    with pytest.raises(TypeError, match="FitCallback"):
        model.set_callbacks(lambda: None)
