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
        self.first_ranks, self._windows = None, []
        self.most_ranks = communicator.allreduce(self.n_ranks, MPI.MAX)
        if self.most_ranks < communicator.Get_size():
            self.first_ranks = communicator.Split(0 if self.rank == 0 else MPI.UNDEFINED)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        n_sharing = sum(not mine.isdisjoint(cores) for cores in self._comm.allgather(mine))
        self.n_threads = max(1, min(allowed_threads(), len(mine) // n_sharing))

    def shared_arrays(self, dtype, *shapes):
        """Arrays that all ranks of the machine share, each aligned to a cache line."""
        dtype = np.dtype(dtype)
        sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
        bounds = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
        window = self._mpi.Win.Allocate_shared(bounds[-1] + ALIGNMENT if self.rank == 0 else 0, 1, comm=self._comm)
        self._windows.append(window)
        found = np.frombuffer(window.Shared_query(0)[0], np.uint8)
        start = self._comm.bcast(-found.ctypes.data % ALIGNMENT)
        return [
            found[start + begin : start + begin + size].view(dtype).reshape(shape)
            for begin, size, shape in zip(bounds, sizes, shapes)
        ]

    def wait(self):
        """Barrier: what the ranks of the machine have written before it, all of them can read after it."""
        self._comm.Barrier()

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
