"""Matrix products in reduced precision: the reference against plain NumPy, compiled backends against the reference.

In full precision compiled backends are tested against the reference in test_parity.py and its neighbours.

Where operands are rounded, two ways to sum differ by more than an error of the last bit: now and then an operand is
rounded the other way. Such differences are few, so they are measured by the mean, and they must be small compared with
the effect of the precision itself; in high precision, whose last bit is close to that of float32, not larger.
"""

import gzip
from functools import cache

import numpy as np
import pytest

from fastmlp import MLP, Layer
from fastmlp.backends import registry
from fastmlp.kernels.engine import plan
from fastmlp.kernels.inputs import EMBEDDING, PERIODIC, InputColumn, Inputs
from fastmlp.kernels.reference import backward_pass, forward_pass
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.forward_pass import ForwardPass, product, to_bfloat16
from fastmlp.kernels.spec import (
    NO_PENALTY,
    PRECISIONS,
    Batches,
    Network,
    Noise,
    Penalty,
    Skip,
    aligned_zeros,
    layer_views,
    new_slots,
    optimizer,
)
from problems import COMPILED, grid, relative_error

REDUCED = ("high", "medium")
EFFECT = {"high": 1e-5, "medium": 1e-2}  # at most, of a precision on the norm of outputs and gradients
SHARE = {"high": 1.5, "medium": 0.3}  # of the effect by which a backend may differ from the reference
MARGIN = 1e-3  # of a pre-activation of a ReLU, whose derivative may differ below it

SOFTMAX = {"output": "softmax", "loss": "categorical_cross_entropy"}
# name: arguments of Case
CASES = {
    "one layer": {"sizes": (37, 10), "hidden": (), **SOFTMAX},
    "one hidden layer": {"sizes": (37, 100, 10), "hidden": ("tanh",), **SOFTMAX},
    "wide": {"sizes": (20, 513, 3), "hidden": ("tanh",)},
    "wide inputs": {"sizes": (513, 33, 1), "hidden": ("tanh",)},
    "whole blocks": {"sizes": (64, 64, 32, 32), "hidden": ("silu", "tanh")},
    "deep": {"sizes": (8, 32, 100, 37, 64, 5), "hidden": ("tanh", "gelu", "logistic", "tanh"), **SOFTMAX},
    "relu": {"sizes": (37, 100, 10), "hidden": ("relu",), **SOFTMAX},
    "two relus": {"sizes": (30, 40, 24, 2), "hidden": ("relu", "relu")},
    "narrow": {"sizes": (3, 5, 1), "hidden": ("tanh",)},
    "dropout": {"sizes": (37, 100, 10), "hidden": ("tanh",), "noise": Noise(3, 0.2, 0.1, (0.4,)), **SOFTMAX},
    "weighted skips": {"sizes": (9, 40, 40, 3), "hidden": ("tanh", "tanh"),
                       "skips": (None, Skip(0, True), Skip(1, True))},
    "added skips": {"sizes": (9, 40, 40, 40, 3), "hidden": ("tanh",) * 3,
                    "skips": (None, None, Skip(1, False), None)},
    "trainable slopes": {"sizes": (21, 40, 33, 3), "hidden": ("prelu", "shared_prelu")},
    "inputs": {"sizes": (12, 40, 3), "hidden": ("tanh",),
               "inputs": Inputs((InputColumn(), InputColumn(EMBEDDING, 5, 7), InputColumn(PERIODIC, 16, 3)), 2.0)},
    "penalties": {"sizes": (20, 37, 3), "hidden": ("tanh",), "penalty": Penalty(0.01, 0.02, 0.03, 0.1)},
}  # fmt: skip


