"""A fit of all ranks that mpiexec started, which kills.py ends by force: killed_ranks.py FOLDER [NOTE].

It goes on from the file "m" of the folder. Each rank writes its process id there before the fit. NOTE is a file for
``record``.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI as mpi
from recorded_files import record

import fastmlp
from fastmlp import MLP, Checkpoint, Layer

EPOCHS = 20


def main(folder, note=None):
    comm, path, rng = mpi.COMM_WORLD, folder / "m", np.random.default_rng(0)
    X = rng.standard_normal((120, 8))
    Y = np.sin(X[:, :1])
    model = MLP([Layer(16, "tanh", dropout=0.1), Layer(1, "identity")], dtype="float64", random_state=0)
    if path.exists():
        model = fastmlp.load(path)
    model.communicator, model.backend = comm, "cython"
    (folder / f"writing-{comm.rank}").write_text(str(os.getpid()))
    comm.Barrier()
    (folder / f"writing-{comm.rank}").rename(folder / f"rank-{comm.rank}")
    if note is not None and comm.rank == 0:
        record(note)
    begun = time.monotonic()
    if model.epoch < EPOCHS:
        model.fit(X, Y, EPOCHS - model.epoch, 40, callbacks=Checkpoint(path))
    if comm.rank == 0:
        (folder / "seconds").write_text(str(time.monotonic() - begun))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
