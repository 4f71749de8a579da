"""SparseRows against the reference on the dense matrix: steps, gradients and predictions of the compiled engines."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse

from fastmlp.backends import registry
from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.engine import plan
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import NO_PENALTY, Batches, Noise, Penalty, Skip, SparseRows, new_slots, optimizer
from problems import Problem, relative_error

ROWS, COLUMNS = 50, 83
TOLERANCE = {"float32": 3e-4, "float64": 1e-11}


def sparse_rows(matrix, dtype):
    """As the package makes them of a CSR matrix."""
    return SparseRows(matrix.data.astype(dtype), matrix.indices.astype("i4"), matrix.indptr.astype("i8"), COLUMNS)


def matrix_with_everything():
    """CSR with empty rows, columns without entries, explicit zeros, unsorted indices and duplicates."""
    rng = np.random.RandomState(0)
    given = sparse.random(ROWS, COLUMNS, 0.1, "csr", random_state=rng, data_rvs=rng.standard_normal)
    given = sparse.lil_matrix(given)
    given[[0, 7, ROWS - 1]] = 0
    given[:, [0, 40, 41]] = 0
    given[3, 50:] = 1  # a long row, and
    given[:, 60] = 2  # a column that every sample has, also empty ones
    given[[0, 7], 60] = 0
    given = given.tocsr()
    indices, values, starts = given.indices.copy(), given.data.copy(), given.indptr
    for low, high in pairwise(starts):
        mixed = low + rng.permutation(high - low)
        indices[low:high], values[low:high] = indices[mixed], values[mixed]
    indices[starts[4]] = indices[starts[4] + 1]  # a duplicate
    values[starts[5]] = 0
    return sparse.csr_matrix((values, indices, starts), given.shape)


MATRICES = {
    "everything": matrix_with_everything(),
    "no nonzeros": sparse.csr_matrix((ROWS, COLUMNS)),
}


class Case(NamedTuple):
    """A fit of the table below."""

    rule: str = "adam"
    options: dict = {}
    penalty: Penalty = NO_PENALTY
    sizes: tuple = (COLUMNS, 13, 3)
    batch: int = 7
    hidden: str = "tanh"
    noise: Noise | None = None
    matrix: str = "everything"
    weighted: bool = True


BOTH = Penalty(alpha=0.1, l1=0.02)
CASES = {
    "sgd": Case("sgd", {"learning_rate": 0.01}),
    "sgd, one sample": Case("sgd", {"learning_rate": 0.01}, batch=1),
    "sgd, clipped": Case("sgd", {"learning_rate": 0.01, "clip_value": 0.01}),
    "sgd, alpha and l1": Case("sgd", {"learning_rate": 0.01}, BOTH),
    "sgd, decay": Case("sgd", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "momentum": Case("momentum", {"learning_rate": 0.01}),
    "adam": Case(),
    "adam, alpha and l1": Case(penalty=BOTH),
    "adam, one sample": Case(batch=1, penalty=BOTH),
    "adam, all samples": Case(batch=ROWS),
    "adamw": Case("adamw", {"weight_decay": 0.3, "learning_rate": 0.01}),
    "rmsprop": Case("rmsprop"),
    "adagrad": Case("adagrad"),
    "clip_norm": Case("sgd", {"learning_rate": 0.01, "clip_norm": 0.05}, BOTH),
    "max_norm": Case("adam", {"max_norm": 0.8}),
    "rates by layer": Case("momentum", {"layer_rates": (0.3, 1.0)}),
    "one layer": Case(sizes=(COLUMNS, 3), penalty=BOTH),
    "one layer, all samples": Case("sgd", sizes=(COLUMNS, 1), batch=ROWS),
    "three layers": Case(sizes=(COLUMNS, 37, 5, 3)),
    "wide": Case(sizes=(COLUMNS, 2100, 3)),
    "activation of z": Case(hidden="silu"),
    "trainable slopes": Case(hidden="prelu"),
    "dropout and activity": Case(noise=Noise(seed=3, dropout=(0.3,)), penalty=Penalty(activity_l1=0.1, alpha=0.1)),
    "no nonzeros": Case(matrix="no nonzeros", penalty=BOTH),
    "no weights": Case(weighted=False),
}


@pytest.fixture
def threads_pay(monkeypatch):
    monkeypatch.setattr(plan, "CALL_FLOPS", 0)
    monkeypatch.setattr(plan, "THREAD_FLOPS", 1)
    monkeypatch.setattr(thread_pool, "cores", lambda: 8)


def fitted(kernels, case, dtype, n_threads, dense):
    """Everything that two epochs change, a gradient, and outputs for all rows and for few."""
    n_hidden = len(case.sizes) - 2
    problem = Problem("squared_error", "identity", (case.hidden,) * n_hidden, case.sizes, rows=ROWS, dtype=dtype)
    matrix = MATRICES[case.matrix]
    X = matrix.toarray().astype(dtype) if dense else sparse_rows(matrix, dtype)
    weight = problem.weight if case.weighted else None
    rule = optimizer(case.rule, **case.options)
    slots = new_slots(case.rule, problem.parameters.size, dtype)
    network, parameters = problem.network, problem.parameters
    with thread_pool.limited_to(n_threads):
        train = kernels.prepare_training(network, rule, parameters, slots, case.batch, case.penalty, case.noise)
        sums = [train(Batches(X, problem.y, problem.order, case.batch, weight), step) for step in (0, 10)]
        gradient = kernels.loss_and_gradient(network, parameters, X[5:], problem.y[5:], None, case.penalty)
        outputs = [kernels.forward(network, parameters, rows) for rows in (X, X[3:6], X[:1], X[:0])]
        outputs.append(kernels.forward(network, parameters, X, noise=case.noise))
    return [parameters, slots, *sums, gradient[2], gradient[:2], *outputs]


RUNS = [("cython", "float32"), ("cython", "float64"), ("numba", "float32"), ("numba", "float64")]


@pytest.mark.parametrize("name, dtype", [*RUNS[:3], pytest.param(*RUNS[3], marks=pytest.mark.exhaustive)])
def test_sparse_rows_give_the_numbers_of_the_dense_matrix(threads_pay, name, dtype):
    """For every rule, bound and penalty, with the same bits for every number of threads."""
    kernels = registry.choose(name).kernels
    for title, case in CASES.items():
        alone = fitted(kernels, case, dtype, 1, dense=False)
        for found, expected in zip(fitted(kernels, case, dtype, 3, dense=False), alone, strict=True):
            np.testing.assert_array_equal(found, expected, title)
        expected = fitted(reference, case, "float64", 1, dense=True)
        for number, (found, wanted) in enumerate(zip(alone, expected, strict=True)):
            if np.size(wanted):
                assert relative_error(found, wanted) < TOLERANCE[dtype], (title, number)


DROPPED = Noise(5, 0.0, 0.0, (0.3, 0.2))
PASSES = {  # arguments of Problem, and the noise
    "plain": ({"sizes": (COLUMNS, 13, 3)}, None),
    "one layer": ({"sizes": (COLUMNS, 3), "hidden": ()}, None),
    "one output": ({"sizes": (COLUMNS, 1), "hidden": (), "output": "tanh"}, None),
    "wide": ({"sizes": (COLUMNS, 2100, 3)}, None),
    "activation of z, softmax": (
        {"sizes": (COLUMNS, 13, 3), "hidden": ("silu",), "output": "softmax", "loss": "categorical_cross_entropy"}, None
    ),
    "trainable slopes": ({"sizes": (COLUMNS, 9, 5, 3), "hidden": ("prelu", "shared_prelu")}, None),
    "dropout": ({"sizes": (COLUMNS, 9, 5, 3), "hidden": ("tanh", "prelu")}, DROPPED),
    "skips": (
        {"sizes": (COLUMNS, 6, 6, 6, 3), "hidden": ("tanh", "gelu", "tanh"),
         "skips": (None, None, Skip(1, False), Skip(1, True))}, DROPPED,
    ),
}  # fmt: skip


def results_of_passes(kernels, problem, noise, matrix, n_threads, dense=False):
    """Outputs and gradients of passes over all rows, and over parts of them in turn; X changes after each."""
    dtype, results = problem.parameters.dtype, []
    passes = kernels.prepare_gradient(problem.network, dtype, ROWS, noise, sparse=not dense)
    for part in (slice(3, 6), slice(0, ROWS), slice(0, 0), slice(7, 8), slice(20, ROWS)):
        X = (matrix.toarray() if dense else sparse_rows(matrix, dtype))[part]
        n_rows, rng = len(X), np.random.RandomState(part.stop)
        with thread_pool.limited_to(n_threads):
            results.append(passes.forward(problem.parameters, X, part.start))
        for array in (X,) if dense else (X.values, X.indices, X.row_starts):
            array[...] = 0
        for _ in range(2):
            g = rng.standard_normal((n_rows, problem.network.sizes[-1])).astype(dtype)
            results.append(np.full_like(problem.parameters, np.nan))
            with thread_pool.limited_to(n_threads):
                passes.backward(g, results[-1])
    return results


@pytest.mark.parametrize("case", PASSES)
@pytest.mark.parametrize("name, dtype", [*RUNS[:3], pytest.param(*RUNS[3], marks=pytest.mark.exhaustive)])
def test_passes_of_sparse_rows_give_the_numbers_of_the_dense_matrix(threads_pay, name, dtype, case):
    """With the same bits for every number of threads."""
    kernels, (given, noise) = registry.choose(name).kernels, PASSES[case]
    problem, wide = Problem(rows=ROWS, dtype=dtype, **given), Problem(rows=ROWS, **given)
    for matrix in MATRICES.values():
        alone, *others = (results_of_passes(kernels, problem, noise, matrix, n_threads) for n_threads in (1, 2, 3))
        expected = results_of_passes(reference, wide, noise, matrix, 1, dense=True)
        for number, (found, wanted) in enumerate(zip(alone, expected, strict=True)):
            for other in others:
                np.testing.assert_array_equal(other[number], found)
            assert found.shape == wanted.shape
            if np.any(wanted):
                assert relative_error(found, wanted) < TOLERANCE[dtype], number
            else:
                np.testing.assert_array_equal(found, wanted)
