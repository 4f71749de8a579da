"""Exponential, sine and related functions as polynomials, so that loops over them vectorise, unlike calls of libm.

Written like the rules (the package rules) and compiled with them. e^z = 2^n e^r with n = z / log 2 rounded and |r| <=
log(2) / 2 (Cody & Waite 1980); the polynomials are minimax fits, that of e^r of (e^r - 1 - r) / r^2. Measured errors,
in units in the last place: tests/kernels/test_elementary.py. Only the functions at the top need a definition for each
compiler.
"""

from math import isfinite as _isfinite
from math import ldexp as _ldexp

import numpy as np


def is_single(z):
    """Whether z is float32."""
    return isinstance(z, np.float32)


def round_to_integer(z):
    """The nearest whole number, as a float."""
    return np.rint(z)


def power_of_two(n):
    """2^n for a whole number n of the range of normal numbers; unspecified for others."""
    return type(n)(_ldexp(1.0, int(n)) if _isfinite(n) else n)


def reciprocal_estimate(z):
    """1 / z within 6 %, for normal z > 0."""
    return type(z)(1) / z


def largest(row, n):
    """The largest of n numbers; unspecified for NaN."""
    return max(row[:n])


def sum_of(row, n):
    """The sum of n numbers, by lanes: the order of additions depends on n alone."""
    return np.sum(row[:n])


def remainder(r):
    """e^r - 1 for |r| <= log(2) / 2, with a small relative error at 0 too."""
    T = type(r)
    square = r * r  # by pairs of terms: shorter dependency chains
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
    half = round_to_integer(n * T(0.5))  # 2^n itself may be denormal or infinite
    return (T(1) + remainder(reduced(z, n))) * power_of_two(half) * power_of_two(n - half)


def scaled_remainder(z):
    """e^z - 1, which keeps the digits of a small z; for |z| up to 40."""
    T = type(z)
    n = round_to_integer(z * T(1.4426950408889634))
    scale = power_of_two(n)
    return scale * remainder(reduced(z, n)) + (scale - T(1))


def exponential_minus_one(z):
    """e^z - 1 for all z below 40."""
    T = type(z)
    return scaled_remainder(T(-40) if z < T(-40) else z)


def hyperbolic_tangent(z):
    """tanh z = t / (t + 2) with t = e^(2|z|) - 1."""
    T = type(z)
    x = abs(z + z)
    t = scaled_remainder(T(40) if x > T(40) else x)
    t = t / (t + T(2))
    return -t if z < T(0) else t


def log_one_plus(z):
    """log(1 + z) = 2 artanh s for z in [0, 1], with s = z / (2 + z)."""
    T = type(z)
    s = z / (T(2) + z)
    r = s * s
    square = r * r
    if is_single(z):
        q = T(0.2801201045513153) * r + T(0.28001800179481506)
        q = q * square + (T(0.4002152681350708) * r + T(0.666664183139801))
    else:
        q = T(0.17739802687590722) * square + (T(0.09902798849216984) * r + T(0.135863188885456))
        q = q * square + (T(0.15364295003737144) * r + T(0.1818281410622389))
        q = q * square + (T(0.22222192903403742) * r + T(0.2857142905802162))
        q = q * square + (T(0.3999999999604951) * r + T(0.666666666666777))
    return z - s * (z - r * q)


def arc_tangent(z):
    """arctan z = c + arctan s with |s| <= tan(pi/8): c = pi/4 and s = (|z| - 1) / (|z| + 1), or pi/2 and -1 / |z|."""
    T = type(z)
    x = abs(z)
    low = T(0.41421356237309503)  # tan(pi/8)
    high = T(2.414213562373095)  # tan(3 pi/8)
    above = T(-1) if x > high else x - T(1)
    below = x if x > high else x + T(1)
    s = (above if x > low else x) / (below if x > low else T(1))
    c = T(1.5707963267948966) if x > high else T(0.7853981633974483)
    r = s * s
    square = r * r
    if is_single(z):
        q = T(0.0805373266339302) * r - T(0.13877682387828827)
        q = q * square + (T(0.19977711141109467) * r - T(0.3333294987678528))
    else:
        q = T(-0.017905027692948657) * square + (T(0.03806212730733674) * r - T(0.05039189846762109))
        q = q * square + (T(0.05847859123232321) * r - T(0.06663099179800058))
        q = q * square + (T(0.07692059715009364) * r - T(0.0909089772509985))
        q = q * square + (T(0.11111110782149505) * r - T(0.1428571428016647))
        q = q * square + (T(0.19999999999953247) * r - T(0.333333333333332))
    a = s + s * (r * q)
    a = c + a if x > low else a
    return -a if z < T(0) else a


