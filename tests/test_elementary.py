"""The polynomials behind exp and tanh: their errors in units in the last place, and what they do at the edges."""

import numpy as np
import pytest

from fastmlp import backends
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
