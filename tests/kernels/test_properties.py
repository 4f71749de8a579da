"""Properties that hold for any network, found by hypothesis."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmlp.backends import registry
from fastmlp.io.model_files import decode, encode
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Penalty, layer_views, new_slots, optimizer, slope_views
from problems import HIDDEN, OUTPUTS, Problem

UNTIMED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=UNTIMED)
MODULES = st.sampled_from([registry.choose(name).kernels for name in registry.ON_CPU])

BOUNDED = [name for name in HIDDEN if name != "exp"]  # e^e^z overflows


@st.composite
def problems(draw):
    depth = draw(st.integers(0, 3))
    loss, output = draw(st.sampled_from([row for row in OUTPUTS if row[1] in ("softmax", "identity", *BOUNDED)]))
    return Problem(
        loss, output, draw(st.lists(st.sampled_from(BOUNDED), min_size=depth, max_size=depth)),
        draw(st.lists(st.integers(1, 9), min_size=depth + 2, max_size=depth + 2)), draw(st.integers(1, 30)),
        seed=draw(st.integers(0, 10**6)),
    )  # fmt: skip


@QUICK
@given(problems(), MODULES, st.integers(1, 40), st.sampled_from([0.0, 0.3]))
def test_any_network_trains_like_the_reference(problem, kernels, batch_size, alpha):
    rule = optimizer("momentum", 0.001)
    results = []
    for module in (kernels, reference):
        parameters = problem.parameters.copy()
        slots = new_slots("momentum", parameters.size, "float64")
        sums = module.train_epoch(
            problem.network, rule, parameters, slots, 0, problem.batches(batch_size, problem.weight),
            Penalty(alpha=alpha),
        )  # fmt: skip
        results.append((parameters, sums))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-9, atol=1e-11)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-9, abs=1e-11)


@QUICK
@given(problems(), MODULES, st.randoms(use_true_random=False))
def test_gradient_does_not_depend_on_the_order_of_samples(problem, kernels, random):
    rows = list(range(len(problem.X)))
    random.shuffle(rows)
    args = problem.network, problem.parameters
    one = kernels.loss_and_gradient(*args, problem.X, problem.y, problem.weight, Penalty(alpha=0.1))
    other = kernels.loss_and_gradient(*args, problem.X[rows], problem.y[rows], problem.weight[rows], Penalty(alpha=0.1))
    np.testing.assert_allclose(one[2], other[2], rtol=1e-8, atol=1e-10)


@QUICK
@given(problems(), MODULES)
def test_scaling_all_sample_weights_only_changes_the_penalty(problem, kernels):
    args = problem.network, problem.parameters, problem.X, problem.y
    one = kernels.loss_and_gradient(*args, problem.weight)
    double = kernels.loss_and_gradient(*args, problem.weight * 2)
    assert one[0] == pytest.approx(double[0], rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(one[2], double[2], rtol=1e-9, atol=1e-11)


@QUICK
@given(problems(), MODULES, st.randoms(use_true_random=False))
def test_permuting_hidden_units_leaves_the_output_unchanged(problem, kernels, random):
    """Weight-space symmetry of permutations."""
    if len(problem.network.sizes) < 3:
        return
    units = list(range(problem.network.sizes[1]))
    random.shuffle(units)
    before = kernels.forward(problem.network, problem.parameters, problem.X)
    weights, biases = layer_views(problem.network, problem.parameters)
    weights[0][:], biases[0][:], weights[1][:] = weights[0][:, units], biases[0][units], weights[1][units]
    slopes = slope_views(problem.network, problem.parameters)[0]
    if slopes.size == len(units):
        slopes[:] = slopes[units]
    after = kernels.forward(problem.network, problem.parameters, problem.X)
    np.testing.assert_allclose(before, after, rtol=1e-9, atol=1e-11)


@QUICK
@given(MODULES, st.integers(1, 6), st.integers(0, 10**6), st.sets(st.integers(0, 5)))
def test_negating_tanh_units_leaves_the_error_unchanged(kernels, n_units, seed, units):
    """Weight-space symmetry of signs: tanh is odd, so all weights of a unit may change sign."""
    problem = Problem(hidden=("tanh",), sizes=(3, n_units, 2), seed=seed)
    args = problem.network, problem.parameters, problem.X, problem.y
    before = kernels.loss_and_gradient(*args)[0]
    weights, biases = layer_views(problem.network, problem.parameters)
    for unit in units & set(range(n_units)):
        weights[0][:, unit] *= -1
        biases[0][unit] *= -1
        weights[1][unit] *= -1
    assert kernels.loss_and_gradient(*args)[0] == pytest.approx(before, rel=1e-12)


@QUICK
@given(problems(), MODULES)
def test_predictions_of_samples_are_independent(problem, kernels):
    args = problem.network, problem.parameters
    together = kernels.forward(*args, problem.X)
    alone = np.concatenate([kernels.forward(*args, problem.X[i : i + 1]) for i in range(len(problem.X))])
    np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-13)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
)


@QUICK
@given(values)
def test_saved_values_are_loaded_unchanged(value):
    tensors = {}
    assert decode(encode(value, tensors), tensors) == value
