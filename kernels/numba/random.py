"""Counter-based random numbers for Numba: rows on CPUs, single numbers on GPUs.

Their twins in C are in cpu/primitives.h; engine/primitives.py says what both promise.
"""

import math

import numpy as np
from numba.extending import register_jitable

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
LOW_BITS = np.uint64(0xFFFFFF)


def mixed(x):
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


def random_key(seed, step, stream):
    of_step = mixed(np.uint64(seed) + GOLDEN * np.uint64(step + 1))
    return np.int64(mixed(of_step + GOLDEN * np.uint64(stream + 1)))


def bits_at(key, place):
    return mixed(np.uint64(key) + GOLDEN * np.uint64(place + 1))


def drop_limit(rate):
    """Limit below which the first 24 bits mean dropout."""
    return np.uint64(math.ceil(rate * 16777216.0))


def is_dropped(key, place, limit):
    return bits_at(key, place) >> np.uint64(40) < limit


def normal_at(key, place):
    bits = bits_at(key, place)
    u = ((bits >> np.uint64(40)) + np.uint64(1)) / 16777216.0
    v = (bits & LOW_BITS) / 16777216.0
    return math.sqrt(-2 * math.log(u)) * math.cos(6.283185307179586 * v)


BY_PLACE = [mixed, random_key, bits_at, drop_limit, is_dropped, normal_at]  # each after those it calls
for _function in BY_PLACE:
    register_jitable(_function)


@register_jitable
def drop(row, n, key, first, rate):
    limit = drop_limit(rate)
    T = type(row[0])
    scale = T(1 / (1 - rate))
    for j in range(n):
        row[j] = T(0) if is_dropped(key, first + j, limit) else row[j] * scale


@register_jitable
def fill_normal(row, n, key, first):
    T = type(row[0])
    for j in range(n):
        row[j] = T(normal_at(key, first + j))
