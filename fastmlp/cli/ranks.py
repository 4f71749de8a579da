"""The option --mpi: a command that several processes run together."""

import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from fastmlp.distributed.data_parallel import DataParallel
from fastmlp.distributed.errors import is_on_all_ranks
from fastmlp.distributed.fits import ALONE, fit_of
from fastmlp.extras import from_extra


@contextmanager
def of_all_ranks(mpi):
    """Context manager: how the fits of a command are run (distributed/fits.py). Only rank 0 prints, errors too."""
    if not mpi:
        yield ALONE
        return
    with from_extra("mpi", "--mpi needs mpi4py"):
        try:
            from mpi4py import MPI
        except RuntimeError as error:  # no library of MPI
            raise ImportError(f"--mpi needs a library of MPI, such as that of 'pip install mpich': {error}") from error
    fit = fit_of(DataParallel(MPI.COMM_WORLD))
    if fit.leads:
        with fit.training("the command"):
            yield fit
        return
    try:
        with (
            open(os.devnull, "w") as nowhere, fit.training("the command"), redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):  # fmt: skip
            yield fit
    except Exception as error:
        if not is_on_all_ranks(error):
            raise
        sys.exit(1)
