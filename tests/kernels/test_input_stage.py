"""The input stage: every backend against the reference, which is checked by central differences."""

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.engine import plan
from fastmlp.kernels.engine.buffers import Buffers
from fastmlp.kernels.engine.stage_plan import StagePlan
from fastmlp.kernels.inputs import (
    EMBEDDING,
    ONE_HOT,
    PERIODIC,
    PIECEWISE_LINEAR,
    InputColumn,
    Inputs,
    column_views,
)
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.reference.input_stage import parts_of
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Batches, Network, Noise, Penalty, Skip, aligned_zeros, new_slots, optimizer
from problems import COMPILED, DTYPES, grid, relative_error

KINDS = {
    "plain": InputColumn(),
    "one-hot": InputColumn(ONE_HOT, 3),
    "embedding": InputColumn(EMBEDDING, 5, 2, rate=2.0),
    "wide embedding": InputColumn(EMBEDDING, 9, 19),
    "periodic": InputColumn(PERIODIC, 16, 3, rate=0.5),
    "periodic, odd": InputColumn(PERIODIC, 3, 5),
    "piecewise-linear": InputColumn(PIECEWISE_LINEAR, 4, edges=(-1.0, -0.25, 0.0, 0.5, 2.0)),
}
STAGES = {name: Inputs((column, column)) for name, column in KINDS.items()}
STAGES |= {f"scaled {name}": Inputs((column,), 3.0) for name, column in KINDS.items()}
STAGES["all"] = Inputs(tuple(KINDS.values()))
STAGES["scaled all"] = Inputs(tuple(reversed(KINDS.values())), 1.5)


class StagedProblem:
    """A network with a stage, random parameters and data, with codes out of range and NaN among codes."""

    def __init__(self, inputs, rows=40, dtype="float64", seed=0, hidden=(7,), skips=()):
        rng = np.random.RandomState(seed)
        sizes, activations = (inputs.width, *hidden, 3), ("tanh",) * len(hidden)
        self.network = Network(sizes, (*activations, "identity"), "squared_error", skips=skips, inputs=inputs)
        self.parameters = aligned_zeros(self.network.n_parameters, dtype)
        self.parameters[:] = rng.uniform(-0.6, 0.6, self.parameters.size)
        columns = [self._column(rng, column, rows) for column in inputs.columns]
        self.X = np.ascontiguousarray(np.column_stack(columns), dtype)
        self.y = rng.standard_normal((rows, 3)).astype(dtype)
        self.weight = rng.uniform(0.2, 2, rows).astype(dtype)
        self.order = rng.permutation(rows)

    @staticmethod
    def _column(rng, column, rows):
        if column.kind not in (ONE_HOT, EMBEDDING):
            return rng.standard_normal(rows)
        return np.where(
            rng.random_sample(rows) < 0.1, rng.choice([np.nan, 0.5], rows), rng.randint(-1, column.n + 1, rows)
        )

    def batches(self, size):
        return Batches(self.X, self.y, self.order, size)

    def in_dtype(self, dtype):
        return [array.astype(dtype) for array in (self.parameters, self.X, self.y, self.weight)]


# Numba's compilation takes long: of float64 it is left to the exhaustive tests.
RUNS = [(name, dtype) for name in COMPILED for dtype in DTYPES]
RUNS = [pytest.param(*run, marks=pytest.mark.exhaustive if run == ("numba", "float64") else ()) for run in RUNS]
of_runs = pytest.mark.parametrize("compiled, dtype", RUNS, indirect=["compiled"])


@pytest.fixture
def compiled(request):
    """The kernels of a compiled backend; where the compiler makes no difference, of the one that is ahead of time."""
    return registry.choose(getattr(request, "param", "cython")).kernels


# (noise, penalty, options of the optimizer, weights)
WAYS = {
    "plainly": (None, Penalty(), {}, False),
    "weighted, decayed": (None, Penalty(alpha=0.1), {"weight_decay": 0.1}, True),
    "clipped norm": (None, Penalty(), {"clip_norm": 0.05, "weight_decay": 0.1}, True),
    "everything": (
        Noise(3, 0.2, 0.3, (0.3,)), Penalty(0.01, 0.1, 0.1, 0.2),
        {"weight_decay": 0.1, "clip_norm": 0.3, "clip_value": 0.02, "max_norm": 0.9, "layer_rates": (2.0, 0.5)}, True,
    ),
}  # fmt: skip


def train(kernels, problem, dtype, batch_size, way, name="adamw", epochs=2):
    noise, penalty, options, weighted = WAYS[way]
    parameters, X, y, weight = problem.in_dtype(dtype)
    rule = optimizer(name, 0.003 if batch_size == 1 else 0.02, **options)
    slots, step, sums = new_slots(name, parameters.size, dtype), 0, (0.0, 0.0)
    batches = Batches(X, y, problem.order, batch_size, weight if weighted else None)
    for _ in range(epochs):
        *sums, made = kernels.train_epoch(
            problem.network, rule, parameters, slots, step, batches, penalty, noise, None, tuple(sums)
        )
        step += made
    return parameters, np.array(sums), slots


