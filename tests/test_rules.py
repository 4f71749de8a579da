"""Each formula by itself: dtype kept, finite at the extremes, the right derivative, and nothing left out."""

import ast
import inspect

import numpy as np
import pytest

from fastmlp.kernels import numpy_reference as reference
from fastmlp.kernels import rules
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS, RULES

SCALAR = {name: row for name, row in ACTIVATIONS.items() if not row.rowwise}
ROWWISE = {name: row for name, row in ACTIVATIONS.items() if row.rowwise}
TYPES = [np.float32, np.float64]
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4, 1e30, -1e30]


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", SCALAR)
def test_activation_keeps_its_dtype_and_is_finite_at_extremes(name, T):
    # e^z itself is beyond float32 from 89 on; there it must not look finite.
    for z in map(T, (z for z in EXTREMES if name != "exp" or abs(z) < 80)):
        a = SCALAR[name].function(z)
        assert type(a) is T
        assert np.isfinite(a), z
        slope = SCALAR[name].derivative(a)
        assert type(slope) is T
        assert np.isfinite(slope), z


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", ROWWISE)
def test_row_activation_is_finite_at_extremes(name, T):
    row = np.array(EXTREMES, T)
    ROWWISE[name].function(row, len(row))
    delta = np.ones_like(row)
    ROWWISE[name].derivative(row, delta, len(row))
    assert row.dtype == T
    assert np.isfinite(row).all()
    assert np.isfinite(delta).all()


@pytest.mark.parametrize("name", SCALAR)
def test_activation_passes_nan_on(name):
    assert np.isnan(SCALAR[name].function(np.float64("nan")))


@pytest.mark.parametrize("name", SCALAR)
def test_derivative_is_the_slope_of_the_activation(name):
    f, slope = SCALAR[name].function, SCALAR[name].derivative
    step = 1e-6
    for z in np.linspace(-3, 3, 25):  # no point at the corner of relu
        z = np.float64(z + 0.01)
        assert slope(f(z)) == pytest.approx((f(z + step) - f(z - step)) / (2 * step), rel=1e-6, abs=1e-9)


def test_softmax_derivative_is_the_jacobian():
    rng = np.random.RandomState(0)
    z, error, step = rng.standard_normal(5), rng.standard_normal(5), 1e-6

    def weighted(z):
        row = z.copy()
        rules.softmax(row, 5)
        return row @ error

    numeric = [(weighted(z + step * e) - weighted(z - step * e)) / (2 * step) for e in np.eye(5)]
    delta = error.copy()
    row = z.copy()
    rules.softmax(row, 5)
    rules.softmax_derivative(row, delta, 5)
    np.testing.assert_allclose(delta, numeric, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_keeps_its_dtype_and_is_finite_at_extremes(name, T):
    row = LOSSES[name]
    predictions = {"softmax": (0.0, 1e-30, 0.5, 1.0), "logistic": (0.0, 1e-30, 0.5, 1.0), "exp": (1e-34, 1.0, 1e34)}
    for p in predictions.get(row.link, (-1e15, 0.0, 1e-30, 1e15)):
        for t in (0.0, 0.5, 1.0):
            value, slope = row.function(T(p), T(t)), row.derivative(T(p), T(t))
            assert type(value) is T
            assert type(slope) is T
            assert np.isfinite(value), (p, t)
            assert np.isfinite(slope), (p, t)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_derivative_is_the_slope_of_the_loss(name):
    row = LOSSES[name]
    step = 1e-6

    def loss(z, t):
        """As a function of what the derivative is taken for: p itself, or z through the link."""
        if row.link == "softmax":
            pair = np.array([z, 0.3])
            rules.softmax(pair, 2)
            return row.function(pair[0], t) + row.function(pair[1], 1 - t), pair[0]
        p = ACTIVATIONS[row.link].function(z) if row.link else z
        return row.function(p, t), p

    for z in (-1.3, -0.2, 0.7, 2.1):
        for t in (0.0, 0.4, 1.0):
            z, t = np.float64(z), np.float64(t)
            numeric = (loss(z + step, t)[0] - loss(z - step, t)[0]) / (2 * step)
            assert row.derivative(loss(z, t)[1], t) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_keeps_its_dtype_and_is_finite_at_extremes(name, T):
    row = OPTIMIZERS[name]
    options = row.options.values()
    for gradient in (0.0, 1e-30, -1e15, 1e15):
        result = row.update(T(1), T(gradient), *(T(0) for _ in row.slots), row.learning_rate, *options)
        values = result if isinstance(result, tuple) else (result,)
        assert len(values) == 1 + len(row.slots)
        for value in values:
            assert type(value) is T
            assert np.isfinite(value)


def test_every_row_of_the_tables_has_a_reference():
    assert set(reference.ACTIVATIONS) == set(reference.DERIVATIVES) == set(ACTIVATIONS)
    assert set(reference.LOSSES) == set(LOSSES)
    assert set(reference.OPTIMIZERS) == set(OPTIMIZERS)


def test_the_reference_takes_no_formula_from_the_rules():
    assert "rules" not in inspect.getsource(reference).split('"""', 2)[2]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_says_what_it_computes_and_has_no_bare_literal(rule):
    """A bare 0.5 makes float64 of float32 in a compiled loop; T(0.5) does not."""
    assert rule.__doc__
    tree = ast.parse(inspect.getsource(rule))
    wrapped = {
        id(node)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("T", "range")
        for node in ast.walk(call)
    }
    wrapped |= {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            assert id(node) in wrapped, f"line {node.lineno}: {node.value}"
