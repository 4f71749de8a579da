"""The polynomials behind exp, tanh, softplus, arctan, mish, GELU and reciprocals: errors in units in the last place."""

import numpy as np
import pytest
from scipy import special

from fastmlp.backends import registry
from fastmlp.kernels.inputs import PERIODIC, InputColumn, Inputs
from fastmlp.kernels.rules.elementary import arc_tangent, log_one_plus, normal_tail
from fastmlp.kernels.spec import Network, new_slots, optimizer
from problems import COMPILED, grid

# Largest errors measured over these points, rounded up.
ULP = {
    "exp": {"float32": 1.1, "float64": 1.1},
    "tanh": {"float32": 3.0, "float64": 3.0},
    "softplus": {"float32": 2.5, "float64": 2.5},
    "arctan": {"float32": 3.0, "float64": 2.5},
    "mish": {"float32": 4.0, "float64": 3.5},
}
EXACT = {"exp": np.exp, "tanh": np.tanh, "softplus": lambda z: np.logaddexp(z, 0), "arctan": np.arctan,
         "mish": lambda z: z * np.tanh(np.logaddexp(z, 0))}  # fmt: skip
RANGES = {
    "exp": {"float32": (-87, 88.7), "float64": (-708, 709.7)},
    "tanh": {"float32": (-20, 20), "float64": (-25, 25)},
    "softplus": {"float32": (-87, 88), "float64": (-708, 709)},
    "arctan": {"float32": (-10, 10), "float64": (-10, 10)},
    "mish": {"float32": (-80, 80), "float64": (-700, 700)},
}

# Largest relative errors of the normal tail measured from 0 to each z, rounded up: e^(-z^2 / 2) amplifies that of z^2.
TAIL_ERRORS = {"float32": {1: 4e-7, 5: 1e-6, 13: 5e-6}, "float64": {1: 1.5e-15, 5: 2.5e-15, 37.5: 7e-14}}

# Largest errors of cos(2 pi t) and of -2 pi sin(2 pi t), as above.
TURN_ULP = {"cosine": {"float32": 3.5, "float64": 3.5}, "sine": {"float32": 4.5, "float64": 4.5}}


def points(name, dtype):
    low, high = RANGES[name][dtype]
    rng = np.random.RandomState(0)
    near = rng.uniform(-1, 1, 200_000), rng.standard_normal(50_000) * 1e-4
    return np.concatenate([rng.uniform(low, high, 200_000), np.linspace(low, high, 100_001), *near]).astype(dtype)


def exact_tail(z):
    """Probability that a standard normal number exceeds z, in long double except for its smooth factor."""
    z = z.astype(np.longdouble)
    return special.erfcx((z / np.sqrt(np.longdouble(2))).astype(np.float64)) * np.exp(-z * z / 2) / 2


def activated(backend, name, z):
    one, zero = np.ones((1, 1), z.dtype), np.zeros(1, z.dtype)
    return registry.choose(backend).kernels.dense_forward(name, z[:, None], one, zero)[:, 0]


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
    np.testing.assert_allclose(activated(backend, "arctan", z), np.arctan(z), rtol=1e-6)
    np.testing.assert_allclose(activated(backend, "softplus", z[1:]), np.logaddexp(z[1:], 0), rtol=1e-6)
    assert np.isnan(activated(backend, "softplus", z[:1]))
    z = z[z != -np.inf]
    np.testing.assert_array_equal(activated(backend, "gelu", z), np.where(z < 0, 0, z))


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_of_the_normal_tail(backend, dtype):
    for furthest, bound in TAIL_ERRORS[dtype].items():
        z = np.random.RandomState(0).uniform(0, furthest, 200_000).astype(dtype)
        exact = z * exact_tail(z)  # -gelu(-z) has one more rounding
        assert float(np.abs(activated(backend, "gelu", -z) / -exact - 1).max()) < bound


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arctan_is_monotonic(backend, dtype):
    assert (np.diff(activated(backend, "arctan", np.sort(points("arctan", dtype)))) >= 0).all()


@pytest.mark.parametrize("T", [np.float32, np.float64])
@pytest.mark.parametrize(
    "function, exact, furthest, ulp",
    [(log_one_plus, np.log1p, 1, 1.8), (arc_tangent, np.arctan, 5, 3.0), (normal_tail, exact_tail, 5, 15.0)],
)
def test_functions_in_plain_python(function, exact, furthest, ulp, T):
    z = np.concatenate([np.logspace(-30, -4, 301), np.linspace(1e-3, furthest, 5_001)]).astype(T)
    found = np.array([function(x) for x in z])
    assert found.dtype == T
    expected = exact(z.astype(np.longdouble))
    assert float((np.abs(found - expected) / np.spacing(expected.astype(T))).max()) < ulp
    steps = np.diff(found[301:])
    assert (steps < 0 if function is normal_tail else steps > 0).all()
    assert np.isnan(function(T("nan")))


