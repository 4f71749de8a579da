"""Wide networks, whose layers are matrix products, against the reference, with all features."""

import os

import numpy as np
import pytest
import test_features
from numba import cuda
from numpy_products import NumpyProducts
from test_contract import (  # noqa: F401
    test_a_batch_with_zero_weights_makes_no_step,
    test_an_epoch_in_chunks_gives_the_same_bits,
    test_zero_weight_equals_omitting_the_sample,
)
from test_features import FEATURES

from fastmlp.kernels.cuda import gemm, launch
from fastmlp.kernels.cuda.gemm.layout import GemmLayout
from fastmlp.kernels.cuda.gemm.products import EPILOGUES, Products
from fastmlp.kernels.cuda.gemm.training import GemmPrediction, GemmTraining
from fastmlp.kernels.cuda.records import Settings, State
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, extras_of
from fastmlp.kernels.reference import backward_pass
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.forward_pass import to_bfloat16
from fastmlp.kernels.spec import NO_PENALTY, Batches, Penalty, Skip, new_slots, optimizer
from problems import COMBINATIONS, Problem, relative_error

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
ON_GPU = os.environ.get("FASTMLP_GPU") == "1"
PLAIN, FUSED = (), tuple(EPILOGUES)  # supported epilogues
MAKER = Products if ON_GPU else NumpyProducts


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    for module in () if ON_GPU else (gemm.kernels, gemm.control, gemm.step, gemm.training, gemm.update, gemm.head):
        for name in ("THREADS", "COLUMN_THREADS", "CONTROL_THREADS", "UPDATE_THREADS"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 64 if name == "COLUMN_THREADS" else 32)
    if not ON_GPU:
        monkeypatch.setattr(launch, "BLOCKS_PER_PROCESSOR", 1)


class Partial(MAKER):
    """Products with only some of the epilogues; records which were prepared."""

    def __init__(self, known):
        super().__init__()
        self.known, self.made = known, []

    def prepare(self, *given, epilogue=None, **how):
        if epilogue is not None and epilogue not in self.known:
            return None
        self.made.append(epilogue)
        return super().prepare(*given, epilogue=epilogue, **how)


