"""What every backend is handed: the shape of a network, its flat parameter vector, and an optimizer with its options.

Parameters lie in one contiguous vector, W1 b1 W2 b2 ..., each W of shape (inputs, outputs) in row-major order.
Gradients and every optimizer slot have the same layout, so an update is one pass and saving is one write.
"""

from typing import NamedTuple

import numpy as np

from fastmlp.kernels.rules import OPTIMIZERS

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 vector


class Network(NamedTuple):
    """``sizes`` (inputs, hidden ..., outputs), one activation name per layer of weights, and the loss's name."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str

    @property
    def n_parameters(self):
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(self.sizes, self.sizes[1:]))


class Optimizer(NamedTuple):
    """A row of the table OPTIMIZERS by name, the learning rate, and its options in the row's order."""

    name: str
    learning_rate: float
    options: tuple[float, ...] = ()


def optimizer(name, learning_rate=None, **options):
    """An Optimizer with the table's defaults where nothing is given."""
    rule = OPTIMIZERS[name]
    rate = rule.learning_rate if learning_rate is None else learning_rate
    return Optimizer(name, float(rate), tuple(float(options.get(key, rule.options[key])) for key in rule.options))


def aligned_zeros(shape, dtype):
    """Like numpy.zeros, starting on a cache line."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(count + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + count].view(dtype).reshape(shape)


def aligned_copy(array):
    """A copy that starts on a cache line."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def new_slots(optimizer_name, n_parameters, dtype):
    """Zeroed optimizer state of shape (slots of this optimizer, n_parameters)."""
    return aligned_zeros((len(OPTIMIZERS[optimizer_name].slots), n_parameters), dtype)


def layer_views(network, vector):
    """(weights, biases): two lists of views into a flat vector, shapes (inputs, outputs) and (outputs,)."""
    weights, biases, start = [], [], 0
    for fan_in, fan_out in zip(network.sizes, network.sizes[1:]):
        stop = start + fan_in * fan_out
        weights.append(vector[start:stop].reshape(fan_in, fan_out))
        biases.append(vector[stop : stop + fan_out])
        start = stop + fan_out
    return weights, biases
