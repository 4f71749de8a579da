"""Many fits at once: each has the numbers of its own fit, and an error of one leaves the others alone."""

import copy
import os
import signal
import sys
import threading

import numpy as np
import pandas
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, cross_validate

from fastmlp import MLP, MLPClassifier, MLPRegressor, cross_val_fit, fit_many, make_optimizer
from fastmlp.training.interruption import Interruption
from fastmlp.training.outcomes import DivergenceError

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
ROWS = [np.arange(0, 150, 2), None, np.flatnonzero(y > 0), [5, 140, 77, 12] * 10]
pytestmark = pytest.mark.filterwarnings("ignore:.*(ITERATIONS|iterations):sklearn.exceptions.ConvergenceWarning")


def network(width=5, seed=0, optimizer="adam", **options):
    return MLP([(width, "tanh"), (3, "softmax")], "categorical_cross_entropy", optimizer, random_state=seed, **options)


def classifier(**options):
    return MLPClassifier(**{"hidden_layer_sizes": 4, "max_iter": 30, "random_state": 1} | options)


MODELS = [
    network(),
    network(7, 3, make_optimizer("sgd", learning_rate=0.1), dtype="float64"),
    network(optimizer="lbfgs"),
    network(alpha=0.1, input_dropout=0.2),
    classifier(),
    classifier(early_stopping=True, scale="standard", max_iter=100),
    classifier(learning_rate_init=0.1, tol=0.01, batch_size=1),
    MLPRegressor(hidden_layer_sizes=(6, 3), max_iter=20, random_state=2),
    MLPRegressor(loss="huber", solver="lbfgs", random_state=2, dtype="float32"),
    classifier(backend="numpy", max_iter=3),
]


def parameters_of(model):
    return model.parameters if isinstance(model, MLP) else model._net.parameters


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
def test_every_model_ends_as_its_own_fit(n_jobs):
    models, rows = copy.deepcopy(MODELS), (ROWS * 3)[: len(MODELS)]
    assert fit_many(models, X, y, rows=rows, n_jobs=n_jobs) == {}
    for model, alone, index in zip(models, copy.deepcopy(MODELS), rows):
        index = slice(None) if index is None else index
        alone.fit(X[index], y[index])
        assert_array_equal(parameters_of(model), parameters_of(alone))
        assert getattr(model, "loss_curve_", None) == getattr(alone, "loss_curve_", None)


def test_data_and_arguments_of_each_model():
    models = [network(), network(seed=1)]
    given = [{"epochs": 3}, {"epochs": 5, "validation_data": (X, y), "patience": 2}]
    fit_many(models, data=[(X, y), (X[::3], y[::3])], fit_params=given)
    assert [model.epoch for model in models] == [3, 5]
    assert_array_equal(models[1].parameters, network(seed=1).fit(X[::3], y[::3], **given[1]).parameters)
    fit_many(models, X, y, fit_params={"epochs": 2})  # goes on, as fit does
    assert [model.epoch for model in models] == [5, 7]


@pytest.mark.parametrize(
    "given", [sparse.csr_matrix(X), sparse.coo_array(X), pandas.DataFrame(X, columns=list("abcd"))]
)
def test_rows_of_other_containers(given):
    (model,) = models = [classifier()]
    fit_many(models, given, pandas.Series(y), rows=[ROWS[0]])
    assert_array_equal(model.coefs_[0], classifier().fit(X[ROWS[0]], y[ROWS[0]]).coefs_[0])


