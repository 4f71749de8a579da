"""A fit of an estimator by several ranks is resumed with the bits of an unbroken one."""

import json

from mpi import run_ranks


def test_resumed_fits_are_the_same_on_every_rank(tmp_path):
    done = run_ranks(2, "resuming.py", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = json.loads(done.stdout)
    assert len(ranks) == 2
    for found in ranks:
        assert found == {name: [True, True] for name in ("plain", "early stopping", "dropout", "adaptive")}
