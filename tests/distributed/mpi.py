"""Run a program of tests/distributed/programs on several ranks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


def mpiexec():
    """Path of mpiexec, of the package mpich next to Python or of the system."""
    pytest.importorskip("mpi4py", reason="the extra mpi is not installed", exc_type=ImportError)
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("no mpiexec: install mpich or Open MPI")
    return found


def run_ranks(n_ranks, program, *arguments, timeout=300):
    """The CompletedProcess of a program on that many ranks."""
    return run_command(n_ranks, "mpi4py", str(PROGRAMS / program), *arguments, timeout=timeout)


def run_command(n_ranks, module, *arguments, timeout=300):
    """The CompletedProcess of a Python module on that many ranks."""
    command = [mpiexec(), "-n", str(n_ranks), sys.executable, "-P", "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
