"""Predictions of work.rows rows, for fastmlp and for those that a user would pick instead.

Each function gets a Work and returns (function that predicts, rows).
"""

import warnings

import numpy as np
from works import data


def _weights(work):
    rng = np.random.RandomState(0)
    return [
        ((rng.standard_normal((n, m)) / n**0.5).astype("f4"), rng.standard_normal(m).astype("f4"))
        for n, m in zip(work.sizes, work.sizes[1:])
    ]


def _fitted(work, package, **options):
    """A regressor of either package with the weights of _weights; ``options``: of that regressor."""
    X, y = data(work._replace(rows=64))
    warnings.simplefilter("ignore")
    model = package.MLPRegressor(
        hidden_layer_sizes=work.sizes[1:-1], activation=work.activation, solver="adam", max_iter=1, **options
    )
    model.fit(X, y.ravel() if y.shape[1] == 1 else y)
    model.coefs_, model.intercepts_ = map(list, zip(*_weights(work)))
    return model


def _fastmlp(**options):
    def build(work):
        import fastmlp

        model, X = _fitted(work, fastmlp, **options), data(work)[0]
        return _often(lambda: model.predict(X), work)

    return build


def compiled(work):
    import fastmlp

    predict, X = _fitted(work, fastmlp).compile_predict(), data(work)[0]
    if len(X) > 1:
        raise ValueError("compile_predict is for one row at a time")
    return _often(lambda: predict(X), work)


def scikit_learn(work):
    from sklearn import neural_network

    model, X = _fitted(work, neural_network), data(work)[0]
    return _often(lambda: model.predict(X), work)


def by_numpy(work):
    weights, X = _weights(work), data(work)[0]
    activation = np.tanh if work.activation == "tanh" else lambda z: np.maximum(z, 0)

    def predict():
        a = X
        for W, b in weights[:-1]:
            a = activation(a @ W + b)
        W, b = weights[-1]
        return a @ W + b

    return _often(predict, work)


def _torch(autocast=False):
    def build(work):
        import torch

        layers = []
        for W, b in _weights(work):
            linear = torch.nn.Linear(*W.shape)
            linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b)
            layers += [linear, {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[work.activation]()]
        network, X = torch.nn.Sequential(*layers[:-1]).eval(), torch.from_numpy(data(work)[0])
        forward = torch.autocast("cpu", torch.bfloat16)(network) if autocast else network

        def predict():
            with torch.inference_mode():
                return forward(X)

        return _often(predict, work)

    return build


def jax_jit(work):
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


def onnx_runtime(work):
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
    "fastmlp": _fastmlp(),
    "compile_predict": compiled,
    "NumPy": by_numpy,
    "ONNX Runtime": onnx_runtime,
    "torch": _torch(),
    "JAX": jax_jit,
    "scikit-learn": scikit_learn,
}
# In bulk, by the precision of matrix products.
PRECISIONS = {
    "highest": PREDICTORS["fastmlp"],
    "medium": _fastmlp(matmul_precision="medium"),
    "ONNX Runtime": PREDICTORS["ONNX Runtime"],
    "torch": PREDICTORS["torch"],
    "torch, autocast": _torch(autocast=True),
}