@of_runs
@pytest.mark.parametrize("stage, way, batch_size", grid(STAGES, WAYS, [1, 13, 40], n=2))
def test_training_equals_the_reference(compiled, dtype, stage, way, batch_size):
    """The reference computes in float64. Momentum, because Adam's steps do not depend on the size of a gradient."""
    problem = StagedProblem(STAGES[stage], dtype=dtype)
    found = train(compiled, problem, dtype, batch_size, way, "momentum")
    expected = train(reference, problem, "float64", batch_size, way, "momentum")
    for mine, yours in zip(found, expected):
        assert relative_error(mine, yours) < {"float32": 3e-5, "float64": 3e-10}[dtype]


@pytest.mark.parametrize("stage", ["all", "scaled all"])
def test_adamw_equals_the_reference(compiled, stage):
    problem = StagedProblem(STAGES[stage])
    found, expected = (train(kernels, problem, "float64", 13, "weighted, decayed") for kernels in (compiled, reference))
    for mine, yours in zip(found, expected):
        assert relative_error(mine, yours) < 1e-8


@of_runs
@pytest.mark.parametrize("stage, rows", grid(STAGES, [1, 3, 300]))
def test_prediction_equals_the_reference(compiled, dtype, stage, rows):
    """Without noise, in a random pass, in blocks, and for one row at a time."""
    problem = StagedProblem(STAGES[stage], rows, dtype)
    parameters, X, *_ = problem.in_dtype("float64")
    for noise in (None, Noise(3, 0.2, 0.3)):
        found = compiled.forward(problem.network, problem.parameters, problem.X, noise=noise)
        expected = reference.forward(problem.network, parameters, X, noise=noise)
        assert found.dtype == dtype
        assert relative_error(found, expected) < {"float32": 1e-5, "float64": 1e-12}[dtype]
    row = compiled.row_predictor(problem.network, problem.parameters)(problem.X[0])
    np.testing.assert_array_equal(row, compiled.forward(problem.network, problem.parameters, problem.X[:1])[0])


def derivatives(kernels, problem, noise, g, parameters, X, rows=None):
    """(outputs, gradient and dLoss/dX of the sum of g times the outputs)"""
    passes = kernels.prepare_gradient(problem.network, parameters.dtype, rows or len(X), noise)
    outputs, gradient, of_X = (
        passes.forward(parameters, X, 5),
        np.full_like(parameters, np.nan),
        np.full_like(X, np.nan),
    )
    X[...] = np.nan
    for _ in range(2):  # a backward pass leaves what the next one needs
        passes.backward(g, gradient, of_X)
    return outputs, gradient, of_X


