"""Activations: value from the pre-activation z, derivative from the output a, or from z where the table says so.

Written as the package rules says. Row rules (softmax and its derivative) see one row of ``n`` values and work in place.
A trainable rule (parametric ReLU) has a slope for each unit or layer, which training updates.
"""

from collections.abc import Callable
from math import sqrt as _sqrt
from typing import NamedTuple

from .elementary import (
    arc_tangent,
    exponential,
    exponential_minus_one,
    hyperbolic_tangent,
    largest,
    log_one_plus,
    normal_tail,
    sum_of,
)


def identity(z):
    """a = z."""
    return z


def identity_derivative(a):
    """da/dz = 1."""
    T = type(a)
    return T(1)


def logistic(z):
    """a = 1 / (1 + e^-z), through e^-|z| so that nothing overflows and both tails keep their digits."""
    T = type(z)
    e = exponential(-abs(z))
    return (e if z < T(0) else T(1)) / (T(1) + e)


def logistic_derivative(a):
    """da/dz = a (1 - a)."""
    T = type(a)
    return a * (T(1) - a)


def tanh(z):
    """a = tanh z."""
    return hyperbolic_tangent(z)


def tanh_derivative(a):
    """da/dz = 1 - a^2."""
    T = type(a)
    return T(1) - a * a


def relu(z):
    """a = max(0, z)."""
    T = type(z)
    return T(0) if z < T(0) else z


def relu_derivative(a):
    """da/dz = 1 where a > 0, else 0."""
    T = type(a)
    return T(1) if a > T(0) else T(0)


def step(z):
    """a = 0 for z < 0, 1/2 at 0, 1 for z > 0: Heaviside's unit step (Rosenblatt 1958)."""
    T = type(z)
    return T(1) if z > T(0) else T(0) if z < T(0) else z + T(0.5)


def sign(z):
    """a = -1 for z < 0, 0 at 0, 1 for z > 0."""
    T = type(z)
    return T(1) if z > T(0) else T(-1) if z < T(0) else z


def flat_derivative(a):
    """da/dz = 0, wherever there is one: descent cannot train what lies below such a unit."""
    T = type(a)
    return T(0)


def piecewise_linear(z):
    """a = z + 1/2, held to [0, 1]."""
    T = type(z)
    a = z + T(0.5)
    return T(0) if a < T(0) else T(1) if a > T(1) else a


def piecewise_linear_derivative(a):
    """da/dz = 1 where 0 < a < 1, else 0."""
    T = type(a)
    return T(1) if T(0) < a and a < T(1) else T(0)


def arctan(z):
    """a = arctan z."""
    return arc_tangent(z)


def arctan_derivative(z):
    """da/dz = 1 / (1 + z^2)."""
    T = type(z)
    return T(1) / (T(1) + z * z)


def leaky_relu(z):
    """a = z for z > 0, else z / 100 (Maas, Hannun & Ng 2013)."""
    T = type(z)
    return T(0.01) * z if z < T(0) else z


def leaky_relu_derivative(a):
    """da/dz = 1 where a > 0, else 1/100."""
    T = type(a)
    return T(1) if a > T(0) else T(0.01)


def prelu(z, slope):
    """a = z for z > 0, else slope z, with a slope that is learned (He et al. 2015, who start at 1/4)."""
    T = type(z)
    return slope * z if z < T(0) else z


def prelu_derivative(z, slope):
    """da/dz = 1 where z > 0, else the slope."""
    T = type(z)
    return T(1) if z > T(0) else slope


def prelu_slope_derivative(z):
    """da/dslope = min(0, z)."""
    T = type(z)
    return z if z < T(0) else T(0)


def noisy_relu_std(z):
    """Standard deviation of the noise that training adds to z: sqrt(logistic z) (Nair & Hinton 2010)."""
    T = type(z)
    return T(_sqrt(logistic(z)))


def elu(z):
    """a = z for z > 0, else e^z - 1 (Clevert, Unterthiner & Hochreiter 2015)."""
    T = type(z)
    return exponential_minus_one(z) if z < T(0) else z


def elu_derivative(a):
    """da/dz = 1 where a > 0, else a + 1."""
    T = type(a)
    return T(1) if a > T(0) else a + T(1)


def selu(z):
    """a = 1.0507 z for z > 0, else 1.0507 x 1.6733 (e^z - 1) (Klambauer et al. 2017)."""
    T = type(z)
    return T(1.7580993408473766) * exponential_minus_one(z) if z < T(0) else T(1.0507009873554805) * z


def selu_derivative(a):
    """da/dz = 1.0507 where a > 0, else a + 1.0507 x 1.6733."""
    T = type(a)
    return T(1.0507009873554805) if a > T(0) else a + T(1.7580993408473766)


def softplus(z):
    """a = log(1 + e^z), through e^-|z| so that nothing overflows (Dugas et al. 2000)."""
    T = type(z)
    return (T(0) if z < T(0) else z) + log_one_plus(exponential(-abs(z)))


