"""Many fits on the workers of joblib's backends: the models are those of fits in threads, whatever dies meanwhile."""

import copy
import os
import signal
import sys
import threading
import time
from collections import Counter

import cloudpickle
import joblib
import numpy as np
import pandas
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from clusters import assert_same, dask_client, on_dask, parameters_of  # noqa: F401
from fastmlp import (
    MLP,
    Callback,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    TabularMLPRegressor,
    cross_val_fit,
    fit_many,
    make_optimizer,
)
from fastmlp.backends import threads
from fastmlp.training import pools
from fastmlp.training.many import Fit
from fastmlp.training.outcomes import DivergenceError
from fastmlp.training.parcels import Post, opened
from fastmlp.training.worker import fit_parcel
from patience import PATIENCE

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(ITERATIONS|iterations):sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the libraries' sockets
]


def network(width=5, seed=0, optimizer="adam", **options):
    return MLP([(width, "tanh"), (3, "softmax")], "categorical_cross_entropy", optimizer, random_state=seed, **options)


def classifier(**options):
    return MLPClassifier(**{"hidden_layer_sizes": 4, "max_iter": 30, "random_state": 1} | options)


def models():
    return [
        network(),
        network(7, np.random.RandomState(3), make_optimizer("sgd", learning_rate=0.1), dtype="float64"),
        network(optimizer="lbfgs"),
        network(alpha=0.1, input_dropout=0.2),
        classifier(early_stopping=True, scale="standard", max_iter=100),
        classifier(learning_rate_init=1e30, solver="sgd"),  # diverges
        classifier(alpha=-1.0),  # is refused
        MLPRegressor(hidden_layer_sizes=(6, 3), max_iter=20, random_state=np.random.RandomState(2), warm_start=True),
        MLPRegressor(loss="huber", solver="lbfgs", random_state=2, dtype="float32", max_iter=9),
    ]


ROWS = [range(0, 150, 2), None, np.flatnonzero(y > 0)] * 3


def assert_fits_are_those_of_threads():
    found, expected = models(), models()
    for _ in range(2):  # the second fit goes on with the state of the first
        errors = []
        for given, backend in ((found, None), (expected, "threading")):
            config = joblib.parallel_config(backend=backend) if backend else joblib.parallel_config()
            with config, pytest.warns(UserWarning, match="2 of 9 fits failed. The first error is that of model 5"):
                errors.append(fit_many(given, X, y, rows=ROWS, n_jobs=2))
        assert {index: (type(error), str(error)) for index, error in errors[0].items()} == {
            index: (type(error), str(error)) for index, error in errors[1].items()
        }
        assert type(errors[0][5]) is DivergenceError
        for index, (one, other) in enumerate(zip(found, expected)):
            if index != 6:
                assert_same(one, other)
    assert found[7].random_state.randint(10**9) == expected[7].random_state.randint(10**9)


def test_fits_on_dask_are_those_of_threads(on_dask):  # noqa: F811
    assert_fits_are_those_of_threads()


@pytest.mark.exhaustive
def test_fits_in_processes_of_loky_are_those_of_threads():
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert pools.active_pool(None).n_threads == 2
        assert_fits_are_those_of_threads()


def table():
    rng = np.random.RandomState(0)
    return pandas.DataFrame({"a": rng.uniform(size=250), "town": rng.choice(["Bern", "Rome", None], 250)})


