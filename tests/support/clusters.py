"""A cluster of dask on this machine, with two workers of one thread, and which results of fits must be equal."""

import logging

import joblib
import pytest
from numpy.testing import assert_array_equal

from fastmlp import MLP


@pytest.fixture(scope="session")
def dask_client():
    """The client of a cluster of two processes with one thread each, on loopback."""
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster: dask[distributed]")
    for name in ("scheduler", "nanny", "client"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)  # workers are killed on purpose
    dask = pytest.importorskip("dask")
    dask.config.set({"distributed.comm.timeouts.connect": "3s"})  # of attempts to reach a worker that has been killed
    # Whenever a worker starts, also in place of a killed one, dask sets these in this process: by default
    # OMP_NUM_THREADS=1, which limits the fits of all tests after it.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def on_dask(dask_client):
    """joblib's backend is dask."""
    with joblib.parallel_config(backend="dask"):
        yield dask_client


def assert_same(found, expected):
    """Compare all that a fit leaves in a model: weights, curves, the optimizer's state and random numbers."""
    states = [model._state if isinstance(model, MLP) else model._net.training for model in (found, expected)]
    assert_array_equal(*(parameters_of(model) for model in (found, expected)))
    assert (states[0] is None) == (states[1] is None)
    if states[0] is not None:
        assert_array_equal(states[0].slots, states[1].slots)
        assert (states[0].step, states[0].epoch, states[0].seed) == (states[1].step, states[1].epoch, states[1].seed)
        assert states[0].optimizer == states[1].optimizer
    for name in ("history", "loss_curve_", "n_iter_", "t_", "best_loss_", "classes_", "diverged", "backend_reason_"):
        assert_array_equal(getattr(found, name, None), getattr(expected, name, None))
    if isinstance(found, MLP):
        assert_array_equal(found._random_state.get_state()[1], expected._random_state.get_state()[1])


def parameters_of(model):
    return model.parameters if isinstance(model, MLP) else model._net.parameters
