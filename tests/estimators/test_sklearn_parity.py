"""Parity with scikit-learn's estimators: the same numbers in float64 from the same random_state."""

import warnings
from functools import cache

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix, issparse
from sklearn import neural_network
from sklearn.datasets import load_diabetes, load_digits

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EPOCHS = 20
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = ("lbfgs", "sgd", "adam")


@cache
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400] / 16, y[:400]


@cache
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return X[:300] * 20, (y[:300] - 150) / 80


def both(kind, X, y, *, sample_weight=None, backend="auto", **params):
    """(ours, scikit-learn's), fitted."""
    options = {"random_state": 3, "max_iter": EPOCHS, "hidden_layer_sizes": (12, 7)} | params
    ours = getattr(fastmlp, kind)(**options, backend=backend).fit(X, y, sample_weight)
    theirs = getattr(neural_network, kind)(**options).fit(X, y, sample_weight)
    return ours, theirs


def assert_same(ours, theirs, X=None, tolerance=1e-6):
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    assert ours.out_activation_ == theirs.out_activation_
    assert ours.loss_ == pytest.approx(theirs.loss_, abs=tolerance)
    if ours.solver != "lbfgs":
        assert len(ours.loss_curve_) == len(theirs.loss_curve_)
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=tolerance)
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_, abs=tolerance)
        assert (ours.validation_scores_ is None) == (theirs.validation_scores_ is None)
    for found, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * tolerance)
    if X is not None:
        np.testing.assert_allclose(prediction(ours, X), prediction(theirs, X), rtol=0, atol=10 * tolerance)


def prediction(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_classifier_equals_that_of_scikit_learn(backend, solver, activation, shuffle):
    X, y = digits()
    rate = 0.05 if solver == "sgd" else 0.003
    params = {"solver": solver, "activation": activation, "shuffle": shuffle, "learning_rate_init": rate}
    ours, theirs = both("MLPClassifier", X, y, backend=backend, **params)
    assert ours.backend_ == backend
    assert_same(ours, theirs, X)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-4)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_regressor_equals_that_of_scikit_learn(backend, solver, activation, shuffle):
    X, y = diabetes()
    params = {"solver": solver, "activation": activation, "shuffle": shuffle, "learning_rate_init": 0.01}
    ours, theirs = both("MLPRegressor", X, y, backend=backend, **params)
    assert_same(ours, theirs, X)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-6)


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": "invscaling", "learning_rate_init": 0.5},
        {"learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.05, "n_iter_no_change": 2, "max_iter": 60},
        {"momentum": 0.5, "nesterovs_momentum": False},
        {"momentum": 0.0},
        {"batch_size": 1, "max_iter": 3},
        {"batch_size": 37, "alpha": 0.5},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 5},
        {"hidden_layer_sizes": [4, 4, 4, 4], "activation": "tanh"},
        {"tol": 0.01, "n_iter_no_change": 3, "max_iter": 200},
        {"tol": 10.0, "n_iter_no_change": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_options_equal_those_of_scikit_learn(solver, params):
    X, y = digits()
    assert_same(*both("MLPClassifier", X, y, solver=solver, **params), X)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("binary", [True, False])
def test_early_stopping_holds_out_the_same_samples_and_restores_the_same_weights(kind, solver, binary):
    X, y = digits() if kind == "MLPClassifier" else diabetes()
    if kind == "MLPClassifier" and binary:
        y = np.array(["odd", "even"])[y % 2]
    ours, theirs = both(
        kind, X, y, solver=solver, early_stopping=True, n_iter_no_change=4, max_iter=100, validation_fraction=0.2
    )
    assert_same_scores(ours, theirs)
    for found, expected in zip(ours.coefs_, theirs.coefs_):
        np.testing.assert_allclose(found, expected, atol=1e-8)
    assert ours.best_loss_ is None


def assert_same_scores(ours, theirs):
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, atol=1e-9)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, abs=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, atol=1e-8)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_sample_weights(kind, early_stopping):
    X, y = digits() if kind == "MLPClassifier" else diabetes()
    weight = np.random.RandomState(0).uniform(0, 3, len(X))
    ours, theirs = both(kind, X, y, sample_weight=weight, early_stopping=early_stopping)
    if early_stopping:
        assert_same_scores(ours, theirs)
    else:
        assert_same(ours, theirs, X)


@pytest.mark.parametrize("solver", SOLVERS)
def test_multilabel(solver):
    X, y = digits()
    labels = np.column_stack([y % 2, y > 4, y == 3]).astype(int)
    ours, theirs = both("MLPClassifier", X, labels, solver=solver)
    assert_same(ours, theirs, X)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.score(X, labels) == theirs.score(X, labels)


def test_predictions_for_sparse_labels_are_sparse():
    X, y = digits()
    labels = csr_matrix(np.column_stack([y % 2, y > 4]).astype(int))
    ours, theirs = both("MLPClassifier", X, labels)
    assert issparse(ours.predict(X))
    assert (ours.predict(X) != theirs.predict(X)).nnz == 0
    dense, sparse = (fastmlp.MLPRegressor(random_state=0, max_iter=3).fit(X, Y) for Y in (labels.toarray(), labels))
    np.testing.assert_array_equal(dense.predict(X), sparse.predict(X))


@pytest.mark.parametrize("solver", SOLVERS)
def test_multiple_outputs(solver):
    X, y = diabetes()
    Y = np.column_stack([y, y**2, X[:, 0]])
    ours, theirs = both("MLPRegressor", X, Y, solver=solver)
    assert_same(ours, theirs, X)
    assert ours.predict(X).shape == Y.shape


