"""Losses of one output: value, and derivative for the prediction or, with a link, for the pre-activation.

Written as the package rules says. Options come in float64.
"""

from collections.abc import Callable
from math import inf
from math import log as _log
from typing import NamedTuple

from .activations import sign


def difference(prediction, target):
    """p - t: the derivative of several losses, for p itself or through the loss's canonical link."""
    return prediction - target


def squared_error(prediction, target):
    """(p - t)^2 / 2."""
    T = type(prediction)
    error = prediction - target
    return T(0.5) * error * error


def squared_difference(prediction, target):
    """(p - t)^2, of which the mean squared error is the mean over outputs."""
    error = prediction - target
    return error * error


def twice_the_difference(prediction, target):
    """2 (p - t)."""
    T = type(prediction)
    return T(2) * (prediction - target)


def absolute_error(prediction, target):
    """|p - t|."""
    return abs(prediction - target)


def sign_of_difference(prediction, target):
    """-1, 0 or 1: the sign of p - t."""
    return sign(prediction - target)


def huber(prediction, target, delta):
    """(p - t)^2 / 2 where |p - t| <= delta, else delta (|p - t| - delta / 2) (Huber 1964)."""
    T = type(prediction)
    size = abs(prediction - target)
    return T(delta) * (size - T(0.5) * T(delta)) if size > T(delta) else T(0.5) * size * size


def huber_derivative(prediction, target, delta):
    """p - t, held to [-delta, delta]."""
    T = type(prediction)
    error = prediction - target
    return T(-delta) if error < T(-delta) else T(delta) if error > T(delta) else error


def quantile(prediction, target, quantile):
    """quantile (t - p) for t > p, else (1 - quantile) (p - t): the pinball loss (Koenker & Bassett 1978)."""
    T = type(prediction)
    error = target - prediction
    return T(quantile) * error if error > T(0) else T(quantile - 1) * error


def quantile_derivative(prediction, target, quantile):
    """-quantile for t > p, 1 - quantile for t < p."""
    T = type(prediction)
    error = prediction - target
    return T(-quantile) if error < T(0) else T(1 - quantile) if error > T(0) else error


def perceptron(prediction, target):
    """|p - t|, which counts errors; p - t in the place of its derivative is the rule of Rosenblatt (1958)."""
    return abs(prediction - target)


def safe_log(p):
    """log p, with p held above 2^-52: a probability of 0 costs 36, not infinity."""
    T = type(p)
    floor = T(2.220446049250313e-16)
    return T(_log(floor if p < floor else p))


def categorical_cross_entropy(prediction, target, label_smoothing, n_classes):
    """-u log p with u = (1 - label_smoothing) t + label_smoothing / n_classes, summed over classes.

    Label smoothing is that of Szegedy et al. (2016).
    """
    T = type(prediction)
    smoothed = T(1 - label_smoothing) * target + T(label_smoothing / n_classes)
    return T(0) if smoothed == T(0) else -smoothed * safe_log(prediction)


def categorical_difference(prediction, target, label_smoothing, n_classes):
    """p - u, with the smoothed target u."""
    T = type(prediction)
    return prediction - (T(1 - label_smoothing) * target + T(label_smoothing / n_classes))


def binary_cross_entropy(prediction, target, label_smoothing):
    """-u log p - (1 - u) log(1 - p) with u = (1 - label_smoothing) t + label_smoothing / 2, for each output by itself.

    Label smoothing is that of Szegedy et al. (2016), for the two classes of an output.
    """
    T = type(prediction)
    smoothed = T(1 - label_smoothing) * target + T(label_smoothing / 2)
    return -smoothed * safe_log(prediction) - (T(1) - smoothed) * safe_log(T(1) - prediction)


def binary_difference(prediction, target, label_smoothing):
    """p - u, with the smoothed target u."""
    T = type(prediction)
    return prediction - (T(1 - label_smoothing) * target + T(label_smoothing / 2))


def poisson(prediction, target):
    """Half the Poisson deviance: t log(t / p) - t + p, with p held above 1e-37: a mean may underflow to 0."""
    T = type(prediction)
    floor = T(1e-37)
    log_mean = T(_log(floor if prediction < floor else prediction))
    return target * (safe_log(target) - log_mean) - target + prediction


class Loss(NamedTuple):
    """A loss with a ``link`` needs that output activation, and its derivative is already for z.

    ``averaged``: the reported value is the mean over outputs, as in scikit-learn; the gradient is of the sum.
    ``mean``: value and gradient are those of the mean over outputs. ``targets``: the range in which they make sense.
    ``options``: names and defaults of what follows prediction and target; with ``counts`` the number of outputs is the
    last argument.
    """

    function: Callable
    derivative: Callable
    link: str | None = None
    averaged: bool = False
    targets: tuple[float, float] = (-inf, inf)
    mean: bool = False
    options: tuple[tuple[str, float], ...] = ()
    counts: bool = False


LOSSES = {
    "squared_error": Loss(squared_error, difference, averaged=True),
    "mean_squared_error": Loss(squared_difference, twice_the_difference, mean=True),
    "absolute_error": Loss(absolute_error, sign_of_difference, averaged=True),
    "huber": Loss(huber, huber_derivative, averaged=True, options=(("delta", 1.0),)),
    "quantile": Loss(quantile, quantile_derivative, averaged=True, options=(("quantile", 0.5),)),
    "categorical_cross_entropy": Loss(
        categorical_cross_entropy, categorical_difference, link="softmax", targets=(0, 1),
        options=(("label_smoothing", 0.0),), counts=True,
    ),
    "binary_cross_entropy": Loss(
        binary_cross_entropy, binary_difference, link="logistic", targets=(0, 1), options=(("label_smoothing", 0.0),)
    ),
    "poisson": Loss(poisson, difference, link="exp", targets=(0, inf)),
    "perceptron": Loss(perceptron, difference, link="step", targets=(0, 1)),
}  # fmt: skip
