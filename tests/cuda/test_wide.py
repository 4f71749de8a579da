"""Wide networks, whose layers are products of matrices, against the oracle: what a step asks for besides, alone and
together, with and without products that end with an activation."""

import numpy as np
import pytest
import test_special
from numba import cuda
from numpy_products import NumpyProducts, rounded, values
from test_special import FEATURES

from fastmlp.kernels import numpy_reference as reference
from fastmlp.kernels import numpy_rules
from fastmlp.kernels.compiled import NO_OPTIMIZER, extras_of
from fastmlp.kernels.network import NO_PENALTY, Penalty, new_slots, optimizer
from fastmlp.kernels.numba_cuda import wide_kernels, wide_matrices, wide_step, wide_training, wide_update
from fastmlp.kernels.numba_cuda.contract import _features
from fastmlp.kernels.numba_cuda.wide_layout import WideLayout
from fastmlp.kernels.rules import OPTIMIZERS
from problems import COMBINATIONS, Problem, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
PLAIN = ()  # epilogues that are known
FUSED = tuple(NumpyProducts().known)


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    for module in (wide_kernels, wide_matrices, wide_step, wide_training, wide_update):
        for name in ("THREADS", "COLUMN_THREADS", "TURN_THREADS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 64 if name == "COLUMN_THREADS" else 32)
    monkeypatch.setattr(wide_matrices, "BLOCKS_PER_PROCESSOR", 1)


class Wide:
    """The contract's functions, by WideTraining and WidePrediction."""

    def __init__(self, known=FUSED, bfloat16=False):
        self.products, self.bfloat16 = NumpyProducts(known), bfloat16

    def train_epoch(
        self, network, rule, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0,
        loss_sum=0.0, penalty_sum=0.0, penalty=NO_PENALTY, noise=None, rates=None,
    ):  # fmt: skip
        extras, demands, _ = extras_of(network, rule, penalty, noise)
        features = _features(demands, noise, weighted=sample_weight is not None, optimizer=rule)
        layout = WideLayout(network, features, min(batch_size, len(order)), self.bfloat16)
        dtype, n = parameters.dtype, parameters.size
        training = wide_training.WideTraining(layout, rule.name, dtype, self.products, graphs=False)
        weight = np.ones(1, dtype) if sample_weight is None else sample_weight
        rates = np.full(-(-len(order) // layout.rows), rule.learning_rate) if rates is None else rates
        there, state = cuda.to_device(parameters), cuda.to_device(np.append(slots.ravel(), 0).astype(dtype))
        gradient, results = cuda.device_array(n, dtype), cuda.to_device(np.array([loss_sum, penalty_sum, 0.0]))
        options, loss_options = (np.array([*values, 0.0]) for values in (rule.options, network.loss_options))
        training.run(
            cuda.stream(), *map(cuda.to_device, (X, y, weight, order, rates)), there, state, gradient, results,
            *map(cuda.to_device, (extras, options, loss_options)), alpha, 0 if noise is None else noise.seed, step,
        )  # fmt: skip
        self.gradient = gradient.copy_to_host()
        parameters[:], slots[...] = there.copy_to_host(), state.copy_to_host()[: slots.size].reshape(slots.shape)
        loss, more, made = results.copy_to_host()
        return float(loss), float(more), int(made)

    def loss_and_gradient(
        self, network, parameters, X, y, sample_weight=None, alpha=0.0, penalty=NO_PENALTY, noise=None
    ):
        slots, n = np.empty((0, parameters.size)), len(X)
        loss, more, _ = self.train_epoch(
            network, NO_OPTIMIZER, parameters.copy(), slots, 0, X, y, np.arange(n), n, sample_weight, alpha,
            penalty=penalty, noise=noise,
        )  # fmt: skip
        return loss / n, more / n, self.gradient

    def forward(self, network, parameters, X, noise=None, rows=16):
        extras, demands, _ = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
        layout = WideLayout(network, _features(demands, noise, learning=False), rows, self.bfloat16)
        out = cuda.device_array((len(X), network.sizes[-1]), parameters.dtype)
        prediction = wide_training.WidePrediction(layout, parameters.dtype, self.products)
        seed = 0 if noise is None else noise.seed
        prediction.run(cuda.stream(), *map(cuda.to_device, (X, parameters, extras)), seed, 0, out)
        return out.copy_to_host()


def assert_close(found, expected, tolerance):
    for mine, yours in zip(found, expected, strict=True):
        assert np.shape(mine) == np.shape(yours)
        assert np.size(yours) == 0 or relative_error(mine, yours) < tolerance


@pytest.mark.parametrize("hidden, loss, output, name", COMBINATIONS[::4], ids=map("-".join, COMBINATIONS[::4]))
def test_training_equals_the_reference(hidden, loss, output, name):
    """Activations, losses and optimizers; two whole batches and a short one."""
    found, expected = (
        test_special.train(kernels, Problem(loss, output, (hidden,), rows=20), optimizer(name), "float64", 8, epochs=1)
        for kernels in (Wide(), reference)
    )
    assert_close(found, expected, TOLERANCE["float64"])


@pytest.mark.parametrize("known", [PLAIN, FUSED], ids=["plain", "fused"])
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature(feature, known):
    given, asked, options = FEATURES[feature]
    rule = optimizer("momentum", 0.02, **options)
    found, expected = (
        test_special.train(kernels, Problem(**given, rows=30), rule, "float64", 13, epochs=1, **asked)
        for kernels in (Wide(known), reference)
    )
    assert_close(found, expected, 3 * TOLERANCE["float64"])
