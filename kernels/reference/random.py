"""Counter-based random numbers (SplitMix64) of the reference: independent of threads and of the order of draws.

Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014. A key is mixed from seed, step and
stream (which layer, and what for); the place in the batch counts.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _bits(seed, step, stream, shape, first):
    """64 random bits for each place of a batch, from row ``first`` on."""
    of_step = _mix(np.array([(seed + GOLDEN * (step + 1)) % 2**64], np.uint64))
    key = int(_mix(of_step + np.uint64(GOLDEN * (stream + 1) % 2**64))[0])
    places = np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint64) + np.uint64(first * shape[1])
    return _mix(np.uint64(key) + np.uint64(GOLDEN) * places).reshape(shape)


def dropout_mask(seed, step, stream, shape, rate, first=0):
    """Dropout mask: 0 for dropped outputs, 1 / (1 - rate) for the others."""
    uniform = (_bits(seed, step, stream, shape, first) >> np.uint64(40)) / 2**24
    return np.where(uniform < rate, 0, 1 / (1 - rate))


def normal(seed, step, stream, shape, first=0):
    """Standard normal numbers (Box and Muller 1958)."""
    bits = _bits(seed, step, stream, shape, first)
    u, v = ((bits >> np.uint64(40)) + np.uint64(1)) / 2**24, (bits % np.uint64(2**24)) / 2**24
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