@pytest.mark.parametrize("container", [np.asarray, list, pandas.Series])
def test_rows_of_weights(container):
    weight = np.linspace(0.1, 2, 150)
    models, rows = [classifier(), classifier(), network()], [ROWS[0], None, ROWS[3]]
    given = container(weight)
    fit_many(models, X, y, rows=rows, fit_params={"sample_weight": given})
    for model, index, alone in zip(models, rows, [classifier(), classifier(), network()]):
        index = slice(None) if index is None else index
        alone.fit(X[index], y[index], sample_weight=weight[index])
        assert_array_equal(parameters_of(model), parameters_of(alone))
    found = cross_val_fit(classifier(), X, y, cv=2, fit_params={"sample_weight": given})
    train = np.setdiff1d(np.arange(150), found.test_rows[0])
    assert_array_equal(found.models[0][0].coefs_[0], classifier().fit(X[train], y[train], weight[train]).coefs_[0])


def test_an_error_of_one_model_is_reported_and_the_others_go_on():
    models = [classifier(), classifier(learning_rate_init=1e30, solver="sgd"), classifier(alpha=-1.0), network()]
    with pytest.warns(UserWarning, match="2 of 4 fits failed. The first error is that of model 1"):
        errors = fit_many(models, X, y)
    assert {index: type(error) for index, error in errors.items()} == {1: DivergenceError, 2: type(errors[2])}
    assert "alpha" in str(errors[2])
    assert_array_equal(models[0].coefs_[0], classifier().fit(X, y).coefs_[0])
    assert np.isfinite(models[1].coefs_[0]).all()
    assert not hasattr(models[2], "classes_")


def test_if_all_fail_the_first_error_is_raised():
    with pytest.raises(ValueError, match="NaN"):
        fit_many([network(), classifier()], np.full_like(X, np.nan), y)


def test_one_warning_for_all_models_that_diverge():
    optimizer = make_optimizer("sgd", learning_rate=1e30)
    models = [MLP([(1, "identity")], "squared_error", optimizer, random_state=seed) for seed in range(4)]
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1.*3 more") as issued:
        assert fit_many(models, X, y) == {}
    assert len(issued) == 1
    assert all(model.diverged for model in models)


def test_after_ctrl_c_models_have_their_last_weights(monkeypatch):
    interrupted = threading.Event()
    monkeypatch.setattr(Interruption, "requested", property(lambda self: interrupted.is_set()))
    models = [network(seed=seed) for seed in range(20)]

    def stop(model, epoch, results):
        if model is models[0] and epoch == 3:
            interrupted.set()

    with pytest.warns(UserWarning, match="interrupted by user: . of 20 models have been fitted"):
        fit_many(models, X, y, fit_params={"epochs": 10**9, "callbacks": stop}, n_jobs=2)
    assert models[0].epoch == 3
    assert models[0].interrupted
    assert models[-1]._state is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_keyboard_interrupt_of_the_programs_own_handler_ends_all_fits():
    models, running = [network(seed=seed) for seed in range(2)], set()

    def interrupt(model, epoch, results):
        running.add(id(model))
        if model is models[0] and len(running) == 2 and epoch >= 200:  # once all threads have been started
            running.add("signal sent")
            os.kill(os.getpid(), signal.SIGINT)

    def handle(number, frame):
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, handle)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_many(models, X, y, fit_params={"epochs": 20_000, "callbacks": interrupt}, n_jobs=2)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert models[0].interrupted
    assert models[0].predict(X).shape == (150, 3)


def test_settings_of_scikit_learn_hold_in_the_threads():
    from sklearn import config_context

    seen = []

    class Watching(MLPClassifier):
        def fit(self, X, y):
            from sklearn import get_config

            seen.append(get_config()["assume_finite"])
            return super().fit(X, y)

    with config_context(assume_finite=True):
        fit_many([Watching(tol=1.0), Watching(tol=1.0)], X, y)
    assert seen == [True, True]


