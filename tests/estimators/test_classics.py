"""Classic models: the perceptron's rule and its limits, and the one-layer models against closed forms."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import Adaline, Perceptron, linear_regression, logistic_regression, softmax_regression

GATES = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = [0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]
rng = np.random.RandomState(0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([Perceptron(max_iter=20), Adaline(1e-4)])
def test_conformance(estimator, check):
    check(estimator)


@pytest.mark.parametrize("gate", [AND, OR])
def test_the_perceptron_learns_linearly_separable_classes(backend, gate):
    perceptron = Perceptron(random_state=0, backend=backend).fit(GATES, gate)
    assert perceptron.converged_
    assert perceptron.errors_[-1] == 0 < perceptron.errors_[0]
    assert perceptron.n_iter_ == len(perceptron.errors_) < 20
    assert perceptron.predict(GATES).tolist() == gate


def test_the_perceptron_warns_that_it_cannot_learn_xor(backend):
    with pytest.warns(ConvergenceWarning, match="still makes errors after 50 passes.*not be linearly separable"):
        perceptron = Perceptron(max_iter=50, random_state=0, backend=backend).fit(GATES, XOR)
    assert not perceptron.converged_
    assert perceptron.n_iter_ == 50
    assert min(perceptron.errors_) > 0


def test_the_perceptrons_rule_step_by_step(backend):
    """w <- w + rate (t - y) x, with y = 1/2 on the decision boundary."""
    rows = rng.standard_normal((20, 3))
    labels = (rows @ [1, -2, 0.5] > 0.2).astype(int)
    w, b = np.zeros(3), 0.0
    for x, t in zip(rows, labels):
        error = t - np.heaviside(x @ w + b, 0.5)
        w, b = w + 0.7 * error * x, b + 0.7 * error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        perceptron = Perceptron(0.7, 1, shuffle=False, backend=backend).fit(rows, labels)
    np.testing.assert_allclose(perceptron.coef_[0], w, rtol=1e-12)
    assert perceptron.intercept_[0] == pytest.approx(b)


def test_the_perceptron_separates_any_separable_data():
    """Rosenblatt's theorem, on random separable data with a margin."""
    for seed in range(5):
        random = np.random.RandomState(seed)
        rows = random.standard_normal((200, 4))
        z = rows @ random.standard_normal(4) + 0.3
        rows, z = rows[np.abs(z) > 0.2], z[np.abs(z) > 0.2]
        perceptron = Perceptron(random_state=seed).fit(rows, z > 0)
        assert perceptron.converged_
        assert (perceptron.predict(rows) == (z > 0)).all()


def test_one_unit_per_class():
    X, y = load_iris(return_X_y=True)
    adaline = Adaline(0.01, 500).fit((X - X.mean(axis=0)) / X.std(axis=0), y)
    assert adaline.coef_.shape == (3, 4)
    assert adaline.score((X - X.mean(axis=0)) / X.std(axis=0), y) > 0.8


def test_adaline_finds_the_least_squares_fit_and_its_loss_decreases(backend):
    rows = rng.standard_normal((100, 3))
    labels = rows @ [1, 1, 0] + rng.standard_normal(100) > 0
    adaline = Adaline(0.3, 300, backend=backend).fit(rows, labels)
    exact = np.linalg.lstsq(np.column_stack([rows, np.ones(100)]), np.where(labels, 1.0, -1.0), rcond=None)[0]
    np.testing.assert_allclose([*adaline.coef_[0], adaline.intercept_[0]], exact, rtol=1e-8)
    assert (np.diff(adaline.losses_) <= 1e-15).all()
    assert Adaline(0.01, 5, batch_size=1, random_state=0).fit(rows, labels).losses_[-1] < 0.5


@pytest.mark.parametrize("kind", [Perceptron, Adaline])
def test_invalid_arguments(kind):
    for options, message in (({"learning_rate": -1}, "learning_rate"), ({"max_iter": 0}, "max_iter")):
        with pytest.raises(ValueError, match=message):
            kind(**options).fit(GATES, AND)
    with pytest.raises(ValueError, match="at least two classes"):
        kind().fit(GATES, [1, 1, 1, 1])


def test_regressions_equal_those_of_scikit_learn(backend):
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    given = {"dtype": "float64", "backend": backend}
    linear = linear_regression(alpha=2.0, **given).fit(X, X @ [1, 2, 3, 4] + 5, 500)
    ridge = Ridge(alpha=2.0).fit(X, X @ [1, 2, 3, 4] + 5)
    np.testing.assert_allclose(linear.weights[0][:, 0], ridge.coef_, rtol=1e-4)
    softmax = softmax_regression(3, alpha=1.0, **given).fit(X, y, 1000)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(softmax.predict(X), theirs.predict_proba(X), atol=2e-3)
    logistic = logistic_regression(alpha=1.0, **given).fit(X, y > 1, 1000)
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(X, y > 1)
    np.testing.assert_allclose(logistic.predict(X)[:, 0], theirs.predict_proba(X)[:, 1], atol=2e-3)


def test_a_refused_fit_leaves_the_perceptron_unchanged():
    perceptron = Perceptron().fit(GATES, AND)
    with pytest.raises(ValueError, match="two classes"):
        perceptron.fit(GATES[:, :1], [1, 1, 1, 1])
    assert perceptron.predict(GATES).tolist() == AND


def test_a_diverging_perceptron_stops_with_a_warning():
    with pytest.warns(ConvergenceWarning, match="diverged"):
        perceptron = Perceptron(1e308, max_iter=5).fit(1e10 * rng.standard_normal((30, 2)), rng.randint(2, size=30))
    assert perceptron.n_iter_ < 5
    assert not perceptron.converged_