class Case:
    """A network in float32 with data whose pre-activations are not near the kinks of its activations."""

    def __init__(self, sizes, hidden, output="identity", loss="squared_error", skips=(), inputs=None, noise=None,
                 penalty=NO_PENALTY, rows=64):  # fmt: skip
        rng = np.random.RandomState(len(sizes) + sizes[0])
        options = (0.0,) if loss == "categorical_cross_entropy" else ()
        self.network = Network(sizes, (*hidden, output), loss, options, skips, inputs=inputs)
        self.noise, self.penalty = noise, penalty
        self.parameters = aligned_zeros(self.network.n_parameters, "f4")
        self.parameters[:] = rng.uniform(-0.5, 0.5, self.parameters.size)
        for W in layer_views(self.network, self.parameters)[0]:
            W *= 2 * len(W) ** -0.5  # so that no activation saturates
        X = rng.standard_normal((2 * rows, self.network.n_columns)).astype("f4")
        if inputs is not None:
            X[:, 1] = rng.randint(0, 5, 2 * rows)
        self.X = np.ascontiguousarray(X[self._far_from_kinks(X)][:rows])
        assert len(self.X) == rows
        self.y = rng.standard_normal((rows, sizes[-1])).astype("f4")
        if output == "softmax":
            self.y = np.eye(sizes[-1], dtype="f4")[rng.randint(sizes[-1], size=rows)]
        self.weight = rng.uniform(0.2, 2, rows).astype("f4")

    def _far_from_kinks(self, X):
        far = np.ones(len(X), bool)
        run = ForwardPass(self.network, self.parameters, X, None, 0)
        for activation, z in zip(self.network.activations, run.z):
            if "relu" in activation:
                far &= (np.abs(z) > MARGIN).all(axis=1)
        return far

    def at(self, precision):
        return self.network._replace(matmul_precision=precision)

    def gradient(self, kernels, precision, rows=64, dtype="f4"):
        """(loss, penalty, gradient) for the first rows, with weights unless there are 7."""
        arrays = [array[:rows].astype(dtype) for array in (self.X, self.y, self.weight)][: 2 if rows == 7 else 3]
        return kernels.loss_and_gradient(
            self.at(precision), self.parameters.astype(dtype), *arrays, penalty=self.penalty, noise=self.noise
        )

    def passes(self, kernels, precision, rows=64, dtype="f4"):
        """(outputs, gradient, derivatives of the inputs) of prepared passes."""
        X, parameters = self.X[:rows].astype(dtype), self.parameters.astype(dtype)
        prepared = kernels.prepare_gradient(self.at(precision), np.dtype(dtype), rows, self.noise)
        gradient, of_X = np.empty_like(parameters), np.empty_like(X)
        outputs = prepared.forward(parameters, X, 2)
        prepared.backward(self.y[:rows].astype(dtype), gradient, of_X)
        return outputs, gradient, of_X

    def train(self, kernels, precision, batch_size, weighted=True, **options):
        """(change of the parameters, sums) of two epochs."""
        # A large epsilon: otherwise steps turn round where a gradient is smaller than the effect of the precision.
        rule, parameters = optimizer("adam", 0.01, epsilon=0.1, **options), self.parameters.copy()
        slots, step, sums = new_slots("adam", parameters.size, "f4"), 0, (0.0, 0.0)
        order = np.random.RandomState(0).permutation(len(self.X))[: 16 * batch_size]
        batches = Batches(self.X, self.y, order, batch_size, self.weight if weighted else None)
        for _ in range(2):
            *sums, made = kernels.train_epoch(
                self.at(precision), rule, parameters, slots, step, batches, self.penalty, self.noise, None, tuple(sums)
            )
            step += made
        return parameters - self.parameters, np.array(sums)


@cache
def case_of(name):
    return Case(**CASES[name])


def mean_error(found, expected):
    """Mean difference over the mean of the expected magnitudes."""
    return np.abs(np.asarray(found, float) - expected).mean() / max(np.abs(np.asarray(expected, float)).mean(), 1e-300)


def error_of_norm(found, expected):
    """Norm of the difference over the norm of what is expected."""
    return np.linalg.norm(np.asarray(found, float) - expected) / np.linalg.norm(np.asarray(expected, float))


def of_all_terms(network, A, B):
    """``product``, in which high precision includes the product of the rests, as where float32 multiplies the sums."""
    rests = (A - to_bfloat16(A), B - to_bfloat16(B)) if network.matmul_precision == "high" else None
    out = product(network, A, B)
    return out if rests is None else out + to_bfloat16(rests[0]) @ to_bfloat16(rests[1])


def references(precision, compute):
    """What ``compute(precision)`` may give: the reference, and in high precision also with all terms of products."""
    found = [compute(precision)]
    if precision == "high":
        with pytest.MonkeyPatch.context() as patch:
            for module in (forward_pass, backward_pass):
                patch.setattr(module, "product", of_all_terms)
            found.append(compute(precision))
    return found


def assert_same(found, expected, exact, precision):
    """Equal to one of the ``references``, compared with how far the reference without rounding is from it."""
    assert found.shape == exact.shape
    assert found.dtype == exact.dtype
    assert error_of_norm(found, expected[0]) < 3 * EFFECT[precision]
    effect, error = mean_error(exact, expected[0]), min(mean_error(found, each) for each in expected)
    # The floor is for few outputs, which may be close to exact by chance.
    assert error < max(SHARE[precision] * effect, EFFECT["high"] / 2), effect


# The reference.


def nearest(x):
    """The nearest bfloat16, ties to even: a mantissa of 8 bits."""
    mantissa, exponent = np.frexp(np.float32(x))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype(np.float64)


