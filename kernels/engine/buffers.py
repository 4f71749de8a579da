"""Working memory of one call of the engine: shared buffers, and buffers for each thread."""

from ctypes import addressof, sizeof

import numpy as np

from fastmlp.kernels.spec import ALIGNMENT, aligned_zeros

from .records import Run, Worker
from .update import BLOCK


class Buffers:
    """Working memory of one call: shared buffers, and buffers for each thread."""

    def __init__(self, plan, n_threads):
        self.counter = aligned_zeros(8, np.int64)  # a cache line of its own
        self.workspaces = [aligned_zeros(plan.workspace, plan.dtype) for _ in range(plan.n_workspaces(n_threads))]
        # The gradient of an input stage comes first, where those of the groups have none.
        self.sums = aligned_zeros(max(plan.n_groups * plan.n_parameters, plan.n_staged), plan.dtype)
        self.scratch = [aligned_zeros(plan.scratch, plan.dtype) for _ in range(n_threads)]
        self.offsets = [np.zeros(2 * plan.batch, np.int64) for _ in range(n_threads)]
        self._heads = [np.zeros(plan.n_heads, np.int64) for _ in range(n_threads)]
        self._entries, self._n_entries = [], 0
        self.by_row = np.zeros((3, plan.batch))  # losses, penalties, weights
        self.packed = aligned_zeros(plan.packed, plan.dtype)
        self.tile_states = aligned_zeros((n_threads, ALIGNMENT // 8), np.int64)
        self.squares = np.zeros(max(plan.n_squares, -(-plan.n_parameters // BLOCK)))
        self.run = Run(
            layout=addressof(plan.layout), counter=self.counter.ctypes.data, sums=self.sums.ctypes.data,
            losses=self.by_row[0].ctypes.data, penalties=self.by_row[1].ctypes.data,
            weights=self.by_row[2].ctypes.data, squares=self.squares.ctypes.data, packed=self.packed.ctypes.data,
        )  # fmt: skip
        lines = aligned_zeros((n_threads, -(-sizeof(Worker) // ALIGNMENT) * ALIGNMENT), np.uint8)
        self.workers = [Worker.from_buffer(line) for line in lines]  # no two in the same line of a cache
        for thread, worker in enumerate(self.workers):
            worker.run, worker.thread = addressof(self.run), thread
            worker.workspace = self.workspaces[thread % len(self.workspaces)].ctypes.data
            worker.row_offsets, worker.scratch = self.offsets[thread].ctypes.data, self.scratch[thread].ctypes.data
            worker.tile_state, worker.heads = self.tile_states[thread].ctypes.data, self._heads[thread].ctypes.data
        self._calls = [(addressof(worker), plan.like) for worker in self.workers]
        self.address = addressof(self.run)
        self.user = None  # whose constants run holds
        arrays = *self.workspaces, *self.scratch, *self._heads, self.sums, self.packed
        self.n_bytes, self._dtype = sum(array.nbytes for array in arrays), plan.dtype

    def describe(self, extras, noise):
        """Store the extras and the noise of a call."""
        run = self.run
        run.extras, run.noisy, run.seed = extras.address, noise is not None, 0 if noise is None else noise.seed

    def reserve(self, n_nonzeros):
        """Make room for the lists of a batch of sparse rows with that many nonzeros."""
        if n_nonzeros < self._n_entries:
            return
        self._n_entries = n_nonzeros + 1  # they count from 1
        numbers = np.empty((len(self.workers), 2, self._n_entries), np.int64)
        values = np.empty((len(self.workers), self._n_entries), self._dtype)
        for worker, (following, rows), own in zip(self.workers, numbers, values):
            worker.following, worker.entry_rows, worker.entry_values = (
                array.ctypes.data for array in (following, rows, own)
            )
        self.n_bytes += numbers.nbytes + values.nbytes
        self._entries = numbers, values

    def begin(self, n_threads):
        """Prepare for a call in that many threads."""
        self.counter[0], self.run.n_threads = 0, n_threads

    def arguments_of(self, thread):
        """The arguments of an entry point for one thread."""
        return self._calls[thread]
