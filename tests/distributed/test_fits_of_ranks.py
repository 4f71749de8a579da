"""Fits by several ranks equal the fit of one process, and all ranks have the same weights."""

import json

import pytest
from mpi import run_ranks

from problems import quick_first

TOLERANCE = 1e-10
LOOSE = {"table": 1e-5, "float32": 1e-6, "sums in bfloat16": 1e-6, "own rows, shuffled": 1e-9, "stream, shuffled": 1e-9}


@pytest.mark.parametrize("n_ranks", quick_first([2, 1, 3, 4]))
def test_result_is_that_of_one_process(n_ranks):
    """The largest difference of parameters and of what a fit records, for each case of programs/fits.py."""
    done = run_ranks(n_ranks, "fits.py")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    wrong = {
        case: (parameters, records, same)
        for case, (parameters, records, same) in found.items()
        if not (same and max(parameters, records) < LOOSE.get(case, TOLERANCE))
    }
    assert not wrong
    assert len(found) > 30
