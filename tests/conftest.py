"""Shared by all tests: the backends, small random problems, and data that a machine may or may not have."""

import os
from pathlib import Path

import numpy as np
import pytest
from fastmlp.kernels.network import Network, aligned_zeros
from fastmlp.kernels.rules import ACTIVATIONS, LOSSES

import fastmlp
from fastmlp import backends

COMPILED = ("cython", "numba")
DTYPES = ("float32", "float64")

# Every loss with every output activation it can have.
OUTPUTS = [
    (loss, activation)
    for loss, row in LOSSES.items()
    for activation in ([row.link] if row.link else ACTIVATIONS)
]  # fmt: skip
HIDDEN = [name for name, row in ACTIVATIONS.items() if not row.rowwise]


def pytest_report_header():
    return f"fastmlp from {Path(fastmlp.__file__).parent}"


@pytest.fixture
def data_folder():
    """Real data named by FASTMLP_DATA; tests that need it say so where it is not there."""
    folder = os.environ.get("FASTMLP_DATA")
    if not folder:
        pytest.skip("needs the folder of data sets that the environment variable FASTMLP_DATA names")
    return Path(folder)


@pytest.fixture(params=backends.MODULES)
def backend(request):
    """The name of each backend in turn. All must work where the suite runs."""
    assert backends.why_not(request.param) is None
    return request.param


@pytest.fixture
def kernels(backend):
    """The module of each backend in turn."""
    return backends.choose(backend).module


class Problem:
    """A network with random weights, and rows it could learn from."""

    def __init__(self, loss="squared_error", output="identity", hidden=("tanh",), sizes=(5, 7, 3), rows=40,
                 dtype="float64", seed=0):  # fmt: skip
        rng = np.random.RandomState(seed)
        self.network = Network(tuple(sizes), (*hidden, output), loss)
        self.parameters = aligned_zeros(self.network.n_parameters, dtype)
        self.parameters[:] = rng.uniform(-0.6, 0.6, self.parameters.size)
        self.X = rng.standard_normal((rows, sizes[0])).astype(dtype)
        self.y = targets(loss, rng, rows, sizes[-1]).astype(dtype)
        self.weight = rng.uniform(0.2, 2, rows).astype(dtype)
        self.order = rng.permutation(rows)


def targets(loss, rng, rows, columns):
    """Targets in the loss's own range."""
    if loss == "categorical_cross_entropy":
        return np.eye(columns)[rng.randint(columns, size=rows)]
    low, high = LOSSES[loss].targets
    if (low, high) == (0, 1):
        return rng.randint(2, size=(rows, columns)).astype(float)
    return np.clip(rng.standard_normal((rows, columns)) * 2, low, high)


def relative_error(found, expected):
    """Largest difference over the largest expected magnitude."""
    expected = np.asarray(expected, np.float64)
    return np.abs(np.asarray(found, np.float64) - expected).max() / max(np.abs(expected).max(), 1e-300)
