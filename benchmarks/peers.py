"""An epoch of training on the same work for fastmlp and for those that a user would pick instead.

Each function gets a Work and returns (function that trains, rows that pass). Those whose fit checks its input first
train for some epochs in a call, as their users do.
"""

import warnings

import numpy as np
from works import data

CALL_FLOPS = 1e11  # of a fit that checks its input first, within 2 to 50 epochs
ONLINE_STEPS = 512  # of a peer that takes its time over each step


def _epochs(work):
    return min(50, max(2, int(CALL_FLOPS / (work.flops * work.rows))))


def _fastmlp(dtype="float32", **options):
    """``options``: of MLP."""

    def build(work):
        from fastmlp import MLP, make_optimizer

        X, y = data(work)
        X = X.astype(dtype)
        hidden = [(units, work.activation) for units in work.sizes[1:-1]]
        output = "softmax" if work.task == "classes" else "identity"
        loss = "categorical_cross_entropy" if work.task == "classes" else "squared_error"
        model = MLP(
            [*hidden, (work.sizes[-1], output)], loss, make_optimizer(work.solver, 1e-3), dtype=dtype, random_state=0,
            **options,
        )  # fmt: skip
        if work.task == "classes":
            y = np.eye(work.sizes[-1], dtype=dtype)[y]
        epochs = _epochs(work)
        return lambda: model.fit(X, y, epochs=epochs, batch_size=work.batch), epochs * work.rows

    return build


def scikit_learn(work):
    from sklearn import neural_network

    X, y = data(work)
    rows, epochs = min(work.rows, work.batch * ONLINE_STEPS), min(5, _epochs(work))
    X, y = X[:rows], y[:rows]
    kind = neural_network.MLPClassifier if work.task == "classes" else neural_network.MLPRegressor
    model = kind(
        hidden_layer_sizes=work.sizes[1:-1], activation=work.activation, solver=work.solver, batch_size=work.batch,
        max_iter=epochs, warm_start=True, alpha=0, learning_rate_init=1e-3, n_iter_no_change=epochs + 1,
    )  # fmt: skip
    warnings.simplefilter("ignore")
    return lambda: model.fit(X, y.ravel() if work.task == "values" else y), epochs * rows


def _torch(compiled=False, autocast=False, products="highest"):
    """``autocast``: to bfloat16; ``products``: for torch.set_float32_matmul_precision."""

    def build(work):
        import torch

        if compiled and work.flops < 1e6:
            raise ValueError("compiling takes tens of seconds and gains nothing on work of this size")
        torch.set_float32_matmul_precision(products)
        X, y = map(torch.from_numpy, data(work))
        layers = []
        for fan_in, fan_out in zip(work.sizes, work.sizes[1:]):
            layers += [
                torch.nn.Linear(fan_in, fan_out),
                {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[work.activation](),
            ]
        network = torch.nn.Sequential(*layers[:-1])
        loss = torch.nn.CrossEntropyLoss() if work.task == "classes" else torch.nn.MSELoss()
        parameters = network.parameters()
        if work.solver == "sgd":
            optimizer = torch.optim.SGD(parameters, lr=1e-3)
        else:
            optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

        def objective(inputs, targets):
            return loss(network(inputs), targets)

        objective = torch.compile(objective) if compiled else objective
        objective = torch.autocast("cpu", torch.bfloat16)(objective) if autocast else objective
        rows = min(work.rows, work.batch * ONLINE_STEPS)

        def epoch():
            order = torch.randperm(work.rows)[:rows]
            for start in range(0, rows, work.batch):
                numbers = order[start : start + work.batch]
                optimizer.zero_grad(set_to_none=True)
                objective(X[numbers], y[numbers]).backward()
                optimizer.step()

        return epoch, rows

    return build


def jax_scan(work):
    """The whole epoch as one compiled loop."""
    import jax
    import jax.numpy as jnp
    import optax

    X, y = map(jnp.asarray, data(work))
    rng = np.random.RandomState(0)
    parameters = [
        (jnp.asarray(rng.standard_normal((n, m)) / n**0.5, jnp.float32), jnp.zeros(m, jnp.float32))
        for n, m in zip(work.sizes, work.sizes[1:])
    ]
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[work.activation]
    optimizer = optax.sgd(1e-3) if work.solver == "sgd" else optax.adam(1e-3)

    def loss(parameters, inputs, targets):
        for W, b in parameters[:-1]:
            inputs = activation(inputs @ W + b)
        W, b = parameters[-1]
        outputs = inputs @ W + b
        if work.task == "values":
            return jnp.mean((outputs - targets) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    @jax.jit
    def run(parameters, state, key):
        def step(carry, numbers):
            parameters, state = carry
            gradient = jax.grad(loss)(parameters, X[numbers], y[numbers])
            updates, state = optimizer.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, updates), state), None

        order = jax.random.permutation(key, work.rows).reshape(-1, work.batch)
        return jax.lax.scan(step, (parameters, state), order)[0]

    now = [parameters, optimizer.init(parameters), jax.random.PRNGKey(0)]

    def epoch():
        now[2], key = jax.random.split(now[2])
        now[:2] = jax.block_until_ready(run(*now[:2], key))

    return epoch, work.rows


def blas(work):
    """The limit: single-precision products of 2048 x 2048 matrices by the BLAS of NumPy; "rows" are operations."""
    n = 2048
    A, B, C = (np.random.RandomState(0).standard_normal((n, n)).astype("f4") for _ in range(3))

    def product():
        for _ in range(3):
            np.dot(A, B, C)

    return product, 3 * 2 * n**3


LIMIT = "BLAS limit"
PEERS = {
    "fastmlp": _fastmlp(),
    "cython": _fastmlp(backend="cython"),
    "numba": _fastmlp(backend="numba"),
    "1 thread": _fastmlp(n_jobs=1),
    "float64": _fastmlp(dtype="float64"),
    "torch": _torch(),
    "torch.compile": _torch(compiled=True),
    "JAX": jax_scan,
    "scikit-learn": scikit_learn,
    LIMIT: blas,
}
OTHERS = "torch", "torch.compile", "JAX", "scikit-learn"

# The precisions of matrix products, fastmlp's and those that the peers have.
PRECISIONS = {
    "highest": PEERS["fastmlp"],
    "high": _fastmlp(matmul_precision="high"),
    "medium": _fastmlp(matmul_precision="medium"),
    **{name: PEERS[name] for name in OTHERS},
    "torch, medium": _torch(products="medium"),
    "torch, autocast": _torch(autocast=True),
    "torch.compile, autocast": _torch(compiled=True, autocast=True),
}
ROUNDED_OTHERS = "torch, medium", "torch, autocast", "torch.compile, autocast"