def multiply(precision, A, B):
    """A B from the definition of a precision, in float64."""
    if precision == "highest":
        return A @ B
    high_A, high_B = nearest(A), nearest(B)
    out = high_A @ high_B
    return out if precision == "medium" else out + high_A @ nearest(B - high_B) + nearest(A - high_A) @ high_B


def test_operands_are_rounded_to_the_nearest_and_ties_to_even():
    given = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.0, 0.0, np.inf, -np.inf, 1e-40])
    expected = np.array([1, 1 + 4 * 2**-8, 1 + 2 * 2**-8, -3.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(to_bfloat16(given)[:-1], expected)
    np.testing.assert_array_equal(to_bfloat16(given[:4]), nearest(given[:4]))
    assert np.isnan(to_bfloat16(np.array([np.nan]))).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_of_the_reference_are_those_of_the_definition(precision):
    rng, network = np.random.RandomState(0), Network((2, 1), ("identity",), "squared_error", matmul_precision=precision)
    A, B = (rng.standard_normal(shape).astype("f4").astype(float) for shape in ((30, 50), (50, 20)))
    found = product(network, A, B)
    np.testing.assert_allclose(found, multiply(precision, A, B), rtol=1e-12, atol=1e-12)
    bound = {"highest": 0, "high": 2**-16, "medium": 2**-8}[precision]
    assert (np.abs(found - A @ B) <= bound * (np.abs(A) @ np.abs(B))).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gradients_of_the_reference_are_those_of_the_definition(precision):
    """Products are A W, A^T delta and delta W^T. Biases, derivatives and added skips see what has not been rounded."""
    case = Case((6, 9, 9, 4), ("tanh", "tanh"), skips=(None, None, None), rows=30)
    network = case.network._replace(skips=(None, Skip(1, False), None), matmul_precision=precision)
    parameters, X, y = (array.astype(float) for array in (case.parameters, case.X, case.y))
    weights, biases = layer_views(network, parameters)
    a = [X]
    a.append(np.tanh(multiply(precision, a[0], weights[0]) + biases[0]))
    a.append(np.tanh(multiply(precision, a[1], weights[1]) + biases[1] + a[1]))
    out = multiply(precision, a[2], weights[2]) + biases[2]
    expected = np.empty_like(parameters)
    of_weights, of_biases = layer_views(network, expected)
    delta, from_skip = (out - y) / len(X), 0
    for layer in (2, 1, 0):
        of_weights[layer][:], of_biases[layer][:] = multiply(precision, a[layer].T, delta), delta.sum(axis=0)
        below = multiply(precision, delta, weights[layer].T) + (from_skip if layer == 1 else 0)
        if layer == 1:
            below = below + delta
        delta = below * (1 - a[layer] ** 2)
    found = reference.loss_and_gradient(network, parameters, X, y)[2]
    np.testing.assert_allclose(reference.forward(network, parameters, X), out, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("case", CASES)
def test_the_reference_is_close_to_float64(case, precision):
    case = case_of(case)
    bound = EFFECT[precision] * max(1, len(case.network.blocks) / 3)  # errors add up from layer to layer
    exact = case.gradient(reference, "highest", dtype="f8")[2]
    assert error_of_norm(case.gradient(reference, precision)[2], exact) < bound
    for found, expected in zip(case.passes(reference, precision), case.passes(reference, "highest", dtype="f8")):
        assert error_of_norm(found, expected) < bound


# Compiled backends.


@pytest.fixture(params=COMPILED)
def compiled(request, monkeypatch):
    monkeypatch.setattr(plan, "TILE_FLOPS", 0)  # small products too are computed by the unit for bfloat16, if any
    return registry.choose(request.param).kernels


@pytest.mark.parametrize("case, precision, rows", grid(CASES, REDUCED, [1, 7, 64], n=2))
def test_gradients_equal_the_reference(compiled, case, precision, rows):
    case = case_of(case)
    found, exact = case.gradient(compiled, precision, rows), case.gradient(reference, "highest", rows)
    expected = references(precision, lambda at: case.gradient(reference, at, rows))
    np.testing.assert_allclose(found[:2], expected[0][:2], rtol=EFFECT[precision])
    assert_same(found[2], [each[2] for each in expected], exact[2], precision)


@pytest.mark.parametrize("case, precision, rows", grid(CASES, REDUCED, [1, 7, 64]))
def test_passes_equal_the_reference(compiled, case, precision, rows):
    case = case_of(case)
    runs = references(precision, lambda at: case.passes(reference, at, rows))
    for found, exact, *expected in zip(
        case.passes(compiled, precision, rows), case.passes(reference, "highest", rows), *runs
    ):
        assert_same(found, expected, exact, precision)


@pytest.mark.parametrize("precision", REDUCED)
def test_operands_of_compiled_products_are_rounded(compiled, precision):
    """One layer: its operands are given, so that no rounding depends on the order of sums. Biases see exact deltas."""
    case = Case((37, 10), (), rows=64)
    args = case.parameters, case.X
    found, exact = compiled.forward(case.at(precision), *args), reference.forward(case.at("highest"), *args)
    expected = references(precision, lambda at: reference.forward(case.at(at), *args))
    assert min(mean_error(found, each) for each in expected) < 0.1 * mean_error(exact, expected[0])
    biases, expected = (
        layer_views(case.network, case.gradient(kernels, precision)[2])[1][0] for kernels in (compiled, reference)
    )
    assert relative_error(biases, expected) < {"high": 1e-5, "medium": 2e-6}[precision]


@pytest.mark.parametrize("case, precision, rows", grid(CASES, REDUCED, [1, 300], n=2))
def test_predictions_equal_the_reference(compiled, case, precision, rows):
    """Of one row too, by ``forward`` and by ``row_predictor``, which may be more precise."""
    case = case_of(case)
    X = np.ascontiguousarray(np.tile(case.X, (5, 1))[:rows])
    args = case.parameters, X
    exact = reference.forward(case.at("highest"), *args)
    expected = references(precision, lambda at: reference.forward(case.at(at), *args))
    assert_same(compiled.forward(case.at(precision), *args), expected, exact, precision)
    if rows == 1:
        one = np.array(compiled.row_predictor(case.at(precision), case.parameters)(X[0]))
        assert_same(one[None], [*expected, exact], exact, precision)


@pytest.mark.parametrize("case, precision, batch_size", grid(CASES, REDUCED, [1, 7, 32, 64]))
def test_training_equals_the_reference(compiled, case, precision, batch_size):
    """Steps of one sample may be more precise."""
    case, options = case_of(case), {"clip_norm": 0.5} if batch_size == 32 else {}

    def train(kernels, at):
        return case.train(kernels, at, batch_size, weighted=batch_size > 1, **options)

    found, expected = train(compiled, precision), train(reference, precision)
    np.testing.assert_allclose(found[1], expected[1], rtol={"high": 1e-5, "medium": 1e-3}[precision])
    assert mean_error(found[0], expected[0]) < {"high": 1e-4, "medium": 1e-2}[precision]
    if precision == "medium":
        exact = train(reference, "highest")
        closest = min(mean_error(found[0], each[0]) for each in (expected, *[exact] * (batch_size == 1)))
        assert closest < 0.5 * mean_error(exact[0], expected[0])


@pytest.mark.parametrize("name", registry.ON_CPU)
def test_jacobians_are_not_rounded(name):
    case, found = case_of("narrow"), []
    for precision in PRECISIONS:
        out = np.empty((5, 1, len(case.parameters)), "f4")
        outputs = registry.choose(name).kernels.output_jacobian(case.at(precision), case.parameters, case.X[:5], out)
        found.append(np.append(out, outputs))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_bits_for_any_number_of_threads(compiled, precision):
    from fastmlp.kernels.cpu import thread_pool

    case, found = case_of("one hidden layer"), []
    for n_threads in (1, 2, 3):
        with thread_pool.limited_to(lambda n=n_threads: n):
            found.append(case.train(compiled, precision, 64)[0])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.exhaustive
def test_accuracy_on_real_images(data_folder):
    """On Fashion-MNIST high is within 0.3 percentage points of highest, and medium within half a point."""
    folder = data_folder / "fashion_mnist"
    if not folder.exists():
        pytest.skip("needs fashion_mnist in the folder that FASTMLP_DATA names")

    def read(name, offset):
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)

    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784) / np.float32(255)
    labels = read("train-labels-idx1-ubyte.gz", 8).astype(int)
    new = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784) / np.float32(255)
    truth = read("t10k-labels-idx1-ubyte.gz", 8)
    layers, scores = [Layer(128, "relu"), Layer(10, "softmax")], {}
    for precision in PRECISIONS:
        fit = MLP(layers, "categorical_cross_entropy", matmul_precision=precision, random_state=0)
        scores[precision] = (fit.fit(images, labels, 4, 128).predict(new).argmax(axis=1) == truth).mean()
    assert min(scores.values()) > 0.85
    assert abs(scores["high"] - scores["highest"]) < 0.003
    assert abs(scores["medium"] - scores["highest"]) < 0.005
