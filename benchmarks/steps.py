"""One training step called from Python: 8-64-64-1, 32 samples, Adam, float32.

Each function takes an unused argument and returns (function that makes steps, number of steps).
"""

import warnings

import numpy as np

STEPS = 200


def _data():
    rng = np.random.RandomState(0)
    return rng.standard_normal((32, 8)).astype("f4"), rng.standard_normal((32, 1)).astype("f4")


def _repeated(step):
    def several():
        for _ in range(STEPS):
            step()

    return several, STEPS


def _model():
    from fastmlp import MLP, Layer

    return MLP([Layer(64, "tanh"), Layer(64, "tanh"), Layer(1, "identity")], random_state=0).build(8)


def compiled_step(_):
    X, y = _data()
    step = _model().compile_step(32)
    return _repeated(lambda: step(X, y))


def many_steps(_):
    X, y = _data()
    step, order = _model().compile_step(32), np.tile(np.arange(32), STEPS)
    return lambda: step.many(X, y, order), STEPS


def own_gradient(_):
    X, y = _data()
    model = _model()

    def step():
        model.apply(model.backward((model.forward(X) - y) / np.float32(len(X))))

    return _repeated(step)


def fit_one_epoch(_):
    X, y = _data()
    model = _model()
    return _repeated(lambda: model.fit(X, y, epochs=1, batch_size=32))


def _partial_fit(package):
    def build(_):
        from importlib import import_module

        warnings.simplefilter("ignore")
        X, y = _data()
        model = import_module(package).MLPRegressor(
            hidden_layer_sizes=(64, 64), activation="tanh", alpha=0, random_state=0
        )  # fmt: skip
        return _repeated(lambda: model.partial_fit(X, y[:, 0]))

    return build


def torch_step(_):
    import torch

    X, y = map(torch.from_numpy, _data())
    network = torch.nn.Sequential(
        torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = ((network(X) - y) ** 2).mean()
        loss.backward()
        optimizer.step()

    torch.set_num_threads(1)
    return _repeated(step)


def jax_step(_):
    import jax
    import jax.numpy as jnp
    import optax

    X, y = map(jnp.asarray, _data())
    rng, optimizer = np.random.RandomState(0), optax.adam(1e-3)
    parameters = [
        (jnp.asarray(rng.standard_normal((n, m)) / n**0.5, jnp.float32), jnp.zeros(m, jnp.float32))
        for n, m in ((8, 64), (64, 64), (64, 1))
    ]

    def loss(parameters, inputs, targets):
        for W, b in parameters[:-1]:
            inputs = jnp.tanh(inputs @ W + b)
        W, b = parameters[-1]
        return ((inputs @ W + b - targets) ** 2).mean()

    @jax.jit
    def update(parameters, state, inputs, targets):
        value, gradient = jax.value_and_grad(loss)(parameters, inputs, targets)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    now = [parameters, optimizer.init(parameters)]

    def step():
        *now[:], value = update(*now, X, y)
        value.block_until_ready()

    return _repeated(step)


STEPPERS = {
    "compile_step": compiled_step,
    "step.many": many_steps,
    "forward, backward, apply": own_gradient,
    "MLP.fit, one epoch": fit_one_epoch,
    "MLPRegressor.partial_fit": _partial_fit("fastmlp"),
    "torch": torch_step,
    "JAX, jitted": jax_step,
    "scikit-learn, partial_fit": _partial_fit("sklearn.neural_network"),
}
