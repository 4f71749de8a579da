"""Matrix products of the reference in reduced precision: against the definition in plain NumPy, and against float64."""

import numpy as np
import pytest

from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.forward_pass import product, to_bfloat16
from fastmlp.kernels.spec import PRECISIONS, Network, Skip, layer_views
from precisions import CASES, EFFECT, REDUCED, Case, case_of, error_of_norm


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