class Gemm:
    """The contract's functions, by GemmTraining and GemmPrediction."""

    def __init__(self, known=FUSED):
        self.products = Partial(known)

    def train_epoch(
        self, network, rule, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None,
        totals=(0.0, 0.0),
    ):  # fmt: skip
        X, y, order, batch_size, sample_weight = batches
        extras = extras_of(network, rule, penalty, noise)
        features = Features.of(extras.requirements, noise, rule, weighted=sample_weight is not None)
        layout, dtype = GemmLayout(network, features, min(batch_size, len(order))), parameters.dtype
        training = GemmTraining(layout, rule.name, dtype, self.products, graphs=ON_GPU)
        weight = np.ones(1, dtype) if sample_weight is None else sample_weight
        rates = np.full(-(-len(order) // layout.rows), rule.learning_rate) if rates is None else rates
        there, slots_there = cuda.to_device(parameters), cuda.to_device(np.append(slots.ravel(), 0).astype(dtype))
        gradient, results = cuda.to_device(parameters), cuda.to_device(np.array([*totals, 0.0]))
        options, loss_options = (np.array([*numbers, 0.0]) for numbers in (rule.options, network.loss_options))
        X, y, order, weight = map(cuda.to_device, (X, y, order, weight))
        batches, seed = Batches(X, y, order, layout.rows, weight), 0 if noise is None else noise.seed
        settings = Settings(*map(cuda.to_device, (extras.array, options, loss_options)), penalty.alpha, seed, step)
        state = State(there, slots_there, gradient, results)
        training.queue(cuda.stream(), batches, rates, state, settings)
        cuda.synchronize()
        self.gradient = gradient.copy_to_host()
        parameters[:], slots[...] = there.copy_to_host(), slots_there.copy_to_host()[: slots.size].reshape(slots.shape)
        loss, more, made = results.copy_to_host()
        return float(loss), float(more), int(made)

    def loss_and_gradient(self, network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
        n = len(X)
        loss, more, _ = self.train_epoch(
            network, NO_OPTIMIZER, parameters.copy(), np.empty((0, parameters.size)), 0,
            Batches(X, y, np.arange(n), n, sample_weight), penalty, noise,
        )  # fmt: skip
        return loss / n, more / n, self.gradient

    def forward(self, network, parameters, X, noise=None, rows=16):
        extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
        layout = GemmLayout(network, Features.of(extras.requirements, noise, training=False), rows)
        out = cuda.device_array((len(X), network.sizes[-1]), parameters.dtype)
        prediction = GemmPrediction(layout, parameters.dtype, self.products)
        seed = 0 if noise is None else noise.seed
        prediction.queue(cuda.stream(), *map(cuda.to_device, (X, parameters, extras.array)), seed, 0, out)
        cuda.synchronize()
        return out.copy_to_host()


@pytest.fixture
def kernels():
    return Gemm()


def sum_rounded_deltas(monkeypatch):
    """Let the reference compute bias gradients as these kernels do in 'medium', from the operands of the products."""
    monkeypatch.setattr(backward_pass, "bias_gradient", lambda delta: to_bfloat16(delta).sum(axis=0))


def assert_close(found, expected, tolerance):
    for mine, yours in zip(found, expected, strict=True):
        assert np.shape(mine) == np.shape(yours)
        assert np.size(yours) == 0 or relative_error(mine, yours) < tolerance


@pytest.mark.parametrize("hidden, loss, output, name", COMBINATIONS[::6], ids=map("-".join, COMBINATIONS[::6]))
def test_training_equals_the_reference(hidden, loss, output, name):
    """Activations, losses and optimizers; two full batches and a shorter one."""
    found, expected = (
        test_features.train(kernels, Problem(loss, output, (hidden,), rows=20), optimizer(name), "float64", 8, epochs=1)
        for kernels in (Gemm(PLAIN), reference)
    )
    assert_close(found, expected, TOLERANCE["float64"])


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature(feature):
    given, asked, options = FEATURES[feature]
    rule = optimizer("momentum", 0.02, **options)
    found, expected = (
        test_features.train(kernels, Problem(**given, rows=30), rule, "float64", 13, epochs=1, **asked)
        for kernels in (Gemm(), reference)
    )
    assert_close(found, expected, 3 * TOLERANCE["float64"])


DEEP = {"sizes": (5, 9, 6, 7, 40), "hidden": ("relu", "relu", "relu")}
SOFTMAX = {"loss": "categorical_cross_entropy", "output": "softmax"}
RELUS = {  # problem, and the layers that are fused
    "relus": ({**DEEP, **SOFTMAX}, (0, 1, 2)),
    "relu below tanh": ({**DEEP, "hidden": ("relu", "tanh", "relu")}, (0, 2)),
    "relu beside skips": ({**DEEP, "skips": (None, Skip(0, True), None, Skip(2, True))}, (0, 2)),
}


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("known", [FUSED, ("relu",), ("relu derivative",)], ids=lambda known: "-".join(known))
@pytest.mark.parametrize("case", RELUS)
def test_fused_layers(case, known, precision, monkeypatch):
    """A layer is fused only if both its forward and its backward product can be."""
    given, fused = RELUS[case]
    dtype = "float32" if precision == "medium" else "float64"
    problem, fusing = Problem(**given, rows=20, dtype=dtype), Gemm(known)
    problem.network = problem.network._replace(matmul_precision=precision)
    rule = optimizer("adam", 0.01)
    if precision == "medium":
        sum_rounded_deltas(monkeypatch)
    found, expected = (
        test_features.train(kernels, problem, rule, dtype, 8, epochs=1) for kernels in (fusing, reference)
    )
    assert_close(found, expected, 1e-4 if precision == "medium" else TOLERANCE["float64"])
    if known == FUSED:
        assert fusing.products.made.count("relu derivative") == 2 * len(
            fused
        )  # for full batches, and for the shorter one


@pytest.mark.parametrize(
    "feature", ["skip every layer", "skip with gelu and dropout", "everything", "dropout of prelu"]
)
def test_rounded_operands(feature, monkeypatch):
    """Mode bfloat16 differs from float32 and agrees with the reference, up to the order of sums."""
    given, asked, options = FEATURES[feature]
    problem, rule = Problem(**given, rows=30, dtype="float32"), optimizer("momentum", 0.02, **options)
    exact = test_features.train(reference, problem, rule, "float32", 13, epochs=1, **asked)
    problem.network = problem.network._replace(matmul_precision="medium")
    sum_rounded_deltas(monkeypatch)
    found, expected = (
        test_features.train(kernels, problem, rule, "float32", 13, epochs=1, **asked) for kernels in (Gemm(), reference)
    )
    assert_close(found, expected, 3e-4)
    assert relative_error(found[2], exact[2]) > 1e-3


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adadelta", "amsgrad"])
def test_20_steps_in_single_precision(name):
    runs = [
        test_features.train(kernels, Problem(dtype="float32", rows=30), optimizer(name, 0.01), kind, 8, epochs=5)
        for kernels, kind in ((Gemm(), "float32"), (reference, "float64"))
    ]
    assert_close(*runs, 3 * TOLERANCE["float32"])


@pytest.mark.parametrize("feature", ["skip every layer", "everything"])
def test_gradient_equals_the_reference(feature):
    given, asked, _ = FEATURES[feature]
    problem = Problem(**given, rows=11)
    asked = asked | {"penalty": asked.get("penalty", NO_PENALTY)._replace(alpha=0.3)}
    args = problem.network, problem.parameters, problem.X, problem.y, problem.weight
    for mine, yours in zip(Gemm().loss_and_gradient(*args, **asked), reference.loss_and_gradient(*args, **asked)):
        assert relative_error(mine, yours) < TOLERANCE["float64"]


@pytest.mark.parametrize("feature", test_features.OF_NETWORKS[::2])
def test_prediction_equals_the_reference(feature):
    """With and without noise, for two full blocks of rows and a shorter one."""
    given, asked, _ = FEATURES[feature]
    problem = Problem(**given, rows=37)
    args = problem.network, problem.parameters, problem.X
    for noise in (None, asked.get("noise")):
        assert relative_error(Gemm().forward(*args, noise=noise), reference.forward(*args, noise=noise)) < 1e-10


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_prediction_of_classes(precision):
    problem = Problem(**DEEP, **SOFTMAX, rows=20, dtype="float32")
    args = problem.network._replace(matmul_precision=precision), problem.parameters, problem.X
    assert relative_error(Gemm().forward(*args), reference.forward(*args)) < 1e-4


def test_rates_belong_to_batches_and_counts_to_updates():
    """Each batch has its own learning rate, also if one is skipped."""
    problem, sums = Problem(rows=40), []
    problem.weight[problem.order[8:16]] = 0
    rates = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    for kernels in (Gemm(), reference):
        parameters, slots = problem.parameters.copy(), new_slots("nadam", problem.parameters.size, "float64")
        given = problem.network, optimizer("nadam"), parameters, slots
        batches, penalty = problem.batches(8, problem.weight), Penalty(alpha=0.1)
        found = kernels.train_epoch(*given, 3, batches, penalty, rates=rates, totals=(5.0, 6.0))
        sums.append([parameters, slots, found])
    assert_close(*sums, TOLERANCE["float64"])
