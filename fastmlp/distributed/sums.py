"""Sums of gradients over the ranks: by MPI, through memory that ranks on one machine share, or rounded to bfloat16.

Each has an array ``part``, which a rank fills with its gradient, and ``total()``, which returns the sum, the same bits
on all ranks. It is valid until the next call of ``total`` on any rank.
"""

import numpy as np

from fastmlp.kernels.spec import ALIGNMENT, aligned_zeros


class PlainSum:
    """One allreduce."""

    def __init__(self, ranks, n, dtype):
        self._ranks, self.part = ranks, aligned_zeros(n, dtype)

    def total(self):
        self._ranks.allreduce(self.part)
        return self.part


class SharedSum:
    """Each rank of a machine adds up a slice of the gradients of all of them, in memory that they share.

    MPI's own allreduce copies the gradients through small buffers. Between several machines the first rank of each
    makes an allreduce of the machines' sums.

    Parameters
    ----------
    machine : Machine
        The ranks on this machine.
    n, dtype
        Of the gradient.
    """

    def __init__(self, machine, n, dtype):
        self._machine = machine
        *self._parts, self._total = machine.shared_arrays(dtype, *[(n,)] * (machine.n_ranks + 1))
        self.part, line = self._parts[machine.rank], ALIGNMENT // np.dtype(dtype).itemsize
        lines = -(-n // line)
        start, stop = (min(n, lines * rank // machine.n_ranks * line) for rank in (machine.rank, machine.rank + 1))
        self._slices = [part[start:stop] for part in self._parts]
        self._slice = self._total[start:stop]

    def total(self):
        machine, (first, *others) = self._machine, self._slices
        machine.wait()
        if not others:
            self._slice[...] = first
        for other in others:
            first = np.add(first, other, out=self._slice)
        if machine.first_ranks is not None:
            machine.wait()
            machine.add_up_between(self._total)
        machine.wait()
        return self._total


class CompressedSum:
    """The sum of gradients rounded to bfloat16, itself rounded to bfloat16. Each rank adds up one part of them."""

    def __init__(self, ranks, n, dtype):
        self._ranks, self.part, self._n = ranks, aligned_zeros(n, dtype), n
        self._numbers = aligned_zeros(n, np.float32)
        self._bits, self._received = np.zeros((2, ranks.n_ranks, -(-n // ranks.n_ranks)), np.uint16)

    def total(self):
        bits, numbers = self._bits.reshape(-1)[: self._n], self._numbers
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is reported once, as such
            numbers[...] = self.part
        round_to_bfloat16(numbers, bits)
        self._ranks.alltoall(self._bits, self._received)
        with np.errstate(over="ignore", invalid="ignore"):
            own = from_bfloat16(self._received).sum(axis=0)
        rounded = np.empty(len(own), np.uint16)
        round_to_bfloat16(own, rounded)
        self._ranks.allgather_into(rounded, self._bits)
        self.part[...] = from_bfloat16(bits)
        return self.part


def round_to_bfloat16(numbers, bits):
    """Store the bits of float32 numbers rounded to bfloat16, ties to even, and overwrite the numbers.

    Processors make NaN with few bits set, to which nothing happens.
    """
    found = numbers.view(np.uint32)
    odd = found >> np.uint32(16)
    odd &= np.uint32(1)
    odd += np.uint32(0x7FFF)
    found += odd
    found >>= np.uint32(16)
    bits[...] = found


def from_bfloat16(bits):
    """The numbers with these bits, in float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
