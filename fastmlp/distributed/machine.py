"""Machine: the ranks that run on the same machine, and memory that they share."""

import math
import os

import numpy as np

from fastmlp.backends.threads import allowed_threads
from fastmlp.kernels.spec import ALIGNMENT


def ranks_here(communicator):
    """The part of a communicator whose ranks can share memory."""
    from mpi4py import MPI

    return communicator.Split_type(MPI.COMM_TYPE_SHARED)


def native_barrier():
    """The barrier of the compiled engine, or None if it was not built.

    Ranks that wait long in it give way to other processes, and so to ranks on the same core, unlike in MPI's.
    """
    try:
        from fastmlp.kernels.cpu.cython import wait_for_ranks
    except ImportError:
        return None
    return wait_for_ranks


class Machine:
    """The ranks of a communicator on this machine.

    Attributes
    ----------
    rank, n_ranks : int
        Among those on this machine.
    most_ranks : int
        On any machine.
    first_ranks : communicator or None
        The first ranks of all machines, on each of them; None if all ranks are on one machine. On other ranks it is
        MPI.COMM_NULL.
    n_threads : int
        Number of threads for this rank: its share of the cores that it may use.
    """

    def __init__(self, communicator):
        from mpi4py import MPI

        self._mpi, self._comm = MPI, ranks_here(communicator)
        self.rank, self.n_ranks = self._comm.Get_rank(), self._comm.Get_size()
        self.first_ranks, self._windows, barrier = None, [], native_barrier()
        self._barrier = barrier if self._comm.allreduce(barrier is not None, MPI.MIN) else None
        self.most_ranks = communicator.allreduce(self.n_ranks, MPI.MAX)
        if self.most_ranks < communicator.Get_size():
            self.first_ranks = communicator.Split(0 if self.rank == 0 else MPI.UNDEFINED)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        n_sharing = sum(not mine.isdisjoint(cores) for cores in self._comm.allgather(mine))
        self.n_threads = max(1, min(allowed_threads(), len(mine) // n_sharing))

    def shared_arrays(self, dtype, *shapes):
        """Arrays that all ranks of the machine share, each aligned to a cache line.

        They come with a new counter for ``wait``.
        """
        dtype = np.dtype(dtype)
        sizes = [ALIGNMENT, *(math.prod(shape) * dtype.itemsize for shape in shapes)]
        bounds = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
        window = self._mpi.Win.Allocate_shared(bounds[-1] + ALIGNMENT if self.rank == 0 else 0, 1, comm=self._comm)
        self._windows.append(window)
        found = np.frombuffer(window.Shared_query(0)[0], np.uint8)
        if self.rank == 0:
            found[: 2 * ALIGNMENT] = 0
        start = self._comm.bcast(-found.ctypes.data % ALIGNMENT)
        counter, *arrays = (found[start + begin : start + begin + size] for begin, size in zip(bounds, sizes))
        self._counter, self._n_waits = counter.ctypes.data, 0
        return [array.view(dtype).reshape(shape) for array, shape in zip(arrays, shapes)]

    def wait(self):
        """Barrier: what the ranks of the machine have written to shared arrays before it, all can read after it."""
        if self._barrier is None:
            self._comm.Barrier()
        else:
            self._n_waits += 1
            self._barrier(self._counter, self.n_ranks, self._n_waits)

    def add_up_between(self, array):
        """On the first rank of each machine, replace an array by its sum over the machines."""
        if self.rank == 0:
            self.first_ranks.Allreduce(self._mpi.IN_PLACE, array)

    def free(self):
        """Release memory and communicators; all ranks call it."""
        for window in self._windows:
            window.Free()
        if self.first_ranks is not None and self.rank == 0:
            self.first_ranks.Free()
        self._comm.Free()
