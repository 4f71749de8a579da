"""Every scalar formula of a hot loop, once.

A rule is a plain function of scalars. Numba compiles it as it stands (CPU and CUDA); setup.py types the same
lines for Cython. ``T = type(z)`` and ``T(1)`` instead of bare literals keep float32 in float32. Comparisons are
written so that NaN passes through: a diverging fit must not look healthy.

Row rules (softmax and its derivative) see one row of ``n`` values and work in place.

The tables at the end are the only lists of names: code, tests, benchmarks, help and error messages read them.
"""

from collections.abc import Callable
from math import inf
from math import log as _log
from math import pow as _pow
from math import sqrt as _sqrt
from types import FunctionType
from typing import NamedTuple

from fastmlp.kernels.elementary import exponential, hyperbolic_tangent, largest, reciprocal, sum_of


# Activations: value from the pre-activation z, derivative from the output a.
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


# Losses of one output: value, and derivative for the prediction (or, with a link, for the pre-activation).
def difference(prediction, target):
    """p - t: the derivative of every loss here, for p itself or through the loss's canonical link."""
    return prediction - target


def squared_error(prediction, target):
    """(p - t)^2 / 2."""
    T = type(prediction)
    error = prediction - target
    return T(0.5) * error * error


def safe_log(p):
    """log p, with p held above 2^-52: a probability of 0 costs 36, not infinity."""
    T = type(p)
    floor = T(2.220446049250313e-16)
    return T(_log(floor if p < floor else p))


def categorical_cross_entropy(prediction, target):
    """-t log p, summed over classes."""
    T = type(prediction)
    return T(0) if target == T(0) else -target * safe_log(prediction)


def binary_cross_entropy(prediction, target):
    """-t log p - (1 - t) log(1 - p), for each output unit by itself."""
    T = type(prediction)
    return -target * safe_log(prediction) - (T(1) - target) * safe_log(T(1) - prediction)


def poisson(prediction, target):
    """Half the Poisson deviance: t log(t / p) - t + p, with p held above 1e-37: a mean may underflow to 0."""
    T = type(prediction)
    floor = T(1e-37)
    log_mean = T(_log(floor if prediction < floor else prediction))
    return target * (safe_log(target) - log_mean) - target + prediction


# Optimizers: one parameter, its gradient and its slots in; the parameter and its slots out. The rate and the options
# come in float64, so that 1 - beta keeps its digits; only then are they cast.
def sgd(parameter, gradient, rate):
    """w <- w - rate g (Robbins & Monro 1951)."""
    T = type(parameter)
    return parameter - T(rate) * gradient


def momentum(parameter, gradient, velocity, rate, decay):
    """v <- decay v - rate g;  w <- w + v (Polyak 1964)."""
    T = type(parameter)
    velocity = T(decay) * velocity - T(rate) * gradient
    return parameter + velocity, velocity


def nesterov(parameter, gradient, velocity, rate, decay):
    """v <- decay v - rate g;  w <- w + decay v - rate g (Nesterov 1983; this form: Sutskever et al. 2013)."""
    T = type(parameter)
    velocity = T(decay) * velocity - T(rate) * gradient
    return parameter + T(decay) * velocity - T(rate) * gradient, velocity


def adam(parameter, gradient, mean, square, rate, beta_1, beta_2, epsilon):
    """m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  w <- w - rate m / (sqrt v + eps) (Kingma & Ba 2014)."""
    T = type(parameter)
    mean = T(beta_1) * mean + T(1 - beta_1) * gradient
    square = T(beta_2) * square + T(1 - beta_2) * gradient * gradient
    return parameter - T(rate) * mean * reciprocal(T(_sqrt(square)) + T(epsilon)), mean, square


def adam_rate(learning_rate, step, beta_1, beta_2, epsilon):
    """Both bias corrections as one scalar: learning_rate sqrt(1 - b2^t) / (1 - b1^t), section 2 of the paper."""
    T = type(learning_rate)
    return learning_rate * T(_sqrt(T(1) - T(_pow(beta_2, step)))) / (T(1) - T(_pow(beta_1, step)))


# Every rule, for those who compile them: a rule may call another.
RULES = [f for f in list(globals().values()) if isinstance(f, FunctionType) and f.__module__ == __name__]


class Activation(NamedTuple):
    """``rowwise`` rules see a whole row and are for the output layer only."""

    function: Callable
    derivative: Callable
    rowwise: bool = False


class Loss(NamedTuple):
    """A loss with a ``link`` needs that output activation, and its derivative is already for z.

    ``averaged``: the reported value is the mean over outputs, as in scikit-learn; the gradient is of the sum.
    ``targets``: the range in which targets make sense.
    """

    function: Callable
    derivative: Callable
    link: str | None = None
    averaged: bool = False
    targets: tuple[float, float] = (-inf, inf)


class OptimizerRule(NamedTuple):
    """``update(w, g, *slots, rate, *options)``; ``rate`` (None: constant) makes a step's rate from its number.

    ``options`` are the defaults of what follows the learning rate, in the order of the rule's arguments.
    """

    update: Callable
    rate: Callable | None
    slots: tuple[str, ...]
    learning_rate: float
    options: dict[str, float]


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative),
    "logistic": Activation(logistic, logistic_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "exp": Activation(exp, exp_derivative),
    "softmax": Activation(softmax, softmax_derivative, rowwise=True),
}

LOSSES = {
    "squared_error": Loss(squared_error, difference, averaged=True),
    "categorical_cross_entropy": Loss(categorical_cross_entropy, difference, link="softmax", targets=(0, 1)),
    "binary_cross_entropy": Loss(binary_cross_entropy, difference, link="logistic", targets=(0, 1)),
    "poisson": Loss(poisson, difference, link="exp", targets=(0, inf)),
}

OPTIMIZERS = {
    "sgd": OptimizerRule(sgd, None, (), 0.01, {}),
    "momentum": OptimizerRule(momentum, None, ("velocity",), 0.01, {"decay": 0.9}),
    "nesterov": OptimizerRule(nesterov, None, ("velocity",), 0.01, {"decay": 0.9}),
    "adam": OptimizerRule(
        adam, adam_rate, ("mean", "square"), 0.001, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}
    ),
}
