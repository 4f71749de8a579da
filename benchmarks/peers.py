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


def _fastmlp(backend, n_jobs=None, dtype="float32"):
    def build(work):
        from fastmlp import MLP, make_optimizer

        X, y = data(work)
        X = X.astype(dtype)
        hidden = [(units, work.activation) for units in work.sizes[1:-1]]
        output = "softmax" if work.task == "classes" else "identity"
        loss = "categorical_cross_entropy" if work.task == "classes" else "squared_error"
        model = MLP(
            [*hidden, (work.sizes[-1], output)], loss, make_optimizer(work.solver, 1e-3), dtype=dtype, backend=backend,
            n_jobs=n_jobs, random_state=0,
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


def _torch(compiled):
    def build(work):
        import torch

        if compiled and work.flops < 1e6:
            raise ValueError("compiling takes tens of seconds and gains nothing on work of this size")
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
    "fastmlp": _fastmlp("auto"),
    "cython": _fastmlp("cython"),
    "numba": _fastmlp("numba"),
    "1 thread": _fastmlp("auto", n_jobs=1),
    "float64": _fastmlp("auto", dtype="float64"),
    "torch": _torch(False),
    "torch.compile": _torch(True),
    "JAX": jax_scan,
    "scikit-learn": scikit_learn,
    LIMIT: blas,
}
OTHERS = "torch", "torch.compile", "JAX", "scikit-learn"


# Predictions of work.rows rows: each function returns (function that predicts, rows).
def _weights(work):
    rng = np.random.RandomState(0)
    return [
        ((rng.standard_normal((n, m)) / n**0.5).astype("f4"), rng.standard_normal(m).astype("f4"))
        for n, m in zip(work.sizes, work.sizes[1:])
    ]


def _fitted(work, package):
    """A regressor of either package with the weights of _weights."""
    X, y = data(work._replace(rows=64))
    warnings.simplefilter("ignore")
    model = package.MLPRegressor(
        hidden_layer_sizes=work.sizes[1:-1], activation=work.activation, solver="adam", max_iter=1
    )
    model.fit(X, y.ravel() if y.shape[1] == 1 else y)
    model.coefs_, model.intercepts_ = map(list, zip(*_weights(work)))
    return model


def fastmlp_predict(work):
    import fastmlp

    model, X = _fitted(work, fastmlp), data(work)[0]
    return _often(lambda: model.predict(X), work)


def fastmlp_compiled(work):
    import fastmlp

    predict, X = _fitted(work, fastmlp).compile_predict(), data(work)[0]
    if len(X) > 1:
        raise ValueError("compile_predict is for one row at a time")
    return _often(lambda: predict(X), work)


def scikit_learn_predict(work):
    from sklearn import neural_network

    model, X = _fitted(work, neural_network), data(work)[0]
    return _often(lambda: model.predict(X), work)


def numpy_predict(work):
    weights, X = _weights(work), data(work)[0]
    activation = np.tanh if work.activation == "tanh" else lambda z: np.maximum(z, 0)

    def predict():
        a = X
        for W, b in weights[:-1]:
            a = activation(a @ W + b)
        W, b = weights[-1]
        return a @ W + b

    return _often(predict, work)


def torch_predict(work):
    import torch

    layers = []
    for W, b in _weights(work):
        linear = torch.nn.Linear(*W.shape)
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b)
        layers += [linear, {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[work.activation]()]
    network, X = torch.nn.Sequential(*layers[:-1]).eval(), torch.from_numpy(data(work)[0])

    def predict():
        with torch.inference_mode():
            return network(X)

    return _often(predict, work)


def jax_predict(work):
    import jax
    import jax.numpy as jnp

    weights, X = _weights(work), jnp.asarray(data(work)[0])
    activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[work.activation]

    @jax.jit
    def forward(a):
        for W, b in weights[:-1]:
            a = activation(a @ W + b)
        return a @ weights[-1][0] + weights[-1][1]

    return _often(lambda: forward(X).block_until_ready(), work)


def onnxruntime_predict(work):
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, name = [], [], "x"
    for i, (W, b) in enumerate(_weights(work)):
        tensors += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], [f"z{i}"]))
        name = f"z{i}"
        if i < len(work.sizes) - 2:
            nodes.append(helper.make_node(work.activation.title(), [name], [f"a{i}"]))
            name = f"a{i}"
    ends = [
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["rows", n])]
        for end, n in (("x", work.sizes[0]), (name, work.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", *ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    X = data(work)[0]
    return _often(lambda: session.run(None, {"x": X}), work)


def _often(predict, work):
    """A call that takes microseconds is timed a thousand times in a row."""
    times = 1000 if work.rows == 1 else 1

    def several():
        for _ in range(times):
            predict()

    return several, work.rows * times


PREDICTORS = {
    "fastmlp": fastmlp_predict,
    "compile_predict": fastmlp_compiled,
    "NumPy": numpy_predict,
    "ONNX Runtime": onnxruntime_predict,
    "torch": torch_predict,
    "JAX": jax_predict,
    "scikit-learn": scikit_learn_predict,
}
