"""Fits that end in several ways, by the first argument; the others are the path of a model file and a number of rows.

"train N": N epochs with a checkpoint after each, continued from the file if it exists. "interrupt": Ctrl-C on the last
rank, in the middle of an epoch. "interrupt stream": in the middle of an endless one, over small blocks. "interrupt
all": Ctrl-C on all ranks, one after the other, in a loop of partial_fit.
"threads": two fits with the same communicator at the same time. "kill", "raise", "raise before": the last rank dies or
raises after two checkpoints, or before the fit.
"""

import os
import signal
import sys
import threading
import time
import warnings
from itertools import count
from pathlib import Path

import numpy as np
from mpi4py import MPI

import fastmlp
from fastmlp import MLP, Checkpoint, Layer, MLPRegressor
from fastmlp.distributed.epochs import RankEpochs
from fastmlp.training import chunking

COMM = MPI.COMM_WORLD
LAST = COMM.rank == COMM.size - 1
chunking.CHUNK_SECONDS = 0.002  # Ctrl-C is noticed after each chunk of steps


def model_of(path, communicator):
    """The model in a file, or a new one."""
    model = MLP([Layer(16, "tanh", dropout=0.1), Layer(1, "identity")], dtype="float64", random_state=0)
    if path.exists():
        model = fastmlp.load(path)
    model.communicator, model.backend = communicator, "cython"
    return model


def when(condition, act):
    """Call ``act`` in a thread as soon as a condition holds."""

    def wait():
        while not condition():
            time.sleep(0.001)
        act()

    threading.Thread(target=wait, daemon=True).start()


def partial_fits(X, Y):
    """Repeat partial_fit until Ctrl-C, which comes a little later on each rank."""
    model, begun = MLPRegressor(random_state=0, backend="cython", communicator=COMM), []

    def interrupt():
        time.sleep(0.2 + 0.01 * COMM.rank)
        os.kill(os.getpid(), signal.SIGINT)

    when(lambda: begun, interrupt)
    try:
        while True:
            begun.append(model.partial_fit(X, Y, epochs=100))
    except KeyboardInterrupt:
        pass
    time.sleep(0.2)
    assert len(set(COMM.allgather((len(begun), model._net.parameters.tobytes())))) == 1


def interrupt_second_epoch(model):
    """Ctrl-C on the last rank, in the second chunk of steps of the second epoch."""
    run_chunk = RankEpochs._run_chunk

    def interrupted(epochs):
        epochs._chunk_size.batches = 20
        if LAST and model.epoch == 1 and epochs.state.position == 20 * epochs.batch_size:
            signal.raise_signal(signal.SIGINT)
        run_chunk(epochs)

    RankEpochs._run_chunk = interrupted


def endless(X, Y):
    """Blocks of a batch each, for an epoch without end, in which Ctrl-C comes on the last rank."""
    for number in count():
        if LAST and number == 20:
            signal.raise_signal(signal.SIGINT)
        yield X[:10], Y[:10]


def fits_in_threads(X, Y):
    models = [model_of(Path("none"), COMM) for _ in range(2)]
    threads = [threading.Thread(target=model.fit, args=(X, Y, 100_000)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(ending, path, n_rows):
    path, rng = Path(path), np.random.default_rng(0)
    X = rng.standard_normal((int(n_rows), 20))
    Y = np.sin(X[:, :1])
    COMM.Barrier()  # a rank that starts late must not see a checkpoint of the others
    model = model_of(path, COMM)
    if ending.isdigit():
        model.fit(X, Y, epochs=int(ending), batch_size=8, callbacks=Checkpoint(path))
        return
    if ending == "interrupt all":
        partial_fits(X, Y.ravel())
        return
    if ending == "interrupt stream":
        model.fit_stream(endless(X, Y))
        assert set(COMM.allgather((model.interrupted, model.parameters.tobytes()))) == {
            (True, model.parameters.tobytes())
        }
        return
    if ending == "threads":
        fits_in_threads(X, Y)
        return
    if ending == "raise before" and LAST:
        raise MemoryError("not enough")
    has_checkpoint = lambda: path.exists() and fastmlp.load(path).epoch >= 2  # noqa: E731
    if ending == "kill" and LAST:
        when(has_checkpoint, lambda: os.kill(os.getpid(), signal.SIGKILL))
    if ending == "raise" and LAST:

        def broken(*given):
            raise MemoryError("not enough")

        when(has_checkpoint, lambda: setattr(RankEpochs, "_run_chunk", broken))
    if ending == "interrupt":
        interrupt_second_epoch(model)
    model.fit(X, Y, epochs=100_000, batch_size=8, callbacks=None if ending == "interrupt" else Checkpoint(path))
    if COMM.allgather(model.interrupted) == [True] * COMM.size and COMM.rank == 0:
        model.save(path)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