CASES = {
    "folds": lambda: cross_val_fit(classifier(), X, y, cv=2, seeds=[4, 5], scoring="neg_log_loss").scores,
    "classes": lambda: MLPEnsembleClassifier(classifier(), n_members=3, random_state=0).fit(X, y).predict_proba(X),
    "numbers": lambda: MLPEnsembleRegressor(
        MLPRegressor(hidden_layer_sizes=6, max_iter=9, early_stopping=True), n_members=2, random_state=0
    ).fit(X, y, np.linspace(1, 2, 150), eval_set=(X, y), eval_metric=lambda model, X, y: -model.loss_).predict(X),
    "table": lambda: TabularMLPRegressor(epochs=12, hidden_layer_sizes=(16, 16), n_members=2, n_folds=2, random_state=0)
    .fit(table(), table()["a"], eval_X=table(), eval_y=table()["a"])
    .oof_prediction_,
    "search over ensembles": lambda: GridSearchCV(
        MLPEnsembleClassifier(classifier(), n_members=2, random_state=0), {"estimator__alpha": [0.1, 1.0]}, cv=2
    ).fit(X, y).cv_results_["mean_test_score"],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_whatever_makes_many_fits(on_dask, case):  # noqa: F811
    found = CASES[case]()
    with joblib.parallel_config(backend="threading"):
        expected = CASES[case]()
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


@pytest.mark.exhaustive
@pytest.mark.parametrize("container", [
    sparse.csr_matrix, sparse.coo_array, np.asfortranarray, list, pandas.DataFrame, lambda X: X[::-1],
    lambda X: sparse.csr_matrix((X[:, ::-1].ravel(), np.tile([3, 2, 1, 0], 150), np.arange(0, 601, 4))),
])  # fmt: skip
def test_containers(on_dask, container):  # noqa: F811
    found, expected, given = [classifier(), network()], [classifier(), network()], container(X)
    fit_many(found, given, y, rows=[ROWS[0], None])
    with joblib.parallel_config(backend="threading"):
        fit_many(expected, given, y, rows=[ROWS[0], None])
    for one, other in zip(found, expected):
        assert_same(one, other)


def test_data_travel_once(on_dask, monkeypatch):  # noqa: F811
    scattered, submitted = [], []
    scatter, submit = type(on_dask).scatter, type(on_dask).submit

    def counted_scatter(client, data, **options):
        scattered.extend(block.nbytes for block in data)
        return scatter(client, data, **options)

    def counted_submit(client, *given, **options):
        submitted.append(len(cloudpickle.dumps(given[1])))
        return submit(client, *given, **options)

    monkeypatch.setattr(type(on_dask), "scatter", counted_scatter)
    monkeypatch.setattr(type(on_dask), "submit", counted_submit)
    wide = np.random.RandomState(0).standard_normal((150, 1000))
    given = [{"epochs": 1, "validation_data": (wide, y)}, {"epochs": 1}] * 5
    fit_many([network(seed=seed) for seed in range(10)], wide, y, fit_params=given)
    assert 0 <= sum(scattered) - wide.nbytes - y.nbytes < 1000
    assert len(submitted) == 10 and max(submitted) < 15_000


def test_functions_of_a_model_stay_those_of_the_caller():
    def square(z):
        return z * z

    model, callback = network(), Seen()
    model.own = {"function": square, "callback": callback}
    post = Post([Fit(lambda model, **given: given, model, {"X": X, "n": 3}), Fit(id, network(), {"X": X})], "none")
    result = fit_parcel(post.parcels[0], {}, 1, *post.blocks)
    value, error = post.take_over(0, result)
    assert error is None and value["n"] == 3
    assert model.own["function"] is square and model.own["callback"] is callback
    assert not opened(post.parcels[0], post.blocks)[0].arguments["X"].flags.writeable


class Seen(Callback):
    def __init__(self):
        self.threads, self.losses = [], []

    def after_epoch(self, model, epoch, results):
        self.threads.append((threads._limit_of_each_fit.get(), threads.allowed_threads()))
        self.losses.append(results["loss"])


def test_callbacks_come_back_and_workers_use_their_threads(on_dask):  # noqa: F811
    given, seen = [network(seed=seed) for seed in range(3)], [Seen() for _ in range(2)]
    fit_many(given, X, y, fit_params=[{"callbacks": seen[0]}, {"callbacks": [seen[1]]}, {}])
    for model, callback in zip(given, seen):
        assert callback.losses == model.history["loss"] != []
        assert set(callback.threads) == {(1, 1)}


def test_progress(on_dask, capsys):  # noqa: F811
    fit_many([network(), network(seed=1)], X, y, progress=True)
    assert "2/2" in capsys.readouterr().err
    fit_many([network(), network(seed=1)], X, y)
    assert capsys.readouterr().err == ""


def test_a_killed_worker_is_survived(on_dask, tmp_path):  # noqa: F811
    """The worker dies in the middle of a fit."""
    killed = tmp_path / "killed"

    def die(model, epoch, results):
        if model.layers[0].units == 5 and epoch == 3 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    found, expected = [[network(width) for width in range(3, 9)] for _ in range(2)]
    assert fit_many(found, X, y, fit_params={"callbacks": die}) == {}
    assert killed.exists()
    with joblib.parallel_config(backend="threading"):
        fit_many(expected, X, y)
    for one, other in zip(found, expected):
        assert_same(one, other)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c(on_dask):  # noqa: F811
    given = [network(seed=seed) for seed in range(4)]
    before = parameters_of(copy.deepcopy(given[1]).build(4))

    def interrupt():
        while given[0]._state is None:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt, daemon=True)
    sender.start()
    with pytest.warns(UserWarning, match="interrupted by user: 1 of 4 models have been fitted"):
        fit_many(given, X, y, fit_params=[{"epochs": 2}, *[{"epochs": 10**8}] * 3])
    sender.join()
    assert [model.epoch for model in given] == [2, 0, 0, 0]
    assert_array_equal(given[1].build(4).parameters, before)  # not even a random number has been drawn
    end = time.monotonic() + PATIENCE
    while any(on_dask.run(lambda dask_worker: len(dask_worker.active_threads)).values()):  # the fits end too
        assert time.monotonic() < end
        time.sleep(0.05)


def never(*given):
    raise AssertionError("work has begun")


LOCK = threading.Lock()
REFUSED = {
    "argument fit_params\\['callbacks'\\] of fit 1 cannot be pickled.*lock": lambda: fit_many(
        [network(), network(seed=1)], X, y, fit_params=[{}, {"callbacks": lambda *given: LOCK.locked()}]
    ),
    "the argument eval_metric of fit 0 cannot be pickled": lambda: MLPEnsembleRegressor(n_members=2).fit(
        X, y, eval_set=(X, y), eval_metric=lambda *given: LOCK.locked()
    ),
    "the model of fit 0 cannot": lambda: fit_many([marked(network())], X, y),
    "the argument score of fit 0": lambda: cross_val_fit(classifier(), X, y, scoring=lambda *given: LOCK.locked()),
}


