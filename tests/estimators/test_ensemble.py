"""Ensembles of networks that differ only in their random numbers."""

import pickle
import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor, load
from fastmlp.training.interruption import Interruption
from patience import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
texts = np.array(["a", "b", "c"])[y]
several = np.column_stack([y == 0, y > 0, X[:, 0] > 6]).astype(int)
FEW = {"hidden_layer_sizes": (8,), "max_iter": 15}


def classifier(**options):
    return MLPEnsembleClassifier(MLPClassifier(**FEW), **{"n_members": 3, "random_state": 0} | options)


def regressor(**options):
    return MLPEnsembleRegressor(MLPRegressor(**FEW), **{"n_members": 3, "random_state": 0} | options)


@pytest.mark.parametrize("target", [X[:, 0], X[:, :2]])
def test_mean_and_standard_deviation_of_regressors(target):
    ensemble = regressor().fit(X, target)
    alone = [clone(member).fit(X, target) for member in ensemble.members_]
    predictions = np.array([member.predict(X) for member in alone])
    mean, spread = ensemble.predict(X, return_std=True)
    assert_array_equal(mean, predictions.mean(axis=0))
    assert_array_equal(spread, predictions.std(axis=0))
    assert_array_equal(ensemble.predict(X), mean)
    assert (spread > 0).all()
    assert len(ensemble.members_) == 3


@pytest.mark.parametrize("labels", [texts, texts == "a", several])
def test_mean_of_probabilities(labels):
    ensemble = classifier().fit(X, labels)
    probabilities = np.array([clone(member).fit(X, labels).predict_proba(X) for member in ensemble.members_])
    mean, spread = ensemble.predict_proba(X, return_std=True)
    assert_array_equal(mean, probabilities.mean(axis=0))
    assert_array_equal(spread, probabilities.std(axis=0))
    predicted = ensemble.predict(X)
    assert_array_equal(ensemble.predict_log_proba(X), np.log(mean))
    if labels is several:
        assert_array_equal(predicted, mean > 0.5)
    else:
        assert_array_equal(predicted, np.unique(labels)[mean.argmax(axis=1)])
        assert_array_equal(ensemble.classes_, np.unique(labels))


def test_one_class_and_sparse_labels():
    assert set(classifier().fit(X, ["a"] * 150).predict(X)) == {"a"}
    ensemble = classifier().fit(X, sparse.csr_matrix(several))
    assert sparse.issparse(ensemble.predict(X))
    assert_array_equal(ensemble.predict(X).toarray(), classifier().fit(X, several).predict(X))


def test_results_do_not_depend_on_threads():
    fits = [classifier(n_jobs=n_jobs).fit(X, texts) for n_jobs in (1, 2, None)]
    for member in range(3):
        for other in fits[1:]:
            assert_array_equal(other.members_[member].coefs_[0], fits[0].members_[member].coefs_[0])
    assert [fit.members_[0].n_jobs for fit in fits] == [1, 2, None]


def test_members_disagree_far_from_the_data():
    x = np.linspace(-1, 1, 80)[:, None]
    members = MLPRegressor(hidden_layer_sizes=30, activation="tanh", solver="lbfgs", max_iter=300)
    ensemble = MLPEnsembleRegressor(members, random_state=0).fit(x, np.sin(5 * x[:, 0]))
    _, spread = ensemble.predict([[0.0], [0.5], [2.5], [-2.5]], return_std=True)
    assert spread[2:].min() > 20 * spread[:2].max()
    assert ensemble.score(x, np.sin(5 * x[:, 0])) > 0.999


@pytest.mark.parametrize("kind", ["file", "pickle"])
@pytest.mark.parametrize("ensemble", [classifier(), regressor(), MLPEnsembleRegressor(n_members=1, random_state=3)])
def test_ensembles_can_be_saved_and_pickled(tmp_path, ensemble, kind):
    def kept(given):
        if kind == "pickle":
            return pickle.loads(pickle.dumps(given))
        given.save(tmp_path / "e")
        return load(tmp_path / "e")

    unfitted = kept(clone(ensemble))
    assert repr(unfitted) == repr(ensemble)
    assert not hasattr(unfitted, "members_")
    fitted = clone(ensemble).fit(X, y)
    again = kept(fitted)
    assert_array_equal(again.predict(X), fitted.predict(X))
    assert again.n_features_in_ == 4
    assert_array_equal(clone(again).fit(X, y).predict(X), fitted.predict(X))


def test_grid_search_over_parameters_of_members():
    search = GridSearchCV(classifier(), {"estimator__alpha": [1e-4, 1.0], "n_members": [1, 2]}, cv=2, n_jobs=2)
    assert search.fit(X, texts).best_params_["n_members"] in (1, 2)
    assert len(search.best_estimator_.members_) == search.best_params_["n_members"]


def test_early_stopping_of_members_on_an_evaluation_set():
    members = MLPClassifier(early_stopping=True, learning_rate_init=0.05, n_iter_no_change=3)
    ensemble = MLPEnsembleClassifier(members, n_members=2, random_state=0)
    ensemble.fit(X[::2], texts[::2], np.ones(75), eval_set=(X[1::2], texts[1::2]), eval_metric="neg_log_loss")
    for member in ensemble.members_:
        scores = member.evals_result_["validation_0"]["neg_log_loss"]
        assert member.best_validation_score_ == max(scores)
        assert len(scores) == member.n_iter_ < 200