@pytest.mark.parametrize("solver", SOLVERS)
def test_poisson(solver):
    X, y = diabetes()
    counts = np.random.RandomState(0).poisson(np.exp(y / 2))
    assert_same(*both("MLPRegressor", X, counts, solver=solver, loss="poisson", max_iter=12), X)


@pytest.mark.parametrize("form", [csr_matrix, csc_matrix])
@pytest.mark.parametrize("solver", SOLVERS)
def test_sparse_input(monkeypatch, solver, form):
    """Also if each batch is a block."""
    X, y = digits()
    X = np.where(X > 0.5, X, 0)
    assert_same(*both("MLPClassifier", form(X), y, solver=solver), form(X))
    monkeypatch.setattr("fastmlp.training.epochs.DENSE_BLOCK_BYTES", 1)
    monkeypatch.setattr("fastmlp.prediction.predict.DENSE_BLOCK_BYTES", 1)
    assert_same(*both("MLPClassifier", form(X), y, solver=solver, early_stopping=False, batch_size=50), form(X))


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start(solver):
    X, y = digits()
    params = {"solver": solver, "warm_start": True, "max_iter": 4, "random_state": 1}
    ours, theirs = fastmlp.MLPClassifier(**params), neural_network.MLPClassifier(**params)
    for _ in range(3):
        assert_same(ours.fit(X, y), theirs.fit(X, y), X)


@pytest.mark.parametrize(
    "change", [{"activation": "tanh"}, {"solver": "sgd"}, {"alpha": 1.0, "batch_size": 50}], ids=str
)
def test_warm_start_with_changed_parameters(change):
    X, y = digits()
    models = [
        package.MLPClassifier(warm_start=True, max_iter=3, random_state=1) for package in (fastmlp, neural_network)
    ]
    for model in models:
        model.fit(X, y).set_params(**change).fit(X, y)
    assert_same(*models, X)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("seed", [2, None])
def test_partial_fit(kind, solver, seed):
    """With a seed every call draws the same permutation; a RandomState continues. Also after a fit."""
    X, y = digits() if kind == "MLPClassifier" else diabetes()
    first = {"classes": np.unique(y)} if kind == "MLPClassifier" else {}
    models = []
    for package in (fastmlp, neural_network):
        state = seed if seed is not None else np.random.RandomState(5)
        model = getattr(package, kind)(solver=solver, random_state=state, max_iter=3)
        for rows in (slice(0, 150), slice(150, None), slice(0, 80)):
            model.partial_fit(X[rows], y[rows], **first)
        models.append(model)
    assert_same(*models, X)
    for model in models:
        model.fit(X, y).partial_fit(X, y, sample_weight=np.linspace(0, 1, len(X)))
    assert_same(*models, X)


def test_lbfgs_in_blocks_of_samples(monkeypatch):
    """Large data are processed in blocks, and the sum is the same."""
    X, y = np.tile(digits()[0], (2, 1)), np.tile(digits()[1], 2)
    weight = np.random.RandomState(0).uniform(0, 2, len(X))
    weight[:256] = 0  # all weights in the first of four blocks are 0
    monkeypatch.setattr("fastmlp.training.lbfgs.BLOCK_BYTES", 1)
    assert_same(*both("MLPClassifier", X, y, solver="lbfgs", sample_weight=weight, alpha=0.1), X)


def test_max_fun_ends_lbfgs():
    X, y = digits()
    ours, theirs = both("MLPClassifier", X, y, solver="lbfgs", max_fun=5, max_iter=100)
    assert_same(ours, theirs, X)
    assert ours.n_iter_ < 6


@pytest.mark.parametrize("max_iter", range(1, 21))
def test_lbfgs_iteration_by_iteration(max_iter):
    """scikit-learn records no curve for lbfgs: compare with its loss after fits of 1, 2, ... iterations."""
    X, y = digits()
    assert_same(*both("MLPClassifier", X, y, solver="lbfgs", max_iter=max_iter))


def test_verbose_prints_the_same_lines(capsys):
    X, y = digits()
    params = {"verbose": True, "solver": "sgd", "learning_rate": "adaptive", "tol": 1, "n_iter_no_change": 2}
    params |= {"max_iter": 200, "random_state": 0, "learning_rate_init": 1e-4}
    for early_stopping in (False, True):
        lines = []
        for package in (fastmlp, neural_network):
            package.MLPClassifier(**params, early_stopping=early_stopping).fit(X, y)
            lines.append(capsys.readouterr().out)
        assert lines[0] == lines[1]
        assert "Setting learning rate" in lines[0]
        assert "Learning rate too small. Stopping." in lines[0]


@pytest.mark.parametrize(
    "params, y",
    [
        ({"batch_size": 5000}, None),
        ({"max_iter": 1}, None),
        ({"max_iter": 1, "solver": "lbfgs"}, None),
        ({}, "column"),
    ],
    ids=str,
)
def test_warnings_equal_those_of_scikit_learn(params, y):
    X, labels = digits()
    labels = labels[:, None] if y == "column" else labels
    found = []
    for package in (fastmlp, neural_network):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            package.MLPClassifier(**{"max_iter": 2, **params}).fit(X, labels)
        found.append(caught)
    assert [w.category for w in found[0]] == [w.category for w in found[1]]
    for ours, theirs in zip(*found):
        # Ours may say more; the text up to the first detail is the same.
        assert str(ours.message)[:30] == str(theirs.message)[:30]