def marked(model):
    model.lock = LOCK
    return model


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_pickled_is_refused_before_work_begins(on_dask, monkeypatch, message):  # noqa: F811
    monkeypatch.setattr(pools.DaskPool, "results", never)
    with pytest.raises(TypeError, match=f"backend 'dask' sends models.*{message}"):
        REFUSED[message]()


def test_what_cannot_come_back_is_an_error_of_one_fit(on_dask):  # noqa: F811
    class Unpicklable(Exception):
        def __init__(self, one, two):
            super().__init__("a word")

    def spoil(model, *given):
        model.lock = threading.Lock()

    def fail(model, *given):
        raise Unpicklable(1, 2)

    given = [network(seed=seed) for seed in range(4)]
    params = [{"callbacks": spoil}, {"callbacks": fail}, {"callbacks": lambda *given: True}, {"epochs": 1}]
    with pytest.warns(UserWarning, match="2 of 4 fits failed"):
        errors = fit_many(given, X, y, fit_params=params)
    assert {index: type(error) for index, error in errors.items()} == {0: TypeError, 1: RuntimeError}
    assert "cannot be sent back" in str(errors[0]) and "Unpicklable: a word" in str(errors[1])
    assert "in fail" in errors[1].__notes__[0]
    assert [model.epoch for model in given[2:]] == [1, 1]


def test_an_error_of_a_metric_ends_an_ensemble(on_dask):  # noqa: F811
    def fail(*given):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        MLPEnsembleRegressor(n_members=3).fit(X, y, eval_set=(X, y), eval_metric=fail)


def test_warnings_of_all_fits_are_one(on_dask):  # noqa: F811
    optimizer = make_optimizer("sgd", learning_rate=1e30)
    given = [MLP([(1, "identity")], "squared_error", optimizer, random_state=seed) for seed in range(4)]
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1.*3 more") as issued:
        assert fit_many(given, X, y) == {}
    assert len(issued) == 1 and all(model.diverged for model in given)


def test_workers_without_fastmlp(on_dask, monkeypatch):  # noqa: F811
    def missing(*given):
        raise ModuleNotFoundError("No module named 'fastmlp'", name="fastmlp")

    monkeypatch.setattr(pools, "by_value", lambda: missing)
    with pytest.raises(RuntimeError, match=r"'dask' cannot import fastmlp .*install the same version"):
        fit_many([network(), network(seed=1)], X, y)


def test_a_cluster_without_workers():
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster: dask[distributed]")
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=0.1),
        pytest.raises(TimeoutError, match="no worker"),
    ):
        fit_many([network()], X, y)


class Together(pools.TaskPool):
    """A pool whose tasks end when they are asked for; some are lost at first."""

    name = "none"

    def __init__(self, n_threads, n_jobs, lost=()):
        super().__init__(n_threads, n_jobs)
        self.most, self.lost, self.sent, self.cancelled = 0, Counter(lost), 0, []

    def threads_of_each(self, n_fits):
        return 1

    def _send(self, blocks, users):
        self.sent += 1
        return blocks

    def _submit(self, arguments):
        return object.__new__(type("Task", (), {"value": arguments[0]}))

    def _next(self, tasks):
        self.most = max(self.most, len(tasks))
        return next(iter(tasks))

    def _outcome(self, task):
        self.lost.subtract([task.value])
        return None if self.lost[task.value] >= 0 else b"%d" % task.value

    def _cancel(self, tasks):
        self.cancelled = [task.value for task in tasks]


@pytest.mark.parametrize("n_jobs, most", [(None, 9), (-1, 9), (-2, 3), (1, 1), (2, 2), (7, 4)])
def test_fits_at_once(n_jobs, most):
    pool = Together(4, n_jobs)
    assert dict(pool.results([((index,), []) for index in range(9)], [])) == {i: b"%d" % i for i in range(9)}
    assert pool.most == most
    assert pool.n_threads == min(4, most)


def test_lost_fits_are_run_again():
    pool = Together(4, None, lost=[2, 2, 5, 7, 7, 7])
    found = dict(pool.results([((index,), []) for index in range(9)], []))
    assert "lost 3 times" in str(found.pop(7))
    assert found == {index: b"%d" % index for index in range(9) if index != 7}
    results = pool.results([((index,), []) for index in range(9)], [])
    next(results)
    results.close()
    assert len(pool.cancelled) == 8


@pytest.mark.parametrize("options", [
    {}, {"n_jobs": 2}, {"prefer": "processes"}, {"backend": "threading"}, {"backend": "sequential"},
    {"backend": "loky", "n_jobs": 1}, {"backend": "loky", "require": "sharedmem"},
])  # fmt: skip
def test_threads_without_a_backend_of_other_processes(options):
    with joblib.parallel_config(**options):
        assert pools.active_pool(None) is None
