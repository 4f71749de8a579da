"""Matrix products of compiled backends in reduced precision, against the reference.

In full precision compiled backends are tested against the reference in test_parity.py and its neighbours.

Where operands are rounded, two ways to sum differ by more than an error of the last bit: now and then an operand is
rounded the other way. Such differences are few, so they are measured by the mean, and they must be small compared with
the effect of the precision itself; in high precision, whose last bit is close to that of float32, not larger.
"""

import gzip

import numpy as np
import pytest

from fastmlp import MLP, Layer
from fastmlp.backends import registry
from fastmlp.kernels.engine import plan
from fastmlp.kernels.reference import backward_pass, forward_pass
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.forward_pass import product, to_bfloat16
from fastmlp.kernels.spec import PRECISIONS, layer_views
from precisions import CASES, EFFECT, REDUCED, Case, case_of, error_of_norm, mean_error
from problems import COMPILED, grid, relative_error

SHARE = {"high": 1.5, "medium": 0.3}  # of the effect by which a backend may differ from the reference


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
    """One row after another: few numbers have no mean to speak of, as one operand rounded the other way changes it."""
    case, n_batches = case_of(case), 16 if rows == 1 else 1

    def passes(kernels, at):
        return case.passes(kernels, at, rows, n_batches=n_batches)

    runs = references(precision, lambda at: passes(reference, at))
    for found, exact, *expected in zip(passes(compiled, precision), passes(reference, "highest"), *runs):
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


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001])
@pytest.mark.parametrize("precision", REDUCED)
def test_nan_stays_nan(compiled, precision, bits):
    """The bits of these, rounded like those of a number, are those of 0 or of infinity."""
    case = Case((37, 10), (), rows=64)
    X, parameters = case.X.copy(), case.parameters.copy()
    X[3, 5] = np.uint32(bits).view(np.float32)
    found = compiled.forward(case.at(precision), parameters, X)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.arange(64) == 3)
    parameters[4] = X[3, 5]
    assert np.isnan(compiled.forward(case.at(precision), parameters, case.X)[:, 4]).all()


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
