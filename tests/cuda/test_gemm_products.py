"""Products by cuBLASLt against NumPy: every epilogue, type and transpose, also of unaligned matrices."""

import os

import numpy as np
import pytest
from numba import cuda
from numpy_products import NumpyProducts, rounded, values

from fastmlp.kernels.cuda.gemm.products import Products, mask_stride
from problems import relative_error

pytestmark = pytest.mark.skipif(os.environ.get("FASTMLP_GPU") != "1", reason="needs a GPU: FASTMLP_GPU=1")
TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "uint16": 1e-2}
SHAPES = [(64, 128, 256), (5, 7, 3), (1000, 130, 10)]


def matrix(rng, rows, columns, kind, start):
    """A random matrix on the device, ``start`` elements after the beginning of an allocation."""
    flat = rng.standard_normal(start + rows * columns)
    flat = (rounded(flat).view(np.uint32) >> 16).astype(np.uint16) if kind == "uint16" else flat.astype(kind)
    return cuda.to_device(flat)[start:].reshape(rows, columns)


def to_host(array):
    return None if array is None else values(array.copy_to_host())


def both(A, B, D, bias=None, mask=None, **how):
    """Return (D, bias, mask) by cuBLASLt and by NumPy; skip the test if the GPU lacks the epilogue."""
    on_host = [None if array is None else array.copy_to_host() for array in (A, B, D, bias, mask)]
    product = Products().prepare(A, B, D, bias=bias, mask=mask, **how)
    if product is None:
        pytest.skip(f"cuBLASLt has no epilogue {how['epilogue']!r} for {A.dtype}")
    stream = cuda.stream()
    product(stream)
    stream.synchronize()
    a, b, d, expected_bias, expected_mask = on_host
    NumpyProducts().prepare(a, b, d, bias=expected_bias, mask=expected_mask, **how)(None)
    return (D, bias, mask), (d, expected_bias, expected_mask)


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("kind, to", [("float64", "float64"), ("float32", "float32"), ("uint16", "float32")])
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, transposed, kind, to, start):
    rng, (m, n, k) = np.random.RandomState(0), shape
    A = matrix(rng, *((k, m) if transposed[0] else (m, k)), kind, start)
    B = matrix(rng, *((n, k) if transposed[1] else (k, n)), kind, start)
    for add in (False, True):
        D = matrix(rng, m, n, to, start)
        found, expected = both(A, B, D, transpose_a=transposed[0], transpose_b=transposed[1], add=add)
        assert relative_error(to_host(found[0]), expected[0]) < TOLERANCE[to]


@pytest.mark.parametrize("kind", ["float64", "float32", "uint16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_relu_and_its_derivative(shape, kind):
    """The mask written by one product is read by the other."""
    rng, (m, n, k) = np.random.RandomState(1), shape
    A, B, D = matrix(rng, m, k, kind, 0), matrix(rng, k, n, kind, 0), matrix(rng, m, n, kind, 0)
    bias = None if kind == "uint16" else matrix(rng, 1, n, kind, 0).reshape(n)
    mask = cuda.to_device(np.zeros(m * mask_stride(n) // 8, np.uint8))
    found, expected = both(A, B, D, bias=bias, mask=mask, epilogue="relu")
    assert relative_error(to_host(found[0]), values(expected[0])) < TOLERANCE[kind]
    above, W, delta = matrix(rng, m, 9, kind, 0), matrix(rng, n, 9, kind, 0), matrix(rng, m, n, kind, 0)
    found, expected = both(above, W, delta, mask=mask, transpose_b=True, epilogue="relu derivative")
    assert relative_error(to_host(found[0]), values(expected[0])) < TOLERANCE[kind]
    np.testing.assert_array_equal(to_host(found[0]) != 0, to_host(D) > 0)


@pytest.mark.parametrize("kind, to", [("float64", "float64"), ("float32", "float32"), ("uint16", "float32")])
@pytest.mark.parametrize("shape", SHAPES)
def test_bias_gradients(shape, kind, to):
    rng, (m, n, k) = np.random.RandomState(2), shape
    A, B, D = matrix(rng, k, m, kind, 0), matrix(rng, k, n, kind, 0), matrix(rng, m, n, to, 0)
    bias = matrix(rng, 1, n, to, 0).reshape(n)
    found, expected = both(A, B, D, bias=bias, transpose_a=True, epilogue="bias gradient")
    for mine, yours in zip(found[:2], expected[:2]):
        assert relative_error(to_host(mine), yours) < TOLERANCE[to]
