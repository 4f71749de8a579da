"""Models and calls for the parts threads, processes and signals: each has a fixed result, bit for bit."""

import copy
import hashlib
import pickle
import warnings
from functools import cache

import numpy as np

import fastmlp
from fastmlp import (
    MLP,
    Adaline,
    Layer,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPRegressor,
    Perceptron,
    TabularMLPRegressor,
    fit_many,
    make_optimizer,
)

BACKENDS = "cython", "numba", "numpy"
JOBS = 1, 2, None
LIMIT = 300  # seconds after which something hangs


@cache
def data(n_samples=300, n_features=6):
    """(X, number to predict, class label)"""
    X = np.random.RandomState(0).standard_normal((n_samples, n_features))
    y = X[:, 0] * X[:, 1]
    return X, y, np.where(y > 0, "yes", "no")


def network(optimizer="adam", epochs=3, batch_size=32, **more):
    X, y, _ = data()
    model = MLP([Layer(12, "tanh", dropout=more.pop("dropout", 0)), Layer(1, "identity")], optimizer=optimizer, **more)
    return model.fit(X, y, epochs, batch_size)


def classifier(**more):
    X, _, labels = data()
    return MLPClassifier(12, max_iter=3, **more).fit(X, labels)


def regressor(**more):
    X, y, _ = data()
    return MLPRegressor(hidden_layer_sizes=12, max_iter=3, **more).fit(X, y)


def in_parts(**more):
    X, y, _ = data()
    model = MLPRegressor(hidden_layer_sizes=12, **more)
    for start in range(0, 300, 50):
        model.partial_fit(X[start : start + 50], y[start : start + 50])
    return model


def streamed(**more):
    X, _, labels = data()
    model = MLPClassifier(12, max_iter=2, **more)
    return model.fit_stream([(X[:150], labels[:150]), (X[150:], labels[150:])], ["no", "yes"])


def stepped(backend, n_jobs, random_state):
    X, y, _ = data()
    model = MLP([Layer(12, "tanh"), Layer(1, "identity")], backend=backend, n_jobs=n_jobs, random_state=random_state)
    step = model.build(6).compile_step(50)
    X, y = X.astype("f4"), y[:, None].astype("f4")
    for start in range(0, 300, 50):
        step(X[start : start + 50], y[start : start + 50])
    return model


def ensemble(**more):
    X, _, labels = data()
    members = MLPClassifier(8, max_iter=2, backend=more["backend"])
    return MLPEnsembleClassifier(members, n_members=3, n_jobs=more["n_jobs"], random_state=more["random_state"]).fit(
        X, labels
    )


def of_a_table(backend, **more):
    X, y, _ = data()
    return TabularMLPRegressor(epochs=2, n_members=2, **more).fit(X, y)


def of_many(backend, n_jobs, random_state):
    X, y, _ = data()
    models = [
        MLPRegressor(hidden_layer_sizes=8, max_iter=2, backend=backend, random_state=random_state + one)
        for one in range(3)
    ]
    fit_many(models, X, y, n_jobs=n_jobs)
    return models[-1]


def of_one_layer(kind, backend, n_jobs, random_state):
    X, _, labels = data()
    return kind(max_iter=3, backend=backend, random_state=random_state).fit(X, labels)


FITS = {
    "MLP": network,
    "MLP with momentum": lambda **more: network(make_optimizer("sgd", 0.01, momentum=0.9), **more),
    "MLP with dropout": lambda **more: network(dropout=0.2, **more),
    "MLP online": lambda **more: network(batch_size=1, epochs=1, **more),
    "MLP by lbfgs": lambda **more: network("lbfgs", epochs=5, **more),
    "MLP by steps": stepped,
    "MLPClassifier": classifier,
    "MLPClassifier, early stopping": lambda **more: classifier(early_stopping=True, **more),
    "MLPClassifier on a stream": streamed,
    "MLPRegressor": regressor,
    "MLPRegressor by lbfgs": lambda **more: regressor(solver="lbfgs", **more),
    "MLPRegressor in parts": in_parts,
    "MLPEnsembleClassifier": ensemble,
    "TabularMLPRegressor": of_a_table,
    "fit_many": of_many,
    "Perceptron": lambda **more: of_one_layer(Perceptron, **more),
    "Adaline": lambda **more: of_one_layer(Adaline, **more),
}
NOT_IN_FILES = "Perceptron", "Adaline"


def settings(rng):
    """(name of a fit, arguments for it), at random. BLAS has one thread: its sums depend on their number."""
    backend = BACKENDS[rng.integers(3)]
    n_jobs = 1 if backend == "numpy" else JOBS[rng.integers(3)]
    name = list(FITS)[rng.integers(len(FITS))]
    return name, {"backend": backend, "n_jobs": n_jobs, "random_state": int(rng.integers(10))}


def made(name, given, path):
    """Fit a model, copy, pickle and save it, and predict with each: the digest of all predictions."""
    with warnings.catch_warnings():
        model = FITS[name](**given)
    X, models = data()[0], [model]
    models += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    if name not in NOT_IN_FILES:
        model.save(path)
        models.append(fastmlp.load(path))
    return digest([one.predict(X) for one in models])


def digest(arrays):
    """A short text of the bytes of arrays."""
    found = hashlib.blake2b(digest_size=12)
    for array in arrays:
        array = np.asarray(array)
        found.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return found.hexdigest()