@of_runs
@pytest.mark.parametrize("stage, noise", grid(STAGES, [None, Noise(3, 0.2, 0.3, (0.3,))]))
def test_passes_equal_the_reference(compiled, dtype, stage, noise):
    problem = StagedProblem(STAGES[stage], dtype=dtype, skips=(None, Skip(0, True)))
    g = np.random.RandomState(1).standard_normal((40, 3))
    parameters, X, *_ = problem.in_dtype("float64")
    expected = derivatives(reference, problem, noise, g, parameters, X)
    found = derivatives(compiled, problem, noise, g.astype(dtype), problem.parameters, problem.X.copy(), 600)
    for mine, yours in zip(found, expected):
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, yours, atol={"float32": 3e-5, "float64": 1e-11}[dtype] * np.abs(yours).max())
    passes, gradient = compiled.prepare_gradient(problem.network, dtype, 40, noise), np.empty_like(problem.parameters)
    passes.forward(problem.parameters, problem.X, 5)
    passes.backward(g.astype(dtype), gradient)  # of the parameters alone
    np.testing.assert_array_equal(gradient, found[1])


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_the_reference_are_central_differences(stage):
    """Of all parameters and of X; codes have the derivative 0."""
    problem = StagedProblem(STAGES[stage], rows=8, seed=2)
    problem.X[np.isnan(problem.X)] = 0
    args = problem.X, problem.y, problem.weight

    def loss(parameters):
        return reference.loss_and_gradient(problem.network, parameters, *args)[0]

    def shifted(array, i, by):
        moved = array.copy()
        moved.flat[i] += by
        return moved

    gradient = reference.loss_and_gradient(problem.network, problem.parameters, *args)[2]
    for i in range(gradient.size):
        upper, lower = (loss(shifted(problem.parameters, i, by)) for by in (1e-6, -1e-6))
        assert gradient[i] == pytest.approx((upper - lower) / 2e-6, rel=1e-5, abs=1e-8)
    g = np.random.RandomState(1).standard_normal((8, 3))
    of_X = derivatives(reference, problem, None, g, problem.parameters, problem.X.copy())[2]
    for i in range(of_X.size):
        if problem.network.inputs.columns[i % of_X.shape[1]].kind in (ONE_HOT, EMBEDDING):
            assert of_X.flat[i] == 0
            continue
        upper, lower = (
            (g * reference.forward(problem.network, problem.parameters, shifted(problem.X, i, by))).sum()
            for by in (1e-6, -1e-6)
        )
        assert of_X.flat[i] == pytest.approx((upper - lower) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.fixture
def threads_pay(monkeypatch):
    """Use several threads even for little work."""
    monkeypatch.setattr(plan, "CALL_FLOPS", 0)
    monkeypatch.setattr(plan, "THREAD_FLOPS", 1)
    monkeypatch.setattr(thread_pool, "cores", lambda: 8)


# Batches of 300 rows of wide layers; few parameters, so that rows come in groups.
@pytest.mark.parametrize("hidden", [(60,), (4,)], ids=["by threads", "by groups"])
@pytest.mark.parametrize("way, dtype", grid(WAYS, DTYPES))
def test_the_same_bits_for_every_number_of_threads(compiled, threads_pay, way, dtype, hidden):
    results = []
    for n_threads in (1, 3, 2):
        problem = StagedProblem(STAGES["scaled all"], 700, dtype, hidden=hidden)
        problem.X[np.isnan(problem.X)] = -1
        with thread_pool.limited_to(n_threads):
            trained = train(compiled, problem, dtype, 300, way)
            outputs = compiled.forward(problem.network, problem.parameters, problem.X)
            passed = derivatives(compiled, problem, WAYS[way][0], problem.y, problem.parameters, problem.X.copy())
        results.append((*trained, outputs, *passed))
    for other in results[1:]:
        for found, expected in zip(other, results[0]):
            np.testing.assert_array_equal(found, expected)


def test_threads_share_the_columns_by_their_work():
    inputs = Inputs((InputColumn(), InputColumn(EMBEDDING, 100_000, 8), InputColumn(), InputColumn(PERIODIC, 16, 3)))
    made = StagePlan(inputs, 256, 32, 256, 0)
    assert [column.work_before * 2 // made.stage.work for column in made.columns] == [0, 0, 1, 1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_of_every_optimizer(compiled, name):
    """Without errors only the decay changes parameters: of tables, w, V and factors, not of p, b."""
    problem = StagedProblem(STAGES["scaled all"])
    problem.y[:] = compiled.forward(problem.network, problem.parameters, problem.X)
    before, after = problem.parameters.copy(), problem.parameters
    rule = optimizer(name, 0.01, weight_decay=0.5)
    compiled.train_epoch(problem.network, rule, after, new_slots(name, after.size, "float64"), 0, problem.batches(40))
    inputs = problem.network.inputs
    kept = np.zeros(inputs.n_parameters, bool)
    for views in column_views(inputs, kept)[0]:
        for part in "pb":
            views.get(part, kept[:0])[...] = True
    kept, changed = np.flatnonzero(kept), np.flatnonzero(~kept)
    np.testing.assert_allclose(after[kept], before[kept], atol=1e-7)
    if OPTIMIZERS[name].decoupled:
        rates = np.empty(inputs.n_parameters)
        for part, rate, _ in parts_of(inputs):
            rates[part] = rate
        np.testing.assert_allclose(after[changed], before[changed] * (1 - 0.005 * rates[changed]), atol=1e-7)
    else:
        assert (after[changed] != before[changed]).all()


def test_a_step_goes_by_the_rates_of_the_columns(compiled):
    """A step of SGD is the gradient times the rate; also from a given gradient, which stays as it is."""
    problem = StagedProblem(STAGES["scaled all"])
    args = problem.network, problem.parameters, problem.X, problem.y
    gradient, before = compiled.loss_and_gradient(*args)[2], problem.parameters.copy()
    expected, given = before - 0.1 * gradient, gradient.copy()
    for part, rate, _ in parts_of(problem.network.inputs):
        expected[part] = before[part] - 0.1 * rate * gradient[part]
    slots = new_slots("sgd", before.size, "float64")
    compiled.prepare_update(problem.network, optimizer("sgd", 0.1), problem.parameters, slots)(given, 0)
    np.testing.assert_allclose(problem.parameters, expected, atol=1e-13)
    np.testing.assert_array_equal(given, gradient)
    problem.parameters[:] = before
    compiled.train_epoch(problem.network, optimizer("sgd", 0.1), problem.parameters, slots, 0, problem.batches(40))
    np.testing.assert_allclose(problem.parameters, expected, atol=1e-13)


def test_a_network_without_a_stage_has_the_layout_that_it_had():
    """In place and without copies, and its functions are compiled without those of a stage."""
    engine = registry.choose("cython").kernels._contract.engine
    network = Network((8, 64, 1), ("relu", "identity"), "squared_error")
    without = plan.Plan(engine, network, np.dtype("float32"), 32, plan.TRAINING)
    assert not without.layout.staged
    assert without.layout.n_columns == 8
    assert without.like.ndim == 1
    assert without.in_place == (8 % engine.tile_rows == 0)
    assert without.workspace == sum(2 * without.batch * layer.stride for layer in without.layers)
    assert Buffers(without, 1).sums.size == without.n_groups * network.n_parameters
