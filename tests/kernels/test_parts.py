"""prepare_part: the gradients of the parts of a batch add up to that of the batch, random numbers included."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from test_features import FEATURES, OF_NETWORKS
from test_sparse_rows import COLUMNS, sparse_rows

from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import NO_PENALTY, Batches, Noise, Part, Penalty
from problems import COMPILED, DTYPES, Problem, grid, relative_error

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
BOUNDS = 0, 0, 13, 13, 14, 40  # of the parts, two of which have no rows
STEP = 3
WEIGHTS = {
    "no weights": lambda problem: None,
    "weights": lambda problem: np.where(problem.order < 13, 0, problem.weight),  # all are 0 in some part or other
    "weights of targets": lambda problem: np.abs(problem.y) + problem.weight[:, None],
}


def added_up(kernels, problem, weight, penalty, noise, bounds, X=None):
    """(loss, penalty, gradient), summed over parts of the batch whose order is that of the problem."""
    X, network = problem.X if X is None else X, problem.network
    sums = np.zeros(2), np.zeros(problem.parameters.size)
    total = float(len(problem.order)) if weight is None else float(weight.mean(axis=tuple(range(1, weight.ndim))).sum())
    gradient = np.full_like(problem.parameters, np.nan)
    of_part = kernels.prepare_part(network, problem.parameters, gradient, 40, penalty, noise)
    for start, stop in pairwise(bounds):
        batch = Batches(X, problem.y, problem.order[start:stop], 40, weight)
        found = of_part(batch, STEP, Part(start, total))
        for array, more in zip(sums, (found, gradient)):
            array += more
    return *sums[0], sums[1]


@pytest.fixture(params=COMPILED)
def compiled(request):
    from fastmlp.backends import registry

    return registry.choose(request.param).kernels


def assert_equal(found, expected, dtype):
    for mine, yours in zip(found, expected):
        assert relative_error(mine, yours) < TOLERANCE[dtype]


@pytest.mark.parametrize("feature, dtype, weights", grid(OF_NETWORKS, DTYPES, WEIGHTS, n=2))
def test_parts_add_up_to_the_batch(kernels, feature, dtype, weights):
    """Against the reference on the whole batch, in float64."""
    given, asked, _ = FEATURES[feature]
    penalty, noise = asked.get("penalty", NO_PENALTY)._replace(alpha=0.3), asked.get("noise")
    problem, wide = (Problem(**given, dtype=one) for one in (dtype, "float64"))
    weight = WEIGHTS[weights](problem)
    wide_weight = None if weight is None else weight.astype("f8")
    expected = added_up(reference, wide, wide_weight, penalty, noise, (0, 40))
    assert_equal(added_up(kernels, problem, weight, penalty, noise, BOUNDS), expected, dtype)


def test_the_whole_batch_is_one_part():
    """The reference itself: at step 0, where ``loss_and_gradient`` draws its random numbers."""
    problem, penalty, noise = Problem(), Penalty(0.1, 0.2, 0.3, 0.4), Noise(1, 0.1, 0.1, (0.2,))
    gradient = np.empty_like(problem.parameters)
    of_part = reference.prepare_part(problem.network, problem.parameters, gradient, 40, penalty, noise)
    found = of_part(problem.batches(40, problem.weight, np.arange(40)), 0, Part(0, problem.weight.sum()))
    arrays = problem.X, problem.y, problem.weight
    expected = reference.loss_and_gradient(problem.network, problem.parameters, *arrays, penalty, noise)
    assert_equal((*found, gradient), expected, "float64")


def test_parts_of_sparse_rows(compiled):
    rng, noise = np.random.RandomState(0), Noise(2, 0.0, 0.0, (0.3,))
    X = sparse.random(40, COLUMNS, 0.1, "csr", random_state=rng, data_rvs=rng.standard_normal)
    problem = Problem(sizes=(COLUMNS, 13, 3))
    expected = added_up(reference, problem, None, Penalty(alpha=0.3), noise, (0, 40), X.toarray())
    found = added_up(compiled, problem, None, Penalty(alpha=0.3), noise, BOUNDS, sparse_rows(X, "f8"))
    assert_equal(found, expected, "float64")


def test_other_calls_do_not_notice_a_part(compiled, monkeypatch):
    """They share its buffers; and threads do not change its numbers."""
    monkeypatch.setattr(thread_pool, "cores", lambda: 4)
    problem, noise = Problem(hidden=("gelu", "prelu"), sizes=(60, 90, 90, 3), rows=700), Noise(1, 0.1, 0.1, (0.2, 0.2))
    gradients = lambda: compiled.loss_and_gradient(  # noqa: E731
        problem.network, problem.parameters, problem.X, problem.y, noise=noise
    )
    before, found = gradients(), []
    for n_threads in (1, 3):
        with thread_pool.limited_to(n_threads):
            gradient = np.empty_like(problem.parameters)
            of_part = compiled.prepare_part(problem.network, problem.parameters, gradient, 700, NO_PENALTY, noise)
            found.append((*of_part(problem.batches(700), STEP, Part(17, 1000.0)), gradient))
    for given, expected in (found, (gradients(), before)):
        for mine, yours in zip(given, expected):
            np.testing.assert_array_equal(mine, yours)
