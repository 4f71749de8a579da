"""Each formula alone: dtype, values at the extremes, derivative, documentation and reference."""

import ast
import inspect
import re

import numpy as np
import pytest

from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.reference import forward_pass
from fastmlp.kernels.reference import random as numpy_random
from fastmlp.kernels.reference import rules as numpy_rules
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS, RULES
from fastmlp.kernels.rules.activations import softmax, softmax_derivative
from fastmlp.model.initializers import INITIALIZERS
from fastmlp.training.schedules import SCHEDULES

SCALAR = {name: row for name, row in ACTIVATIONS.items() if not row.rowwise}
SLOPE = 0.3  # for rules with a trainable slope
ROWWISE = {name: row for name, row in ACTIVATIONS.items() if row.rowwise}
TYPES = [np.float32, np.float64]
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4, 1e30, -1e30]


def value_and_slope(name, z, T=np.float64):
    """f(z) and f'(z); rules take z or the output as their argument."""
    row = SCALAR[name]
    own = () if row.trainable is None else (T(SLOPE),)
    a = row.function(z, *own)
    return a, row.derivative(z if row.of_input else a, *own)


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", SCALAR)
def test_activation_keeps_its_dtype_and_is_finite_at_extremes(name, T):
    # e^z overflows float32 from z = 89 on, and must not be clipped to a finite number.
    for z in map(T, (z for z in EXTREMES if name != "exp" or abs(z) < 80)):
        with np.errstate(over="ignore"):  # z^2 underflows to 0
            for value in value_and_slope(name, z, T):
                assert type(value) is T
                assert np.isfinite(value), z


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", ROWWISE)
def test_softmax_is_finite_at_extremes(name, T):
    row = np.array(EXTREMES, T)
    ROWWISE[name].function(row, len(row))
    delta = np.ones_like(row)
    ROWWISE[name].derivative(row, delta, len(row))
    assert row.dtype == T
    assert np.isfinite(row).all()
    assert np.isfinite(delta).all()


@pytest.mark.parametrize("name", SCALAR)
def test_activation_propagates_nan(name):
    assert np.isnan(value_and_slope(name, np.float64("nan"))[0])


@pytest.mark.parametrize("name", SCALAR)
def test_derivative_is_the_slope_of_the_activation(name):
    step = 1e-6
    for z in np.linspace(-3, 3, 25):  # no point is at a corner
        z = np.float64(z + 0.01)
        slope = (value_and_slope(name, z + step)[0] - value_and_slope(name, z - step)[0]) / (2 * step)
        assert value_and_slope(name, z)[1] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name, row in SCALAR.items() if row.trainable is not None])
def test_derivative_with_respect_to_a_trainable_slope(name):
    row, step = SCALAR[name], 1e-6
    for z in (-2.0, -0.1, 0.1, 2.0):
        numeric = (row.function(z, SLOPE + step) - row.function(z, SLOPE - step)) / (2 * step)
        assert row.trainable(np.float64(z)) == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name, row in SCALAR.items() if row.std is not None])
def test_standard_deviation_equals_the_reference(name):
    z = np.linspace(-30, 30, 61)
    np.testing.assert_allclose([SCALAR[name].std(x) for x in z], numpy_rules.NOISE_STDS[name](z), rtol=1e-12)


def test_softmax_derivative_is_the_jacobian():
    rng = np.random.RandomState(0)
    z, error, step = rng.standard_normal(5), rng.standard_normal(5), 1e-6

    def weighted(z):
        row = z.copy()
        softmax(row, 5)
        return row @ error

    numeric = [(weighted(z + step * e) - weighted(z - step * e)) / (2 * step) for e in np.eye(5)]
    delta = error.copy()
    row = z.copy()
    softmax(row, 5)
    softmax_derivative(row, delta, 5)
    np.testing.assert_allclose(delta, numeric, rtol=1e-6, atol=1e-10)


def arguments(row, n_outputs=2):
    """What a loss takes after prediction and target, with options other than their defaults where these are 0."""
    return [*(value or 0.3 for _, value in row.options), *([n_outputs] if row.counts else [])]


