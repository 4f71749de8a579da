"""Typical programs around scikit-learn's MLP estimators, run with fastmlp's and with scikit-learn's.

Each function gets a module with MLPClassifier and MLPRegressor and returns a function without arguments that does the
work once.
"""

import warnings
from importlib import import_module

import numpy as np
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_classification, make_regression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

GOALS = {
    "cross_validation": 4.5, "grid_search": 3, "online_samples": 15, "one_sample_pipeline": 2, "bagging": 6,
    "permutation_importance": 2, "small_lbfgs": 3, "wide_early_stopping": 4.5, "default_small_table": 8,
    "minibatches": 10, "sparse_text": 3, "first_iris": 10,
}  # fmt: skip


def _digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def cross_validation(package):
    from sklearn.model_selection import cross_val_score

    X, y = _digits()
    model = make_pipeline(StandardScaler(), package.MLPClassifier(max_iter=60, random_state=0))
    return lambda: cross_val_score(model, X, y, cv=5)


def grid_search(package):
    from sklearn.model_selection import GridSearchCV

    X, y = _digits()
    grid = {"hidden_layer_sizes": [(32,), (64,), (64, 32)], "alpha": [1e-4, 1e-2]}
    return lambda: GridSearchCV(package.MLPClassifier(max_iter=30, random_state=0), grid, cv=3, n_jobs=2).fit(X, y)


def online_samples(package):
    """1,500 calls of partial_fit with one sample each."""
    X = np.random.RandomState(0).standard_normal((1500, 8))
    y = X[:, 0]

    def work():
        model = package.MLPRegressor(hidden_layer_sizes=(64, 64), random_state=0)
        for i in range(len(X)):
            model.partial_fit(X[i : i + 1], y[i : i + 1])

    return work


def minibatches(package):
    """300 calls of partial_fit with 100 samples each."""
    X, y = _digits()
    orders = np.random.RandomState(0).randint(len(X), size=(300, 100))

    def work():
        model = package.MLPClassifier((64,), random_state=0)
        for order in orders:
            model.partial_fit(X[order], y[order], classes=np.arange(10))

    return work


def one_sample_pipeline(package):
    """2,000 predictions of one sample."""
    X, y = _digits()
    model = make_pipeline(StandardScaler(), package.MLPClassifier(max_iter=5, random_state=0)).fit(X, y)

    def work():
        for i in range(2000):
            model.predict(X[i % 1700 : i % 1700 + 1])

    return work


def bagging(package):
    from sklearn.ensemble import BaggingRegressor

    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), y / 100
    model = BaggingRegressor(package.MLPRegressor(max_iter=100, random_state=0), 10, n_jobs=2, random_state=0)
    return lambda: model.fit(X, y)


def permutation_importance(package):
    from sklearn import inspection

    X, y = make_regression(5000, 20, random_state=0)
    y = y / 100
    model = package.MLPRegressor(max_iter=5, random_state=0).fit(X, y)
    return lambda: inspection.permutation_importance(model, X, y, n_repeats=10, random_state=0)


def small_lbfgs(package):
    X, y = load_iris(return_X_y=True)

    def work():
        for seed in range(10):
            package.MLPClassifier((16,), solver="lbfgs", max_iter=200, random_state=seed).fit(X, y)

    return work


def wide_early_stopping(package):
    X, y = make_classification(30000, 100, n_informative=30, random_state=0)
    X = X.astype("f4")
    model = package.MLPClassifier((128,), early_stopping=True, max_iter=15, random_state=0)
    return lambda: model.fit(X, y)


def sparse_text(package):
    import scipy.sparse

    X = scipy.sparse.random(6000, 8000, 0.005, format="csr", random_state=0, dtype=np.float32)
    y = np.random.RandomState(0).randint(4, size=6000)
    return lambda: package.MLPClassifier((64,), max_iter=6, random_state=0).fit(X, y)


def default_small_table(package):
    X, y = make_classification(2000, 20, random_state=0)
    return lambda: package.MLPClassifier(random_state=0).fit(X, y)


def first_iris(package):
    X, y = load_iris(return_X_y=True)
    return lambda: package.MLPClassifier((16,), max_iter=200, random_state=0).fit(X, y)


def _of(package):
    def build(name):
        warnings.simplefilter("ignore")
        return globals()[name](import_module(package)), 1

    return build


PACKAGES = {"fastmlp": _of("fastmlp"), "scikit-learn": _of("sklearn.neural_network")}
