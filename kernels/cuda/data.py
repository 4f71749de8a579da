"""Rows on their way to the device: those that are there stay, others come in blocks while the last are learned from."""

from functools import lru_cache

import numpy as np
from numba import cuda

from . import devices
from .transfers import Room

STREAMED_BYTES = 2**27  # of rows in a block that comes by itself
KEPT_FREE = 0.5  # share of free memory that is left to workspaces, and to rows in bfloat16


def block_rows(X):
    """How many rows come at a time."""
    return max(1, STREAMED_BYTES // (X.shape[1] * X.dtype.itemsize))


def is_there(array):
    """Whether an array lies in the device's memory."""
    return cuda.is_cuda_array(array)


def on_device(array, stream=0):
    """A device array: a view of the given one, or a copy. Kernels want at least one number."""
    if is_there(array):
        return array if hasattr(array, "copy_to_host") else cuda.as_cuda_array(array)
    return cuda.to_device(array if array.size else np.zeros((1,) * array.ndim, array.dtype), stream)


def on_host(array):
    """The array, or None, in the host's memory."""
    return on_device(array).copy_to_host() if array is not None and is_there(array) else array


def constant(array):
    """A device copy of a few numbers that nobody writes to, from the last copies where they are the same."""
    array = np.asarray(array, np.float64) if len(array) else np.zeros(1)
    return constant_of(array.tobytes())


@lru_cache(maxsize=256)
def constant_of(numbers):
    return cuda.to_device(np.frombuffer(numbers))


def fit(*arrays):
    """Whether there is room for those of the arrays (or None) that are not on the device."""
    n_bytes = sum(array.nbytes for array in arrays if array is not None and not is_there(array))
    return n_bytes <= (1 - KEPT_FREE) * devices.free_bytes()


def hold(*arrays):
    """The arrays (or None) on the device.

    Each is a new object: one that is the same in the next call has the same contents.
    """
    views = (cuda.as_cuda_array(array) if array is not None and is_there(array) else array for array in arrays)
    return tuple(None if array is None else on_device(array) for array in views)


class _Slot:
    """Page-locked room for a block of rows, its place on the device, and how far both have been used."""

    def __init__(self, arrays, height):
        self.here = [cuda.pinned_array((height, *array.shape[1:]), array.dtype) for array in arrays]
        self.there = [cuda.device_array(array.shape, array.dtype) for array in self.here]
        self.copied, self.used = cuda.event(), cuda.event()

    def take(self, arrays, rows, copies, stream):
        """Queue the copy of some rows of each array; ``stream`` goes on when it is done."""
        n = len(rows)
        self.copied.synchronize()
        for array, here in zip(arrays, self.here):
            np.take(array, rows, axis=0, out=here[:n], mode="clip")
        self.used.wait(copies)
        for here, there in zip(self.here, self.there):
            there[:n].copy_to_device(here[:n], stream=copies)
        self.copied.record(copies)
        self.copied.wait(stream)
        return [there[:n] for there in self.there]


@lru_cache(maxsize=4)
def nothing(dtype):
    """Stands for weights that are not given."""
    return cuda.to_device(np.ones(1, dtype))


class Feed:
    """The way of rows to the device, and the room that it takes, which is kept from call to call."""

    def __init__(self):
        self._order, self._slots, self._kinds = Room(np.int64), [], None

    def blocks(self, X, y, sample_weight, order, batch_size, stream):
        """(X, y, sample_weight, order) on the device, in blocks of whole batches: one block if X is there already.

        What is done with a block is queued on ``stream`` before the next is asked for.
        """
        if is_there(X):
            weight = nothing(y.dtype) if sample_weight is None else sample_weight
            there = order if is_there(order) else self._order.copy_of(order, stream)
            yield [*(on_device(array, stream) for array in (X, y, weight)), there]
            return
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        height = min(max(1, block_rows(X) // batch_size) * batch_size, len(order))
        self._make_slots(arrays, height, 1 if height == len(order) else 2)
        unweighted = nothing(y.dtype)
        for number, start in enumerate(range(0, len(order), height)):
            slot, rows = self._slots[number % len(self._slots)], order[start : start + height]
            X_there, y_there, *weight_there = slot.take(arrays, rows, self._copies, stream)
            yield X_there, y_there, weight_there[0] if weight_there else unweighted, self._in_turn[: len(rows)]
            slot.used.record(stream)

    def _make_slots(self, arrays, height, count):
        kinds = height, *((array.shape[1:], array.dtype) for array in arrays)
        if kinds != self._kinds:
            self._slots, self._kinds = [], kinds
            self._copies, self._in_turn = cuda.stream(), cuda.to_device(np.arange(height))
        self._slots += [_Slot(arrays, height) for _ in range(count - len(self._slots))]