@pytest.mark.parametrize("T", TYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_keeps_its_dtype_and_is_finite_at_extremes(name, T):
    row = LOSSES[name]
    predictions = {"softmax": (0.0, 1e-30, 0.5, 1.0), "logistic": (0.0, 1e-30, 0.5, 1.0), "exp": (1e-34, 1.0, 1e34)}
    for p in predictions.get(row.link, (-1e15, 0.0, 1e-30, 1e15)):
        for t in (0.0, 0.5, 1.0):
            options = arguments(row)
            value, slope = row.function(T(p), T(t), *options), row.derivative(T(p), T(t), *options)
            assert type(value) is T
            assert type(slope) is T
            assert np.isfinite(value), (p, t)
            assert np.isfinite(slope), (p, t)


# The perceptron's rule is not the gradient of a loss.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "perceptron"])
def test_loss_derivative_is_the_slope_of_the_loss(name):
    row = LOSSES[name]
    options = arguments(row)
    step = 1e-6

    def loss(z, t):
        """Loss as a function of the variable of the derivative: p, or z if the loss has a link."""
        if row.link == "softmax":
            pair = np.array([z, 0.3])
            softmax(pair, 2)
            return row.function(pair[0], t, *options) + row.function(pair[1], 1 - t, *options), pair[0]
        p = ACTIVATIONS[row.link].function(z) if row.link else z
        return row.function(p, t, *options), p

    for z in (-1.3, -0.2, 0.7, 2.1):
        for t in (0.0, 0.4, 1.0):
            z, t = np.float64(z), np.float64(t)
            numeric = (loss(z + step, t)[0] - loss(z - step, t)[0]) / (2 * step)
            assert row.derivative(loss(z, t)[1], t, *options) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


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
    assert set(numpy_rules.ACTIVATIONS) == {*numpy_rules.DERIVATIVES, "softmax"} == set(ACTIVATIONS)
    assert set(numpy_rules.NOISE_STDS) == {name for name, row in ACTIVATIONS.items() if row.std is not None}
    assert set(numpy_rules.LOSSES) == {*numpy_rules.LOSS_DERIVATIVES, *numpy_rules.LINKED_DELTAS} == set(LOSSES)
    assert set(numpy_rules.LINKED_DELTAS) == {name for name, row in LOSSES.items() if row.link is not None}
    assert set(numpy_rules.OPTIMIZERS) == set(OPTIMIZERS)
    assert set(numpy_rules.COUPLED) == {name for name, row in OPTIMIZERS.items() if not row.decoupled}


SOURCE = re.compile(r"\([A-Z][^()]*\d{4}[^()]*\)")  # (Author 1999)
TEXTBOOK = ("identity", "sign", "piecewise_linear", "logistic", "tanh", "arctan", "relu", "exp", "softmax",
            "squared_error", "mean_squared_error", "absolute_error", "categorical_cross_entropy",
            "binary_cross_entropy", "poisson", "constant", "step", "exponential", "reduce_on_plateau", "zeros",
            "normal")  # fmt: skip
TABLES = {
    "activations": ACTIVATIONS, "losses": LOSSES, "optimizers": OPTIMIZERS, "schedules": SCHEDULES,
    "initializers": INITIALIZERS,
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_row_has_its_formula_and_its_source(table):
    """A formula contains signs; a source is an author and a year, except for textbook knowledge."""
    for name, row in table.items():
        assert re.search(r"[=|^/<>]|-t log|\+-|normal with", row[0].__doc__), name
        text = " ".join(rule.__doc__ for rule in row if inspect.isfunction(rule))
        assert name in TEXTBOOK or SOURCE.search(text) or re.search(r"[A-Z]\w+ \(\d{4}\)", text), name


@pytest.mark.parametrize("module", [numpy_reference, forward_pass, numpy_rules, numpy_random])
def test_the_reference_does_not_import_the_rules(module):
    code = inspect.getsource(module).split('"""', 2)[2]
    assert not re.search(r"import .*\brules|kernels\.(rules|activations|losses|optimizers|elementary)", code)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_have_a_docstring_and_no_bare_literals(rule):
    """A bare 0.5 would widen float32 to float64 in a compiled loop; T(0.5) does not."""
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
