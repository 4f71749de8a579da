"""Data as blocks of bytes, of which another process reads the arrays in place, without a copy."""

import pickle

import cloudpickle
import numpy as np

from fastmlp.kernels.spec import aligned_copy

FEWEST_BYTES = 1024  # of an array that is worth a block
FEWEST_ITEMS = 1000  # of such a list
ALIGNMENT = 64


def is_data(given):
    """Whether an object may be large: an array, a sparse matrix, a frame or a long list."""
    if isinstance(given, np.ndarray):
        return given.nbytes >= FEWEST_BYTES
    if isinstance(given, (list, tuple)):
        return len(given) >= FEWEST_ITEMS
    return hasattr(type(given), "shape") and not isinstance(given, (np.generic, np.dtype, type))


def to_block(given):
    """Pack an object. Returns an ndarray of bytes: the sizes of its parts, the pickle, and the arrays in it."""
    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(given, protocol=5, buffer_callback=buffers.append)
    parts = [head, *(buffer.raw() for buffer in buffers)]
    sizes = np.array([len(parts), *map(len, parts)], np.int64)
    ends = np.cumsum([_padded(size) for size in (sizes.nbytes, *map(len, parts))])
    block = np.zeros(ends[-1], np.uint8)
    block[: sizes.nbytes] = sizes.view(np.uint8)
    for start, part in zip(ends, parts):
        block[start : start + len(part)] = np.frombuffer(part, np.uint8)
    return block


def from_block(block):
    """Unpack the result of ``to_block``. Arrays are read-only views of the block."""
    if block.ctypes.data % np.dtype(np.int64).itemsize:
        block = aligned_copy(block)
    n_parts = int(block[:8].view(np.int64)[0])
    sizes = block[: 8 * (1 + n_parts)].view(np.int64)[1:]
    view, start, parts = memoryview(block).toreadonly(), _padded(8 * (1 + n_parts)), []
    for size in map(int, sizes):
        parts.append(view[start : start + size])
        start += _padded(size)
    return pickle.loads(parts[0], buffers=parts[1:])


def _padded(size):
    return -(-size // ALIGNMENT) * ALIGNMENT
