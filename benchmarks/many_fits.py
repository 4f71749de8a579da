"""Many fits of 4-16-3 on Iris for 200 epochs: Adam, float32, each network with weights and orders of its own.

Each function takes the batch size and returns (function that runs the fits, number of fits).
"""

import warnings

EPOCHS = 200


def _iris():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype("f4"), y


def _networks(n):
    from fastmlp import MLP

    layers = [(16, "relu"), (3, "softmax")]
    return [MLP(layers, "categorical_cross_entropy", random_state=seed) for seed in range(n)]


def _classifiers(package, n, batch_size):
    from importlib import import_module

    warnings.simplefilter("ignore")
    kind = import_module(package).MLPClassifier
    given = {"max_iter": EPOCHS, "tol": 0, "n_iter_no_change": EPOCHS, "batch_size": batch_size}
    return [kind((16,), random_state=seed, **given) for seed in range(n)]


def fit_many_networks(batch_size):
    from fastmlp import fit_many

    X, y = _iris()
    return lambda: fit_many(_networks(1000), X, y, fit_params={"epochs": EPOCHS, "batch_size": batch_size}), 1000


def fit_networks(batch_size):
    X, y = _iris()

    def fit():
        for model in _networks(100):
            model.fit(X, y, epochs=EPOCHS, batch_size=batch_size)

    return fit, 100


def fit_many_classifiers(batch_size):
    from fastmlp import fit_many

    X, y = _iris()
    return lambda: fit_many(_classifiers("fastmlp", 1000, batch_size), X, y), 1000


def fit_classifiers(batch_size):
    X, y = _iris()

    def fit():
        for model in _classifiers("fastmlp", 100, batch_size):
            model.fit(X, y)

    return fit, 100


def scikit_learn(batch_size):
    from joblib import Parallel, delayed

    X, y = _iris()
    models = _classifiers("sklearn.neural_network", 16, batch_size)
    return lambda: Parallel(n_jobs=-1)(delayed(_fit)(model, X, y) for model in models), len(models)


def _fit(model, X, y):
    warnings.simplefilter("ignore")
    return model.fit(X, y)


def jax_vmap(batch_size):
    """All networks in one compiled program, whole epochs in scans; the rest of an epoch that fills no batch is left."""
    import jax
    import jax.numpy as jnp
    import optax

    n, (X, y), optimizer = 1000, map(jnp.asarray, _iris()), optax.adam(1e-3)

    def loss(parameters, inputs, labels):
        (W, b), (V, c) = parameters
        outputs = jax.nn.relu(inputs @ W + b) @ V + c
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

    def step(carry, numbers):
        parameters, state = carry
        gradient = jax.grad(loss)(parameters, X[numbers], y[numbers])
        updates, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    def epoch(carry, key):
        order = jax.random.permutation(key, 150)[: 150 // batch_size * batch_size].reshape(-1, batch_size)
        return jax.lax.scan(step, carry, order)[0], None

    def fit(key):
        keys = jax.random.split(key, EPOCHS + 2)
        parameters = [
            (jax.random.normal(key, size) / size[0] ** 0.5, jnp.zeros(size[1]))
            for key, size in zip(keys, ((4, 16), (16, 3)))
        ]
        return jax.lax.scan(epoch, (parameters, optimizer.init(parameters)), keys[2:])[0][0]

    fit_all, keys = jax.jit(jax.vmap(fit)), jax.random.split(jax.random.PRNGKey(0), n)
    return lambda: jax.block_until_ready(fit_all(keys)), n


FITTERS = {
    "fit_many, MLP": fit_many_networks,
    "MLP.fit": fit_networks,
    "fit_many, MLPClassifier": fit_many_classifiers,
    "MLPClassifier.fit": fit_classifiers,
    "JAX, vmap": jax_vmap,
    "scikit-learn, joblib": scikit_learn,
}
