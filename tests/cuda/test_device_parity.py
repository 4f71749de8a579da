"""Backend cuda against the reference implementation, with each training strategy."""

import numpy as np
import pytest
import test_features
from test_features import FEATURES
from test_parity import (
    test_products_equal_the_reference,  # noqa: F401
    test_update_equals_the_reference_step_after_step,  # noqa: F401
)

from fastmlp.kernels.cuda import contract, dispatch, executor
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.kernels.spec import Penalty, new_slots, optimizer
from problems import COMBINATIONS, DTYPES, Problem, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
STRATEGIES = {  # settings of dispatch.py that select a strategy, also for small networks
    "block": {"ONE_BLOCK_FLOPS": 1e12},
    "grid": {"ONE_BLOCK_FLOPS": 0, "MAX_NARROW_WIDTH": 0},
    "tiles": {"ONE_BLOCK_FLOPS": 0, "MAX_NARROW_WIDTH": 10**6, "TILE_HEIGHT": 5, "MIN_TILES_PER_PROCESSOR": 0},
}


def assert_close(found, expected, tolerance):
    """Compare parameters, sums and slots; arrays may be empty."""
    for mine, yours in zip(found, expected, strict=True):
        assert np.shape(mine) == np.shape(yours)
        assert np.size(yours) == 0 or relative_error(mine, yours) < tolerance


@pytest.fixture
def use_strategy(monkeypatch):
    """A function that selects a strategy until the end of the test."""

    def use(strategy):
        executor.training_executor.cache_clear()
        for name, value in STRATEGIES[strategy].items():
            monkeypatch.setattr(dispatch, name, value)

    yield use
    executor.training_executor.cache_clear()


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def compiled():
    return contract


@pytest.mark.parametrize("hidden, loss, output, name", COMBINATIONS, ids=map("-".join, COMBINATIONS))
def test_training_equals_the_reference(hidden, loss, output, name):
    """Every name of the tables, and every pair of names."""
    found, expected = (
        test_features.train(kernels, Problem(loss, output, (hidden,), rows=20), optimizer(name), "float64", 8, epochs=1)
        for kernels in (contract, reference)
    )
    assert_close(found, expected, TOLERANCE["float64"])


@pytest.mark.parametrize("batch_size", [1, 13, 40])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_with_every_strategy(use_strategy, feature, strategy, batch_size):
    """Skips, noise, penalties, limits and learning rates; several blocks, shorter last batches and tiles."""
    use_strategy(strategy)
    given, asked, options = FEATURES[feature]
    rule = optimizer("momentum", 0.002 if batch_size == 1 else 0.02, **options)
    rows = 6 if batch_size == 1 else 40
    found, expected = (
        test_features.train(kernels, Problem(**given, rows=rows), rule, "float64", batch_size, epochs=1, **asked)
        for kernels in (contract, reference)
    )
    assert_close(found, expected, 3 * TOLERANCE["float64"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_last_batches_without_weight(use_strategy, strategy):
    """They are skipped, and the sums are still accumulated."""
    use_strategy(strategy)
    problem = Problem(rows=40)
    weight = np.where(np.arange(40) < 20, 1.0, 0.0)
    found, expected = [], []
    for kernels, results in ((contract, found), (reference, expected)):
        rule, parameters = optimizer("sgd", 0.01), problem.parameters.copy()
        slots = new_slots("sgd", parameters.size, parameters.dtype)
        results.extend(kernels.train_epoch(
            problem.network, rule, parameters, slots, 0, problem.batches(8, weight, np.arange(40)), Penalty(alpha=0.1)
        ))  # fmt: skip
        results.append(parameters)
    assert_close(found, expected, TOLERANCE["float64"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_20_steps_in_single_precision(use_strategy, strategy, name):
    """float32 against the float64 reference."""
    use_strategy(strategy)
    runs = [
        test_features.train(kernels, Problem(dtype="float32", rows=30), optimizer(name, 0.01), kind, 8, epochs=5)
        for kernels, kind in ((contract, "float32"), (reference, "float64"))
    ]
    assert_close(*runs, 3 * TOLERANCE["float32"])


@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize("feature", test_features.OF_NETWORKS)
def test_prediction_equals_the_reference(feature, rows):
    """With and without noise."""
    given, asked, _ = FEATURES[feature]
    problem = Problem(**given, rows=rows)
    args = problem.network, problem.parameters, problem.X
    for noise in (None, asked.get("noise")):
        assert relative_error(contract.forward(*args, noise=noise), reference.forward(*args, noise=noise)) < 1e-10


@pytest.mark.parametrize("activation", [name for name, row in ACTIVATIONS.items() if row.trainable is None])
def test_dense_forward_and_activation_derivative_equal_the_reference(activation, dtype):
    rng = np.random.RandomState(0)
    X, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((7, 2), (2, 3), (3,)))
    found = contract.dense_forward(activation, X, W, b)
    expected = reference.dense_forward(activation, X, W, b)
    np.testing.assert_allclose(found, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    delta = rng.standard_normal(found.shape).astype(dtype)
    product = contract.activation_derivative(activation, found, delta)
    expected = reference.activation_derivative(activation, found, delta)
    np.testing.assert_allclose(product, expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
