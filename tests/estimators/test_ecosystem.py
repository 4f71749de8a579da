"""Other libraries: data frames of polars and Arrow, searches by scikit-learn and optuna, scikit-learn's ensembles."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingRegressor, StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor
from fastmlp.backends.threads import allowed_threads
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.cpu.thread_pool import cores

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
iris = load_iris()
COLUMNS = ["sl", "sw", "pl", "pw"]
texts = np.array(["a", "b", "c"])[iris.target]


def polars():
    polars = pytest.importorskip("polars", reason="needs the package polars")
    return polars.DataFrame(iris.data, schema=COLUMNS), polars.Series("y", texts)


def arrow():
    arrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    return arrow.table(dict(zip(COLUMNS, iris.data.T.copy()))), arrow.chunked_array([texts[:70], texts[70:]])


@pytest.mark.parametrize("frame", [polars, arrow])
def test_data_frames_as_input(frame):
    X, y = frame()
    found = MLPClassifier(max_iter=5, random_state=0).fit(X, y)
    wanted = MLPClassifier(max_iter=5, random_state=0).fit(iris.data, texts)
    assert_array_equal(found.coefs_[0], wanted.coefs_[0])
    assert list(found.feature_names_in_) == COLUMNS
    assert_array_equal(found.predict(X), wanted.predict(iris.data))
    with pytest.raises(ValueError, match="feature names"):
        found.predict(X.select(COLUMNS[::-1]))
    model = MLP([Layer(3), Layer(1, "identity")], random_state=0).fit(X, X["sl"], 2)
    again = MLP([Layer(3), Layer(1, "identity")], random_state=0).fit(iris.data, iris.data[:, 0], 2)
    assert_array_equal(model.predict(X), again.predict(iris.data))


def test_optuna_search_over_layers_and_widths():
    optuna = pytest.importorskip("optuna", reason="needs the package optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        model = MLPClassifier(
            n_layers=trial.suggest_int("n_layers", 0, 3), width=trial.suggest_int("width", 2, 32, log=True),
            alpha=trial.suggest_float("alpha", 1e-5, 1e-1, log=True), max_iter=30, random_state=0,
        )  # fmt: skip
        model.fit(iris.data[::2], texts[::2], callbacks=lambda model, *given: prune(trial, *given))
        return model.score(iris.data[1::2], texts[1::2])

    def prune(trial, epoch, results):
        trial.report(-results["loss"], epoch)
        return trial.should_prune()

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner()
    )
    study.optimize(objective, n_trials=8, n_jobs=2)
    assert len(study.trials) == 8
    assert all(trial.value is not None for trial in study.trials)
    assert {trial.params["n_layers"] for trial in study.trials} > {study.best_params["n_layers"]}


def test_halving_searches():
    given = {"n_layers": [1, 2], "width": [4, 8, 16]}
    model = MLPClassifier(random_state=0, max_iter=100)
    search = HalvingGridSearchCV(model, given, resource="max_iter", max_resources=30, cv=2, random_state=0, n_jobs=2)
    search.fit(iris.data, texts)
    assert set(search.best_params_) == {"n_layers", "width", "max_iter"}
    assert search.n_iterations_ > 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_of_a_search_share_the_cores(n_jobs):
    """Each worker has its share of the cores, and a fit uses no more threads than that."""

    def threads_of_a_fit(estimator, X, y):
        return float(allowed_threads())

    search = GridSearchCV(MLPClassifier(max_iter=2), {"width": [2, 3]}, cv=2, scoring=threads_of_a_fit, n_jobs=n_jobs)
    search.fit(iris.data, texts)
    assert set(search.cv_results_["mean_test_score"]) == {max(1, cores() // n_jobs)}


def test_threads_of_a_study_share_the_cores(monkeypatch):
    """The jobs of optuna are threads of one process."""
    optuna = pytest.importorskip("optuna", reason="needs the package optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    at_work, most, lock, run = [0], [0], threading.Lock(), thread_pool.run

    def counted(n_threads, *given):
        with lock:
            at_work[0] += n_threads
            most[0] = max(most[0], at_work[0])
        try:
            run(n_threads, *given)
        finally:
            with lock:
                at_work[0] -= n_threads

    monkeypatch.setattr(thread_pool, "run", counted)
    X, y = np.random.RandomState(0).rand(4000, 100), np.arange(4000) % 2

    def objective(trial):
        width = trial.suggest_int("width", 200, 300)
        return MLPClassifier((width,), max_iter=2, batch_size=1000, random_state=0).fit(X, y).loss_

    optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).optimize(objective, n_trials=6, n_jobs=2)
    assert 1 < most[0] <= cores() + 1 or cores() == 1  # the last one takes only its own thread


def test_ensembles():
    """The standard deviation over the networks of a bag is larger where there was no training data."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, (200, 1))
    y = np.sin(3 * X[:, 0]) + 0.05 * rng.standard_normal(200)
    one = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs"))
    bag = BaggingRegressor(one, 8, random_state=0, n_jobs=2).fit(X, y)

    def spread(rows):
        return np.std([member.predict(rows) for member in bag.estimators_], axis=0).mean()

    assert spread(np.linspace(2, 3, 20)[:, None]) > 5 * spread(np.linspace(-0.9, 0.9, 20)[:, None])
    options = {"solver": "lbfgs", "random_state": 0}
    members = [("small", MLPClassifier((4,), **options)), ("large", MLPClassifier((30,), **options))]
    assert StackingClassifier(members, cv=2).fit(iris.data, texts).score(iris.data, texts) > 0.8
