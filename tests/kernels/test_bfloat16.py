"""dtype='bfloat16': results of the reference, supported backends, and models loaded on other machines."""

import gzip
import pickle

import numpy as np
import pytest

from fastmlp import MLP, Layer
from fastmlp.backends import registry
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.forward_pass import to_bfloat16
from problems import Problem, relative_error

X = np.random.RandomState(0).standard_normal((40, 3)).astype("f4")


def model(**options):
    return MLP([Layer(8, "tanh"), Layer(1, "identity")], dtype="bfloat16", random_state=0, **options)


def test_operands_are_rounded_to_the_nearest_and_ties_to_even():
    given = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.0, 0.0, np.inf, -np.inf, 1e-40])
    expected = np.array([1, 1 + 4 * 2**-8, 1 + 2 * 2**-8, -3.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(to_bfloat16(given)[:-1], expected)
    assert np.isnan(to_bfloat16(np.array([np.nan]))).all()


def test_gradients_are_close_to_those_without_rounding():
    problem = Problem(sizes=(20, 30, 4))
    args = problem.parameters, problem.X, problem.y
    exact = reference.loss_and_gradient(problem.network, *args)
    rounded = reference.loss_and_gradient(problem.network._replace(matmul_precision="medium"), *args)
    assert 1e-5 < relative_error(rounded[2], exact[2]) < 2e-2


@pytest.mark.parametrize("name", ["cython", "numba"])
def test_backends_without_bfloat16_raise(name):
    with pytest.raises(ValueError, match="'bfloat16' requires backend 'cuda'"):
        model(backend=name)


def test_bfloat16_requires_a_gpu():
    if registry.why_not("cuda") is None:
        assert model().backend == "cuda"
    else:
        with pytest.raises(ImportError, match=r"requires a GPU: .*Use dtype='float32', or backend='numpy'"):
            model()


@pytest.mark.parametrize("through", ["file", "pickle"])
def test_a_model_loaded_without_a_gpu_continues_in_single_precision(tmp_path, monkeypatch, through):
    trained = model(backend="numpy").fit(X, X[:, :1], 2)
    monkeypatch.setattr(registry, "works", lambda name: name not in ("cuda", "numpy"))
    if through == "file":
        trained.save(tmp_path / "m")
        again = MLP.load(tmp_path / "m")
    else:
        again = pickle.loads(pickle.dumps(trained))
    assert again.backend == "cython"
    assert again.network.matmul_precision == "highest"
    np.testing.assert_allclose(again.predict(X), trained.predict(X), rtol=0.02, atol=0.02)
    assert again.fit(X, X[:, :1], 1).epoch == 3


@pytest.mark.exhaustive
def test_accuracy_on_real_images(data_folder):
    """Accuracy of the reference on Fashion-MNIST is within half a percentage point of single precision."""
    folder = data_folder / "fashion_mnist"
    if not folder.exists():
        pytest.skip("needs fashion_mnist in the folder that FASTMLP_DATA names")

    def read(name, offset):
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)

    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784) / np.float32(255)
    labels = read("train-labels-idx1-ubyte.gz", 8).astype(int)
    new = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784) / np.float32(255)
    truth = read("t10k-labels-idx1-ubyte.gz", 8)
    layers, scores = [Layer(128, "relu"), Layer(10, "softmax")], []
    for dtype, backend in (("bfloat16", "numpy"), ("float32", "cython")):
        fit = MLP(layers, "categorical_cross_entropy", dtype=dtype, backend=backend, random_state=0)
        scores.append((fit.fit(images, labels, 4, 128).predict(new).argmax(axis=1) == truth).mean())
    assert min(scores) > 0.85
    assert abs(scores[0] - scores[1]) < 0.005
