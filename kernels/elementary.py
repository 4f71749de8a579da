"""Exponential functions as polynomials, so that loops over them vectorise: libm's do not.

Written like the rules (rules.py) and compiled with them. e^z = 2^n e^r with n = z / log 2 rounded and |r| <= log(2) / 2
(Cody & Waite 1980); the polynomials are minimax fits of (e^r - 1 - r) / r^2. Errors found, in units in the last place:
tests/test_elementary.py. The functions at the top are the only ones that a compiler has to be told about.
"""

from math import atan as _atan
from math import erfc as _erfc
from math import isfinite as _isfinite
from math import ldexp as _ldexp
from math import log1p as _log1p

import numpy as np


def is_single(z):
    """Whether z is float32."""
    return isinstance(z, np.float32)


def round_to_integer(z):
    """The nearest whole number, as a float."""
    return np.rint(z)


def power_of_two(n):
    """2^n for a whole number n of the range of normal numbers; anything at all for others."""
    return type(n)(_ldexp(1.0, int(n)) if _isfinite(n) else n)


def reciprocal_estimate(z):
    """1 / z within 6 %, for normal z > 0."""
    return type(z)(1) / z


def largest(row, n):
    """The largest of n numbers; which of several comes first does not matter, nor what NaN gives."""
    return max(row[:n])


def sum_of(row, n):
    """The sum of n numbers, by lanes: the order of additions depends on n alone."""
    return np.sum(row[:n])


def remainder(r):
    """e^r - 1 for |r| <= log(2) / 2, with a small relative error at 0 too."""
    T = type(r)
    square = r * r  # by pairs of terms: few steps wait for each other
    if is_single(r):
        q = T(0.0013950528809800744) * square + (T(0.008368918672204018) * r + T(0.04166620597243309))
        q = q * square + (T(0.166665181517601) * r + T(0.5))
    else:
        q = T(2.511601307262107e-08) * r + T(2.7631385547563354e-07)
        q = q * square + (T(2.7557222410918195e-06) * r + T(2.4801489639948177e-05))
        q = q * square + (T(0.0001984126991014431) * r + T(0.0013888888947320803))
        q = q * square + (T(0.008333333333310803) * r + T(0.04166666666651416))
        q = q * square + (T(0.16666666666666693) * r + T(0.5000000000000013))
    return square * q + r


def reduced(z, n):
    """z - n log 2; the first part of log 2 is short enough for n to be taken off it without rounding."""
    T = type(z)
    if is_single(z):
        return (z - n * T(0.69287109375)) - n * T(0.00027608680994530943)
    return (z - n * T(0.6931467056274414)) - n * T(4.7493250390316726e-07)


def exponential(z):
    """e^z: infinity above the range of its type, 0 below, NaN for NaN."""
    T = type(z)
    low = T(-105) if is_single(z) else T(-746)
    high = T(90) if is_single(z) else T(711)
    z = low if z < low else z
    z = high if z > high else z
    n = round_to_integer(z * T(1.4426950408889634))
    half = round_to_integer(n * T(0.5))  # 2^n itself may be no normal number
    return (T(1) + remainder(reduced(z, n))) * power_of_two(half) * power_of_two(n - half)


def exponential_minus_one(z):
    """e^z - 1, which keeps the digits of a small z; for |z| up to 40 and all z below."""
    T = type(z)
    z = T(-40) if z < T(-40) else z
    n = round_to_integer(z * T(1.4426950408889634))
    scale = power_of_two(n)
    return scale * remainder(reduced(z, n)) + (scale - T(1))


def hyperbolic_tangent(z):
    """tanh z = t / (t + 2) with t = e^(2|z|) - 1."""
    T = type(z)
    x = abs(z + z)
    t = exponential_minus_one(T(40) if x > T(40) else x)
    t = t / (t + T(2))
    return -t if z < T(0) else t


def log_one_plus(z):
    """log(1 + z) for z in [0, 1]."""
    T = type(z)
    return T(_log1p(z))


def arc_tangent(z):
    """arctan z."""
    T = type(z)
    return T(_atan(z))


def normal_tail(z):
    """Probability that a standard normal number exceeds z >= 0."""
    T = type(z)
    return T(0.5) * T(_erfc(z * T(0.7071067811865476)))


def halley_step(y, z):
    """A better 1 / z: the relative error h of y is cubed, as 1 / z = y / (1 - h) is about y (1 + h + h^2)."""
    T = type(y)
    h = T(1) - z * y
    return y + y * (h + h * h)


def reciprocal(z):
    """1 / z for z >= 0: faster than to divide beside a square root, which keeps the same slow unit busy.

    z is held to where 1 / z is a normal number: 1 / 0 is 5e37 or more, 1 / infinity at most 2.5e-38, and NaN stays NaN.
    """
    T = type(z)
    low = T(2e-38) if is_single(z) else T(4e-308)
    high = T(4e37) if is_single(z) else T(2e307)
    z = low if z < low else z
    z = high if z > high else z
    y = halley_step(reciprocal_estimate(z), z)
    y = y if is_single(z) else halley_step(y, z)
    return y + y * (T(1) - z * y)


POLYNOMIALS = [
    remainder, reduced, exponential, exponential_minus_one, hyperbolic_tangent, log_one_plus, arc_tangent, normal_tail,
    halley_step, reciprocal,
]  # fmt: skip