def softplus_derivative(a):
    """da/dz = 1 - e^-a, which is the logistic function of z."""
    return -exponential_minus_one(-a)


def gelu(z):
    """a = z Phi(z), with the normal distribution Phi (Hendrycks & Gimpel 2016)."""
    T = type(z)
    tail = normal_tail(abs(z))
    return z * (tail if z < T(0) else T(1) - tail)


def gelu_derivative(z):
    """da/dz = Phi(z) + z phi(z)."""
    T = type(z)
    tail = normal_tail(abs(z))
    weighted_density = z * T(0.3989422804014327) * exponential(T(-0.5) * (z * z))
    return (tail if z < T(0) else T(1) - tail) + weighted_density


def silu(z):
    """a = z / (1 + e^-z) (Elfwing, Uchibe & Doya 2017; "swish")."""
    return z * logistic(z)


def silu_derivative(z):
    """da/dz = s (1 + z (1 - s)) with s = logistic z."""
    s = logistic(z)
    return s + z * s * logistic(-z)


def mish(z):
    """a = z tanh(log(1 + e^z)) (Misra 2019), through e^-|z| so that nothing overflows and both tails keep their digits.

    The tanh is ((1 + e^z)^2 - 1) / ((1 + e^z)^2 + 1); for z > 0 both are divided by e^2z.
    """
    T = type(z)
    e = exponential(-abs(z))
    upper = e * (e + T(2)) if z < T(0) else T(1) + e + e
    return z * (upper / (upper + (T(2) if z < T(0) else T(2) * e * e)))


def mish_derivative(z):
    """da/dz = t + z (1 - t^2) logistic z with t = tanh(log(1 + e^z)) = upper / lower, as in ``mish``.

    1 - t^2 = (2 k (1 + e) / lower)^2, without the cancellation of 1 - t^2 itself.
    """
    T = type(z)
    e = exponential(-abs(z))
    k = T(1) if z < T(0) else e
    upper = e * (e + T(2)) if z < T(0) else T(1) + e + e
    scale = T(1) / (upper + T(2) * k * k)
    return scale * (upper + T(4) * z * (e * k * (T(1) + e) * scale))


def exp(z):
    """a = e^z, the inverse of a Poisson mean's log link. It may overflow: infinity is how divergence is noticed."""
    return exponential(z)


def exp_derivative(a):
    """da/dz = a."""
    return a


def softmax(row, n):
    """a_j = e^(z_j) / sum_k e^(z_k), shifted by the largest z so that nothing overflows."""
    T = type(row[0])
    top = largest(row, n)
    for j in range(n):
        row[j] = exponential(row[j] - top)
    scale = T(1) / sum_of(row, n)
    for j in range(n):
        row[j] *= scale


def softmax_derivative(row, delta, n):
    """delta_j <- a_j (delta_j - sum_k a_k delta_k): the Jacobian of softmax times delta."""
    T = type(row[0])
    total = T(0)
    for j in range(n):
        total += row[j] * delta[j]
    for j in range(n):
        delta[j] = row[j] * (delta[j] - total)


class Activation(NamedTuple):
    """A scalar function and its derivative: from the output, or ``of_input`` from z.

    ``rowwise`` rules process a whole row and are for the output layer only. ``trainable`` is the derivative with
    respect to a trainable slope, of which there is one for each unit, or one for the layer if it is ``shared``. ``std``
    is the standard deviation of the noise added to z in training, as a function of z.
    """

    function: Callable
    derivative: Callable
    rowwise: bool = False
    of_input: bool = False
    trainable: Callable | None = None
    shared: bool = False
    std: Callable | None = None


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative),
    "step": Activation(step, flat_derivative),
    "sign": Activation(sign, flat_derivative),
    "piecewise_linear": Activation(piecewise_linear, piecewise_linear_derivative),
    "logistic": Activation(logistic, logistic_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "arctan": Activation(arctan, arctan_derivative, of_input=True),
    "relu": Activation(relu, relu_derivative),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative),
    "prelu": Activation(prelu, prelu_derivative, of_input=True, trainable=prelu_slope_derivative),
    "shared_prelu": Activation(prelu, prelu_derivative, of_input=True, trainable=prelu_slope_derivative, shared=True),
    "noisy_relu": Activation(relu, relu_derivative, std=noisy_relu_std),
    "elu": Activation(elu, elu_derivative),
    "selu": Activation(selu, selu_derivative),
    "softplus": Activation(softplus, softplus_derivative),
    "gelu": Activation(gelu, gelu_derivative, of_input=True),
    "silu": Activation(silu, silu_derivative, of_input=True),
    "mish": Activation(mish, mish_derivative, of_input=True),
    "exp": Activation(exp, exp_derivative),
    "softmax": Activation(softmax, softmax_derivative, rowwise=True),
}
