"""The polynomials behind exp, tanh and reciprocals: their errors in units in the last place, and the edges."""

import numpy as np
import pytest

from fastmlp import backends
from fastmlp.kernels.network import new_slots, optimizer
from problems import COMPILED

# Largest errors seen over these points, rounded up.
ULP = {"exp": {"float32": 1.1, "float64": 1.1}, "tanh": {"float32": 3.0, "float64": 3.0}}
EXACT = {"exp": np.exp, "tanh": np.tanh}
RANGES = {
    "exp": {"float32": (-87, 88.7), "float64": (-708, 709.7)},
    "tanh": {"float32": (-20, 20), "float64": (-25, 25)},
}


def points(name, dtype):
    low, high = RANGES[name][dtype]
    rng = np.random.RandomState(0)
    near = rng.uniform(-1, 1, 200_000), rng.standard_normal(50_000) * 1e-4
    return np.concatenate([rng.uniform(low, high, 200_000), np.linspace(low, high, 100_001), *near]).astype(dtype)


def activated(backend, name, z):
    one, zero = np.ones((1, 1), z.dtype), np.zeros(1, z.dtype)
    return backends.choose(backend).module.dense_forward(name, z[:, None], one, zero)[:, 0]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ULP)
def test_error_in_units_in_the_last_place(backend, dtype, name):
    z = points(name, dtype)
    found = activated(backend, name, z)
    assert found.dtype == dtype
    exact = EXACT[name](z.astype(np.longdouble))
    error = np.abs(found - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert float(error.max()) < ULP[name][dtype]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(backend, dtype):
    z = np.array([np.nan, np.inf, -np.inf, 0, 1000, -1000, 1e30, -1e30], dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(activated(backend, "exp", z), np.exp(z), rtol=1e-6)
    np.testing.assert_allclose(activated(backend, "tanh", z), np.tanh(z), rtol=1e-6)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_divides_by_way_of_a_reciprocal(backend, dtype):
    # Without memory Adam's step is g / (sqrt(g^2) + epsilon): the error is the reciprocal's and of four roundings.
    g = np.logspace(-15, 15, 100_001).astype(dtype)
    w = np.zeros_like(g)
    rule = optimizer("adam", 1.0, beta_1=0.0, beta_2=0.0, epsilon=1e-8)
    backends.choose(backend).module.update(rule, w, g, new_slots("adam", g.size, g.dtype), 1)
    exact = -g.astype(np.longdouble) / (g.astype(np.longdouble) + np.dtype(dtype).type(1e-8))
    error = np.abs(w - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert float(error.max()) < 3.0


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("dtype", "huge"), [("float32", 1e25), ("float64", 1e200)])
def test_adam_stands_gradients_whose_square_overflows(backend, dtype, huge):
    g = np.array([huge, -huge, 0, np.nan], dtype)
    w = np.ones_like(g)
    with np.errstate(over="ignore"):
        backends.choose(backend).module.update(optimizer("adam"), w, g, new_slots("adam", g.size, g.dtype), 1)
    np.testing.assert_array_equal(w, np.array([1, 1, 1, np.nan], dtype))