def sine_of_quarter(s):
    """sin(2 pi s) for |s| <= 1/4."""
    T = type(s)
    r = s * s
    square = r * r
    if is_single(s):
        q = T(39.71092039153653) * square + (T(-76.57499255112155) * r + T(81.6022312619219))
        q = q * square + (T(-41.34167747873604) * r + T(6.283185273792236))
    else:
        q = T(0.100856330037582764) * r + T(-0.717723579868950586)
        q = q * square + (T(3.81992705042983777) * r + T(-15.0946416205055201))
        q = q * square + (T(42.0586939237850161) * r + T(-76.7058597527984917))
        q = q * square + (T(81.605249276073406) * r + T(-41.3417022403997562))
        q = q * r + T(6.28318530717958648)
    return s * q


def cosine_of_turns(t):
    """cos(2 pi t)."""
    T = type(t)
    return sine_of_quarter(T(0.25) - abs(t - round_to_integer(t)))


def sine_of_turns(t):
    """sin(2 pi t); in the second and third quarter of a turn, of what is left to half a turn."""
    T = type(t)
    r = t - round_to_integer(t)
    x = abs(r)
    rest = T(0.5) - x
    y = sine_of_quarter(rest if x > T(0.25) else x)
    return -y if r < T(0) else y


def normal_tail(z):
    """Probability that a standard normal number exceeds z >= 0: e^(-z^2 / 2) p(x) / q(x), x = z up to where it is 0.

    The rounding of z^2 costs up to z^2 / 2 units in the last place.
    """
    T = type(z)
    high = T(15) if is_single(z) else T(39)
    x = high if z > high else z
    square = x * x
    if is_single(z):
        p = T(0.0041193715296685696) * square + (T(0.040653347969055176) * x + T(0.18329380452632904))
        p = p * square + (T(0.4383723735809326) * x + T(0.5))
        q = T(0.010325614362955093) * x + T(0.10190925747156143)
        q = q * square + (T(0.46962571144104004) * x + T(1.2027440071105957))
        q = q * square + (T(1.6746296882629395) * x + T(1.0))
    else:
        p = T(1.3858812422051648e-06) * x + T(3.725808195226592e-05)
        p = p * square + (T(0.0004904594888571178) * x + T(0.004089598051263365))
        p = p * square + (T(0.023623734228418312) * x + T(0.09770353593174302))
        p = p * square + (T(0.28934174315444655) * x + T(0.5940587144909042))
        p = p * square + (T(0.7748822888123144) * x + T(0.5))
        q = T(3.4738891070025054e-06) * square + (T(9.33921616779349e-05) * x + T(0.0012328735116365235))
        q = q * square + (T(0.010344494257669283) * x + T(0.06043837243873662))
        q = q * square + (T(0.2549707517681698) * x + T(0.7820642982539305))
        q = q * square + (T(1.714418570067602) * x + T(2.56127043071557))
        q = q * square + (T(2.347649138427484) * x + T(1.0))
    return exponential(T(-0.5) * (z * z)) * (p / q)


def halley_step(y, z):
    """A better 1 / z: the relative error h of y is cubed, as 1 / z = y / (1 - h) is about y (1 + h + h^2)."""
    T = type(y)
    h = T(1) - z * y
    return y + y * (h + h * h)


def reciprocal(z):
    """1 / z for z >= 0, faster than a division next to a square root, which uses the same unit.

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
    remainder, reduced, exponential, scaled_remainder, exponential_minus_one, hyperbolic_tangent, log_one_plus,
    arc_tangent, sine_of_quarter, cosine_of_turns, sine_of_turns, normal_tail, halley_step, reciprocal,
]  # fmt: skip
