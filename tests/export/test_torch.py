"""Conversion to and from torch. The extra test does not include torch (1 GB); without it these tests are skipped."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastmlp import MLP, Layer, MLPClassifier, from_torch, to_torch
from fastmlp.export.expressions import EXPRESSIONS

torch = pytest.importorskip("torch", reason="needs the package torch")
nn = torch.nn
rng = np.random.RandomState(0)
X = rng.standard_normal((40, 5)).astype("f4")


def outputs(module, rows=X):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(rows)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, row in EXPRESSIONS.items() if row.torch is not None])
def test_to_torch_and_back(name, dtype):
    hidden = "tanh" if name == "softmax" else name
    last = "softmax" if name == "softmax" else "identity"
    loss = "categorical_cross_entropy" if name == "softmax" else "squared_error"
    model = MLP([Layer(6, hidden, 0.2), Layer(4, hidden), Layer(3, last)], loss, dtype=dtype, random_state=0).build(5)
    model.parameters[:] += rng.uniform(-0.3, 0.3, model.n_parameters)
    module, rows = to_torch(model), X.astype(dtype)
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    assert_allclose(outputs(module, rows), model.predict(rows), **tolerance)
    again = from_torch(module)
    assert (again.dtype, again.loss) == (model.dtype, loss)
    assert [layer.activation for layer in again.layers] == [hidden, hidden, last]
    assert_allclose(again.predict(rows), model.predict(rows), **tolerance)


def test_from_torch_with_typical_modules():
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(5, 8, bias=False), nn.PReLU(), nn.Dropout(0.3), nn.Linear(8, 8), nn.Identity(),
        nn.Sequential(nn.Linear(8, 4), nn.PReLU(4)), nn.Linear(4, 1), nn.Sigmoid(),
    )  # fmt: skip
    model = from_torch(module, alpha=0.1, backend="numpy")
    assert [layer.activation for layer in model.layers] == ["shared_prelu", "identity", "prelu", "logistic"]
    assert [layer.dropout for layer in model.layers] == [0.3, 0, 0, 0]
    assert (model.loss, model.alpha, model.backend) == ("binary_cross_entropy", 0.1, "numpy")
    assert_allclose(model.predict(X), outputs(module), rtol=1e-6, atol=1e-6)
    before = model.parameters.copy()
    assert (model.fit(X, X[:, 0] > 0, 1).parameters != before).any()


def test_modules_in_half_precision_become_float32():
    module = nn.Sequential(nn.Linear(5, 3, dtype=torch.bfloat16))
    model = from_torch(module)
    assert model.dtype == np.float32
    assert_allclose(model.predict(X), outputs(module.float()), rtol=1e-6)


def test_classifiers_to_torch():
    model = MLPClassifier(hidden_layer_sizes=(6,), max_iter=200, random_state=0, tol=1).fit(
        X, np.where(X[:, 0] > 0, "b", "a")
    )
    assert_allclose(outputs(to_torch(model))[:, 0], model.predict_proba(X)[:, 1], rtol=1e-6, atol=1e-6)


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledLayer(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(outside):
    module = nn.Sequential(nn.Linear(5, 2))
    (module if outside else module[0]).register_forward_hook(lambda module, given, result: 2 * result)
    return module


@pytest.mark.parametrize("wrong, message", [
    (nn.Linear(5, 1), "module must be a torch.nn.Sequential, got Linear"),
    (nn.Sequential(nn.ReLU(), nn.Linear(5, 1)), "the first layer must be torch.nn.Linear"),
    (nn.Sequential(), "at least one torch.nn.Linear"), (Doubled(), "module must be a torch.nn.Sequential, got Doubled"),
    (nn.Sequential(DoubledLayer(5, 2)), "the first layer must be torch.nn.Linear"),
    (nn.Sequential(nn.Flatten(0), nn.Linear(5, 3)), "the first layer must be"),
    (nn.Sequential(nn.Linear(5, 4), nn.PReLU(3)), "has slopes for 3 units, but the layer before it has 4"),
    (nn.Sequential(nn.Linear(5, 4, dtype=torch.complex64)), "must be real numbers"), (hooked(True), "has hooks"),
    (hooked(False), "has hooks"),
    (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), "does not support BatchNorm1d"),
    (nn.Sequential(nn.Linear(5, 3), nn.LeakyReLU(0.2)), "does not support LeakyReLU"),
    (nn.Sequential(nn.Linear(5, 3), nn.GELU("tanh")), "does not support GELU"),
    (nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Tanh()), "Linear.* cannot be followed by Tanh"),
    (nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.1), nn.ReLU()), "Linear.* cannot be followed by ReLU"),
    (nn.Sequential(nn.Linear(5, 3), nn.Linear(4, 1)), "takes 4 inputs, but the layer before it has 3 outputs"),
])  # fmt: skip
def test_unsupported_modules(wrong, message):
    with pytest.raises(ValueError, match=message):
        from_torch(wrong)


def test_models_without_an_equivalent_in_torch():
    with pytest.raises(ValueError, match="skip connections cannot be exported"):
        to_torch(MLP([Layer(3), Layer(1, "identity", skip=2)]).build(5))
    with pytest.raises(ValueError, match="activation 'sign' cannot be exported to torch"):
        to_torch(MLP([Layer(3, "sign"), Layer(1, "identity")]).build(5))