RNG = np.random.RandomState(0)
DAMAGED = sparse.csr_matrix(X)
DAMAGED.indices[3] = 10**6
REFUSED = {
    "several times": lambda: fit_many([network()] * 2, X, y),
    "same RandomState": lambda: fit_many([classifier(random_state=RNG), network(seed=RNG)], X, y),
    "must be MLP": lambda: fit_many([network(), "model"], X, y),
    "one element for each of the 1 models, got 2": lambda: fit_many([network()], X, y, rows=[None, None]),
    "indices of samples from 0 to 149": lambda: fit_many([network()], X, y, rows=[[150]]),
    "np.flatnonzero": lambda: fit_many([network()], X, y, rows=[y > 0]),
    "do not pass X, y or rows": lambda: fit_many([network()], X, y, data=[(X, y)]),
    "requires X and y": lambda: fit_many([network()]),
    "progress": lambda: fit_many([network()], X, y, progress="yes"),
    "n_jobs": lambda: fit_many([network()], X, y, n_jobs=0),
    "models must be a list": lambda: fit_many(network(), X, y),
    "rows must be a list with": lambda: fit_many([network()], X, y, rows=3),
    "data must have a pair": lambda: fit_many([network()], data=[(X, y, y)]),
    "fit_params must be a dict": lambda: fit_many([network()], X, y, fit_params=["epochs"]),
    r"inconsistent numbers of samples: \[150, 100\]": lambda: fit_many([network()], X, y[:100], rows=[[120]]),
    "each of the 150 samples of X": lambda: fit_many(
        [network()], X, y, rows=[ROWS[0]], fit_params={"sample_weight": np.ones(75)}
    ),
    "fit gets those of its rows, got 75": lambda: cross_val_fit(
        classifier(), X, y, cv=2, fit_params={"sample_weight": np.ones(75)}
    ),
    "invalid sparse matrix": lambda: fit_many([network()], DAMAGED, y, rows=[ROWS[0]]),
    "cross_val_fit requires X and y": lambda: cross_val_fit(classifier(), X, None),
    "scoring must be": lambda: cross_val_fit(classifier(), X, y, scoring=["accuracy"]),
    "estimator must be": lambda: cross_val_fit(network(), X, y),
    "seeds": lambda: cross_val_fit(classifier(), X, y, seeds=3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises((TypeError, ValueError), match=message):
        REFUSED[message]()


def test_no_models_are_no_work():
    assert fit_many([], X, y) == {}


def test_cross_val_fit_has_the_scores_of_scikit_learn():
    found = cross_val_fit(classifier(), X, y, cv=3, seeds=[4, 5], scoring="neg_log_loss")
    for seed, models, scores in zip([4, 5], found.models, found.scores, strict=True):
        expected = cross_validate(
            classifier(random_state=seed), X, y, cv=3, scoring="neg_log_loss", return_estimator=True,
            return_indices=True,
        )  # fmt: skip
        assert_array_equal(scores, expected["test_score"])
        for model, alone in zip(models, expected["estimator"], strict=True):
            assert_array_equal(model.coefs_[0], alone.coefs_[0])
        for rows, those in zip(found.test_rows, expected["indices"]["test"], strict=True):
            assert_array_equal(rows, those)
    assert found.errors == {}


def test_cross_val_fit_of_groups_and_with_errors():
    groups = np.repeat(np.arange(50), 3)

    def scoring(estimator, X_test, y_test):
        if len(X_test) > 50:
            raise ZeroDivisionError
        return len(X_test)

    with pytest.warns(UserWarning, match="1 of 2 fits failed"):
        found = cross_val_fit(classifier(), X[:99], y[:99], cv=GroupKFold(2), groups=groups[:99], scoring=scoring)
    assert_array_equal(found.scores, [[np.nan, 48]])
    assert type(found.errors[0, 0]) is ZeroDivisionError
    assert not set(groups[found.test_rows[0]]) & set(groups[found.test_rows[1]])


def test_cross_val_fit_of_labels_in_part():
    labels = np.where(np.arange(450).reshape(150, 3) % 7 == 0, np.nan, y[:, None] == [0, 1, 2])
    found = cross_val_fit(classifier(missing_targets="ignore"), X, labels, cv=3)
    assert np.isfinite(found.scores).all()