@pytest.fixture
def ctrl_c(monkeypatch):
    """A function that sends Ctrl-C to the main thread, and returns when the fit of the ensemble has received it."""
    heard = threading.Event()

    class Heard(Interruption):
        def _handle(self, *given):
            super()._handle(*given)
            heard.set()

    def send():
        main = threading.main_thread().ident
        signal.pthread_kill(main, signal.SIGINT)
        while not heard.wait(0.1):  # a signal that comes just before a thread blocks is not seen until the next one
            signal.pthread_kill(main, signal.SIGUSR1)

    monkeypatch.setattr("fastmlp.training.many.Interruption", Heard)
    before = signal.signal(signal.SIGUSR1, lambda *given: None)
    yield send
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("n_jobs, max_iter", [(1, 15), (2, 10**7)])  # one after the other; both until Ctrl-C
def test_ctrl_c_keeps_the_members_that_have_started(ctrl_c, n_jobs, max_iter):
    scored = []

    def scorer(estimator, X, y):
        scored.append(estimator)
        if estimator is not scored[0] and scored.count(estimator) == 1:
            ctrl_c()
        return 0.0

    member = MLPRegressor(hidden_layer_sizes=(8,), max_iter=max_iter, n_iter_no_change=max_iter)
    ensemble = MLPEnsembleRegressor(member, n_members=6, n_jobs=n_jobs, random_state=0)
    with pytest.warns(UserWarning, match="of 6 members are kept"):
        ensemble.fit(X, y, eval_set=(X, y), eval_metric=scorer)
    assert len(ensemble.members_) == 2
    assert ensemble.members_[1].n_iter_ < max_iter
    assert ensemble.predict(X).shape == (150,)


def test_ctrl_c_is_noticed_within_an_epoch(monkeypatch, ctrl_c):
    """Members run in other threads, which the main thread informs of Ctrl-C."""
    both, started = threading.Barrier(2, action=ctrl_c, timeout=PATIENCE), set()

    def note(pace, *call):
        """Called after a part of an epoch, the first batch."""
        if threading.get_ident() not in started:
            started.add(threading.get_ident())
            both.wait()

    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", note)
    with pytest.warns(UserWarning, match="2 of 3 members are kept"):
        ensemble = MLPEnsembleRegressor(MLPRegressor(batch_size=32, max_iter=2), n_members=3, n_jobs=2).fit(X, y)
    assert [member.n_iter_ for member in ensemble.members_] == [0, 0]


def test_an_error_in_one_member_ends_the_others():
    scored = []

    def fail(estimator, X, y):
        scored.append(id(estimator))
        if len(set(scored)) == 2:
            raise KeyError("mine")
        return 0.0

    with pytest.raises(KeyError, match="mine"):
        MLPEnsembleRegressor(
            MLPRegressor(hidden_layer_sizes=(8,), max_iter=50_000, n_iter_no_change=50_000), n_jobs=2
        ).fit(X, y, eval_set=(X, y), eval_metric=fail)
    assert len(scored) < 50_000  # the other member did not continue to its last epoch


def test_ensembles_of_subclasses_cannot_be_saved(tmp_path):
    class Own(MLPRegressor):
        pass

    for members in (MLPEnsembleRegressor(Own()), MLPEnsembleRegressor(Own(max_iter=2), n_members=1).fit(X, y)):
        with pytest.raises(TypeError, match="no subclasses such as Own"):
            members.save(tmp_path / "e")


class FewParameters(MLPRegressor):
    """A subclass whose ``__init__`` has two parameters, and neither n_jobs nor random_state."""

    def __init__(self, units=8, max_iter=5):
        self.units = units
        super().__init__(hidden_layer_sizes=(units,), max_iter=max_iter, random_state=0)


class FewOfClassifier(MLPClassifier):
    def __init__(self, units=8, random_state=None):
        self.units = units
        super().__init__(hidden_layer_sizes=(units,), max_iter=5, random_state=random_state)


@pytest.mark.parametrize("kind, members", [
    (MLPEnsembleRegressor, FewParameters(units=6)), (MLPEnsembleClassifier, FewOfClassifier(units=6)),
])  # fmt: skip
def test_subclasses_with_fewer_parameters(tmp_path, kind, members):
    """Their random numbers still differ, and they share the threads."""
    fits = [kind(members, n_members=2, n_jobs=n_jobs, random_state=0).fit(X, y) for n_jobs in (1, 2)]
    ensemble = fits[0]
    first, second = ensemble.members_
    assert first.get_params().keys() == members.get_params().keys()
    assert first.coefs_[0].shape == (4, 6)
    assert not np.array_equal(first.coefs_[0], second.coefs_[0])
    assert [member.n_jobs for fit in fits for member in fit.members_] == [1, 1, 2, 2]
    assert_array_equal(fits[1].predict(X), ensemble.predict(X))
    assert_array_equal(clone(ensemble).fit(X, y).predict(X), ensemble.predict(X))
    assert_array_equal(pickle.loads(pickle.dumps(ensemble)).predict(X), ensemble.predict(X))
    with pytest.raises(TypeError, match=f"no subclasses such as {type(members).__name__}"):
        ensemble.save(tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_invalid_ensembles():
    with pytest.raises(TypeError, match=r"estimator must be a fastmlp\.MLPRegressor, got MLPClassifier"):
        MLPEnsembleRegressor(MLPClassifier()).fit(X, y)
    with pytest.raises(ValueError, match="'n_members' parameter of MLPEnsembleRegressor must be"):
        MLPEnsembleRegressor(n_members=0).fit(X, y)
    fitted = regressor().fit(X, y)
    before = fitted.predict(X)
    with pytest.raises(ValueError, match="inconsistent"):
        fitted.fit(X, y[1:])
    assert_allclose(fitted.predict(X), before)