@pytest.mark.parametrize("T", [np.float32, np.float64])
def test_extremes_in_plain_python(T):
    with np.errstate(over="ignore"):  # z^2 underflows to 0
        for z in (39, 1e3, 1e30, np.inf):
            assert normal_tail(T(z)) == 0
            assert type(normal_tail(T(z))) is T
    for z in (1e30, np.inf):
        assert arc_tangent(T(z)) == -arc_tangent(T(-z)) == T(np.pi / 2)
    least = np.finfo(T).smallest_normal
    assert log_one_plus(least) == arc_tangent(least) == least
    assert log_one_plus(T(0)) == arc_tangent(T(0)) == 0
    assert normal_tail(T(0)) == T(0.5)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_of_the_reciprocal_in_adam(backend, dtype):
    # With both betas 0 the step is g / (sqrt(g^2) + epsilon): its error is that of the reciprocal and four roundings.
    g = np.logspace(-15, 15, 100_001).astype(dtype)
    w = np.zeros_like(g)
    rule = optimizer("adam", 1.0, beta_1=0.0, beta_2=0.0, epsilon=1e-8)
    registry.choose(backend).kernels.update(rule, w, g, new_slots("adam", g.size, g.dtype), 1)
    exact = -g.astype(np.longdouble) / (g.astype(np.longdouble) + np.dtype(dtype).type(1e-8))
    error = np.abs(w - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert float(error.max()) < 3.0


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("dtype", "huge"), [("float32", 1e25), ("float64", 1e200)])
def test_adam_with_gradients_whose_square_overflows(backend, dtype, huge):
    g = np.array([huge, -huge, 0, np.nan], dtype)
    w = np.ones_like(g)
    with np.errstate(over="ignore"):
        registry.choose(backend).kernels.update(optimizer("adam"), w, g, new_slots("adam", g.size, g.dtype), 1)
    np.testing.assert_array_equal(w, np.array([1, 1, 1, np.nan], dtype))


@pytest.mark.parametrize("backend, dtype", grid(COMPILED, ["float32", "float64"]))  # Numba compiles it for seconds
def test_errors_of_sine_and_cosine_of_turns(backend, dtype):
    """As a periodic column with w = V = 1 makes them, and its derivative; turns are reduced to a quarter exactly."""
    rng, passes_of = np.random.RandomState(0), registry.choose(backend).kernels.prepare_gradient
    t = [
        rng.uniform(-1, 1, 40_000),
        rng.uniform(-30, 30, 20_000),
        np.linspace(-1, 1, 4001),
        rng.standard_normal(5000) / 1e4,
    ]
    t = np.concatenate([*t, [1e6, -3.25, 0.25, 1e30]]).astype(dtype)[:, None]
    network = Network((2, 1), ("identity",), "squared_error", inputs=Inputs((InputColumn(PERIODIC, 1, 1),)))
    parameters = np.array([1, 1, 0, 0, 0, 1, 0], dtype)  # w, V, p, b; W, b
    passes, of_t = passes_of(network, dtype, len(t)), np.empty_like(t)
    found = {"cosine": passes.forward(parameters, t), "sine": of_t}
    passes.backward(np.ones_like(t), np.empty_like(parameters), of_t)
    wide, turn = t.astype(np.longdouble), 8 * np.arctan(np.longdouble(1))
    rest = wide - np.rint(wide)
    half = np.minimum(abs(rest), 0.5 - abs(rest))
    exact = {"cosine": np.sin(turn * (0.25 - abs(rest))), "sine": -turn * np.sign(rest) * np.sin(turn * half)}
    for name, bound in TURN_ULP.items():
        error = np.abs(found[name] - exact[name]) / np.spacing(np.maximum(abs(exact[name]), 1e-30).astype(dtype))
        assert float(error.max()) < bound[dtype], name


@pytest.mark.parametrize("backend", ["cython"])
def test_turns_that_are_not_finite(backend):
    network = Network((2, 1), ("identity",), "squared_error", inputs=Inputs((InputColumn(PERIODIC, 1, 1),)))
    parameters, X = np.array([1, 1, 0, 0, 0, 1, 0.0]), np.array([[np.nan], [np.inf], [-np.inf], [0.5]])
    out = registry.choose(backend).kernels.forward(network, parameters, X)
    np.testing.assert_array_equal(np.isnan(out).ravel(), [True, True, True, False])
