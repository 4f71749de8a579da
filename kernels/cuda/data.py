"""Transfer of samples to the device: device arrays are used in place, others are copied, in blocks if they are large.

The copy of a block overlaps with training on the previous one.
"""

from functools import lru_cache

import numpy as np
from numba import cuda

from fastmlp.kernels.spec import Batches

from . import devices
from .transfers import GrowingBuffer

BLOCK_BYTES = 2**27  # of X in a block
RESERVED = 0.5  # share of the free memory that is left to workspaces and to copies of X in bfloat16


def rows_per_block(X):
    return max(1, BLOCK_BYTES // (X.shape[1] * X.dtype.itemsize))


def is_on_device(array):
    return cuda.is_cuda_array(array)


def to_device(array, stream=0):
    """Return a device array: a view of a device array, a copy of a host array. Kernels need at least one element."""
    if is_on_device(array):
        return array if hasattr(array, "copy_to_host") else cuda.as_cuda_array(array)
    return cuda.to_device(array if array.size else np.zeros((1,) * array.ndim, array.dtype), stream)


def to_host(array):
    """Return a host array: a copy of a device array, anything else (also None) unchanged."""
    return to_device(array).copy_to_host() if array is not None and is_on_device(array) else array


def constant(values):
    """Return a read-only device array of a few float64 values, from a cache if the same values were copied before."""
    values = np.asarray(values, np.float64) if len(values) else np.zeros(1)
    return constant_from_bytes(values.tobytes())


@lru_cache(maxsize=256)
def constant_from_bytes(values):
    return cuda.to_device(np.frombuffer(values))


def fits_on_device(*arrays):
    """Whether there is enough free memory to copy those of the arrays (or None) that are on the host."""
    n_bytes = sum(array.nbytes for array in arrays if array is not None and not is_on_device(array))
    return n_bytes <= (1 - RESERVED) * devices.free_bytes()


def hold(*arrays):
    """Return the arrays (or None) on the device.

    Each result is a new object: while later calls pass the same object, its contents have not changed.
    """
    views = (cuda.as_cuda_array(array) if array is not None and is_on_device(array) else array for array in arrays)
    return tuple(None if array is None else to_device(array) for array in views)


class _StagingBuffer:
    """Page-locked host memory and device memory for one block, and events for when each may be reused."""

    def __init__(self, arrays, height):
        self.host = [cuda.pinned_array((height, *array.shape[1:]), array.dtype) for array in arrays]
        self.device = [cuda.device_array(array.shape, array.dtype) for array in self.host]
        self.copied, self.used = cuda.event(), cuda.event()

    def load(self, arrays, rows, copy_stream, stream):
        """Queue the copy of the given rows of each array; ``stream`` waits until it is done."""
        n = len(rows)
        self.copied.synchronize()
        for array, host in zip(arrays, self.host):
            np.take(array, rows, axis=0, out=host[:n], mode="clip")
        self.used.wait(copy_stream)
        for host, device in zip(self.host, self.device):
            device[:n].copy_to_device(host[:n], stream=copy_stream)
        self.copied.record(copy_stream)
        self.copied.wait(stream)
        return [device[:n] for device in self.device]


@lru_cache(maxsize=4)
def no_weights(dtype):
    """Placeholder argument for kernels that do not read sample weights."""
    return cuda.to_device(np.ones(1, dtype))


class BlockLoader:
    """Brings Batches to the device in blocks of whole batches. Its buffers are kept from call to call."""

    def __init__(self):
        self._order, self._buffers, self._shapes = GrowingBuffer(np.int64), [], None

    def blocks(self, batches, stream):
        """Yield Batches on the device, with a placeholder for missing weights: a single block if X is there already.

        The caller queues its work on a block on ``stream`` before it asks for the next one.
        """
        X, y, order, batch_size, weight = batches
        if is_on_device(X):
            order = order if is_on_device(order) else self._order.copy_from(order, stream)
            weight = no_weights(y.dtype) if weight is None else weight
            X, y, weight = (to_device(array, stream) for array in (X, y, weight))
            yield Batches(X, y, order, batch_size, weight)
            return
        arrays = [X, y] if weight is None else [X, y, weight]
        height = min(max(1, rows_per_block(X) // batch_size) * batch_size, len(order))
        self._allocate(arrays, height, 1 if height == len(order) else 2)
        for number, start in enumerate(range(0, len(order), height)):
            buffer, rows = self._buffers[number % len(self._buffers)], order[start : start + height]
            block = buffer.load(arrays, rows, self._copy_stream, stream)
            if weight is None:
                block.append(no_weights(y.dtype))
            block_X, block_y, block_weight = block
            yield Batches(block_X, block_y, self._in_order[: len(rows)], batch_size, block_weight)
            buffer.used.record(stream)

    def _allocate(self, arrays, height, n_buffers):
        shapes = height, *((array.shape[1:], array.dtype) for array in arrays)
        if shapes != self._shapes:
            self._buffers, self._shapes = [], shapes
            self._copy_stream, self._in_order = cuda.stream(), cuda.to_device(np.arange(height))
        self._buffers += [_StagingBuffer(arrays, height) for _ in range(n_buffers - len(self._buffers))]
