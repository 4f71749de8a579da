"""Random numbers by counters, for Numba. Their twins in C are in primitives.h; primitives.py says what both promise."""

import math

import numpy as np
from numba.extending import register_jitable

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
LOW_BITS = np.uint64(0xFFFFFF)


@register_jitable
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@register_jitable
def random_key(seed, step, stream):
    of_step = _mix(np.uint64(seed) + GOLDEN * np.uint64(step + 1))
    return np.int64(_mix(of_step + GOLDEN * np.uint64(stream + 1)))


@register_jitable
def drop(row, n, key, first, rate):
    limit = np.uint64(math.ceil(rate * 16777216.0))
    T = type(row[0])
    scale = T(1 / (1 - rate))
    for j in range(n):
        bits = _mix(np.uint64(key) + GOLDEN * np.uint64(first + j + 1)) >> np.uint64(40)
        row[j] = T(0) if bits < limit else row[j] * scale


@register_jitable
def fill_normal(row, n, key, first):
    T = type(row[0])
    for j in range(n):
        bits = _mix(np.uint64(key) + GOLDEN * np.uint64(first + j + 1))
        u = ((bits >> np.uint64(40)) + np.uint64(1)) / 16777216.0
        v = (bits & LOW_BITS) / 16777216.0
        row[j] = T(math.sqrt(-2 * math.log(u)) * math.cos(6.283185307179586 * v))
