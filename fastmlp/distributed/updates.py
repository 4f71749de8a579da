"""Steps from the gradients of all ranks: in parts, in memory that ranks on one machine share, or by each rank alone.

Each update has ``parameters``, from which a rank computes its gradient, and an array ``gradient`` for it. It is then
called with the number of steps before and the learning rate, or None for the optimizer's. ``store()`` brings the
TrainingState up to date.
"""

import numpy as np

from fastmlp.kernels.spec import ALIGNMENT, updates_in_parts

from .sums import CompressedSum, PlainSum, SharedSum

MOST_SHARED_BYTES = 2**25  # containers may have as little as 64 MB of shared memory


class Updates:
    """The updates of a fit, which use the same memory each time.

    Parameters
    ----------
    ranks : Ranks
    machine : Machine
        The ranks on this machine.
    """

    def __init__(self, ranks, machine):
        self._ranks, self._machine, self._sums, self._shared = ranks, machine, {}, {}

    def of(self, problem, state):
        """The update of a TrainingState that is the same on all ranks."""
        n, n_slots, dtype = state.parameters.size, len(state.slots), state.parameters.dtype
        in_parts = updates_in_parts(problem.network, state.optimizer) and self._machine.first_ranks is None
        if in_parts and self._can_share(n, dtype, 1 + n_slots):
            return SharedUpdate(self._machine, self._shared_arrays(n, n_slots, dtype), problem, state)
        return OwnUpdate(self.sum_of(n, dtype), problem, state)

    def sum_of(self, n, dtype):
        """What adds up gradients of n numbers (distributed/sums.py)."""
        if (n, dtype) not in self._sums:
            if self._ranks.parallel.compression is not None:
                self._sums[n, dtype] = CompressedSum(self._ranks, n, dtype)
            elif self._can_share(n, dtype, 1):
                self._sums[n, dtype] = SharedSum(self._machine, n, dtype)
            else:
                self._sums[n, dtype] = PlainSum(self._ranks, n, dtype)
        return self._sums[n, dtype]

    def _can_share(self, n, dtype, n_more):
        """Whether ranks share memory, with room for a vector of n numbers of each of them and for some more."""
        most_ranks, n_bytes = self._machine.most_ranks, n * np.dtype(dtype).itemsize
        room = n_bytes * (most_ranks + n_more) <= MOST_SHARED_BYTES
        return room and most_ranks > 1 and self._ranks.parallel.compression is None

    def _shared_arrays(self, n, n_slots, dtype):
        """Arrays of the machine: a row for the gradient of each rank, on its own cache lines; parameters; slots."""
        key, line = (n, n_slots, dtype), ALIGNMENT // dtype.itemsize
        if key not in self._shared:
            gradients = self._machine.n_ranks, -(-n // line) * line
            self._shared[key] = self._machine.shared_arrays(dtype, gradients, (n,), (n_slots, n))
        return self._shared[key]


class SharedUpdate:
    """Each rank of a machine adds up a part of the gradients and updates this part of the parameters, which they share.

    Parameters
    ----------
    machine : Machine
    arrays : list of ndarray
        In memory of the machine: gradients of the ranks, parameters and slots.
    problem : Problem
    state : TrainingState
    """

    def __init__(self, machine, arrays, problem, state):
        self._machine, self._state, self._part = machine, state, (machine.rank, machine.n_ranks)
        gradients, parameters, slots = arrays
        self._gradients, self.gradient = gradients, gradients[machine.rank, : parameters.size]
        self.parameters, self._slots = parameters, slots
        if machine.rank == 0:
            parameters[...], slots[...] = state.parameters, state.slots
        machine.wait()
        self._update = problem.kernels.prepare_update(problem.network, state.optimizer, parameters, slots)

    def __call__(self, step, rate):
        self._machine.wait()
        self._update(self._gradients, step, rate, self._part)
        self._machine.wait()

    def store(self):
        self._state.parameters[...], self._state.slots[...] = self.parameters, self._slots


class OwnUpdate:
    """Every rank makes the whole step, from the sum of the gradients (distributed/sums.py)."""

    def __init__(self, of_gradients, problem, state):
        self._sum, self.gradient, self.parameters = of_gradients, of_gradients.part, state.parameters
        self._update = problem.kernels.prepare_update(problem.network, state.optimizer, state.parameters, state.slots)

    def __call__(self, step, rate):
        self._update(self._sum.total(), step, rate)

    def store(self):
        """Nothing: the arrays are those of the state."""
