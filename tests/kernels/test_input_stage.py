"""The input stage: every backend against the reference, which is checked by central differences."""

import numpy as np
import pytest

from fastmlp.backends import registry
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.inputs import (
    EMBEDDING,
    ONE_HOT,
    PERIODIC,
    PIECEWISE_LINEAR,
    PLAIN,
    InputColumn,
    Inputs,
    column_views,
)
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Batches, Network, Noise, Penalty, Skip, aligned_zeros, new_slots, optimizer
from problems import COMPILED, DTYPES, grid, relative_error

KINDS = {
    "plain": InputColumn(),
    "one-hot": InputColumn(ONE_HOT, 3),
    "embedding": InputColumn(EMBEDDING, 5, 2, rate=2.0),
    "wide embedding": InputColumn(EMBEDDING, 40, 37),
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
        return np.where(rng.random_sample(rows) < 0.1, rng.choice([np.nan, 0.5], rows), rng.randint(-1, column.n + 1, rows))

    def in_dtype(self, dtype):
        return [array.astype(dtype) for array in (self.parameters, self.X, self.y, self.weight)]


@pytest.fixture(params=COMPILED)
def compiled(request):
    return registry.choose(request.param).kernels


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


@pytest.mark.parametrize("stage, way, dtype, batch_size", grid(STAGES, WAYS, DTYPES, [1, 13, 40], n=2))
def test_training_equals_the_reference(compiled, stage, way, dtype, batch_size):
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
