"""Fits of several ranks that are interrupted, lose a rank, or go on with another number of ranks."""

import time

import numpy as np
import pytest
from mpi import run_ranks

import fastmlp

SECONDS = 60  # a rank that waits for ever takes longer


def run(n_ranks, ending, path, n_rows=400):
    return run_ranks(n_ranks, "endings.py", ending, str(path), str(n_rows), timeout=SECONDS)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Function that returns the model after that many epochs of a fit by one rank."""
    path = tmp_path_factory.mktemp("unbroken") / "model"

    def after(epochs, n_rows=400):
        path.unlink(missing_ok=True)
        assert run(1, str(epochs), path, n_rows).returncode == 0
        return fastmlp.load(path)

    return after


@pytest.mark.exhaustive
def test_checkpoint_goes_on_with_another_number_of_ranks(tmp_path, unbroken):
    for n_ranks, epochs in ((2, 2), (3, 1), (1, 1)):
        done = run(n_ranks, str(epochs), tmp_path / "model")
        assert done.returncode == 0, done.stderr
    found, expected = fastmlp.load(tmp_path / "model"), unbroken(4)
    assert found.epoch == expected.epoch == 4
    np.testing.assert_allclose(found.parameters, expected.parameters, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=0, atol=1e-10)


@pytest.mark.exhaustive
def test_ctrl_c_on_one_rank_stops_all_in_the_same_place(tmp_path, unbroken):
    """And the epoch goes on from there, on another number of ranks."""
    done = run(2, "interrupt", tmp_path / "model", 4000)
    assert done.returncode == 0, done.stderr
    stopped = fastmlp.load(tmp_path / "model")
    assert (stopped.epoch, stopped._state.position) == (1, 2 * 20 * 8)
    assert run(3, "1", tmp_path / "model", 4000).returncode == 0
    found, expected = fastmlp.load(tmp_path / "model"), unbroken(stopped.epoch + 1, 4000)
    assert found.epoch == expected.epoch
    np.testing.assert_allclose(found.parameters, expected.parameters, rtol=0, atol=1e-10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("ending", ["interrupt all", "interrupt stream"])
def test_ctrl_c_ends_other_fits_in_the_same_place(tmp_path, ending):
    done = run(3, ending, tmp_path / "none")
    assert done.returncode == 0, done.stderr


def test_fits_in_threads_end_the_job(tmp_path):
    done = run(2, "threads", tmp_path / "none")
    assert done.returncode != 0
    assert "another thread of this process runs a fit with the same communicator" in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("ending", ["kill", "raise", "raise before"])
def test_a_lost_rank_ends_the_job_and_the_last_checkpoint_is_good(tmp_path, ending):
    start = time.monotonic()
    done = run(3, ending, tmp_path / "model")
    assert done.returncode != 0
    assert time.monotonic() - start < SECONDS
    assert ending == "kill" or "MemoryError: not enough" in done.stderr
    if ending != "raise before":
        assert fastmlp.load(tmp_path / "model").epoch >= 2
        assert run(2, "1", tmp_path / "model").returncode == 0
