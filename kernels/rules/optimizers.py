"""Optimizers: one parameter, its gradient and its slots in; the parameter and its slots out.

Written as the package rules says. The rate and the options come in float64, so that 1 - beta keeps its digits; only
then are they cast.
"""

from collections.abc import Callable
from math import pow as _pow
from math import sqrt as _sqrt
from typing import NamedTuple

from .elementary import reciprocal


def sgd(parameter, gradient, rate):
    """w <- w - rate g (Robbins & Monro 1951)."""
    T = type(parameter)
    return parameter - T(rate) * gradient


def momentum(parameter, gradient, velocity, rate, momentum):
    """v <- momentum v - rate g;  w <- w + v (Polyak 1964)."""
    T = type(parameter)
    velocity = T(momentum) * velocity - T(rate) * gradient
    return parameter + velocity, velocity


def nesterov(parameter, gradient, velocity, rate, momentum):
    """v <- momentum v - rate g;  w <- w + momentum v - rate g (Nesterov 1983; this form: Sutskever et al. 2013)."""
    T = type(parameter)
    velocity = T(momentum) * velocity - T(rate) * gradient
    return parameter + T(momentum) * velocity - T(rate) * gradient, velocity


def adam(parameter, gradient, mean, square, rate, beta_1, beta_2, epsilon):
    """m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  w <- w - rate m / (sqrt v + eps) (Kingma & Ba 2014)."""
    T = type(parameter)
    mean = T(beta_1) * mean + T(1 - beta_1) * gradient
    square = T(beta_2) * square + T(1 - beta_2) * gradient * gradient
    return parameter - T(rate) * mean * reciprocal(T(_sqrt(square)) + T(epsilon)), mean, square


def adagrad(parameter, gradient, square, rate, epsilon):
    """s <- s + g^2;  w <- w - rate g / (sqrt s + eps) (Duchi, Hazan & Singer 2011)."""
    T = type(parameter)
    square = square + gradient * gradient
    return parameter - T(rate) * gradient * reciprocal(T(_sqrt(square)) + T(epsilon)), square


def adadelta(parameter, gradient, square, change, rate, rho, epsilon):
    """s <- rho s + (1-rho) g^2;  u = g sqrt(c + eps) / sqrt(s + eps);  c <- rho c + (1-rho) u^2;  w <- w - rate u.

    Zeiler (2012).
    """
    T = type(parameter)
    square = T(rho) * square + T(1 - rho) * gradient * gradient
    step = gradient * T(_sqrt(change + T(epsilon))) * reciprocal(T(_sqrt(square + T(epsilon))))
    change = T(rho) * change + T(1 - rho) * step * step
    return parameter - T(rate) * step, square, change


def rmsprop(parameter, gradient, square, rate, rho, epsilon):
    """s <- rho s + (1-rho) g^2;  w <- w - rate g / (sqrt s + eps) (Tieleman & Hinton 2012, lecture 6e)."""
    T = type(parameter)
    square = T(rho) * square + T(1 - rho) * gradient * gradient
    return parameter - T(rate) * gradient * reciprocal(T(_sqrt(square)) + T(epsilon)), square


def adamax(parameter, gradient, mean, top, rate, beta_1, beta_2):
    """m <- b1 m + (1-b1) g;  u <- max(b2 u, |g|);  w <- w - rate m / u (Kingma & Ba 2014, section 7.1)."""
    T = type(parameter)
    mean = T(beta_1) * mean + T(1 - beta_1) * gradient
    top = T(beta_2) * top
    size = abs(gradient)
    top = top if top > size else size
    return parameter - T(rate) * mean * reciprocal(top), mean, top


def adamax_rate(learning_rate, step, beta_1, beta_2):
    """learning_rate / (1 - b1^t)."""
    T = type(learning_rate)
    return learning_rate / (T(1) - T(_pow(beta_1, step)))


def nadam(parameter, gradient, mean, square, rate, beta_1, beta_2, epsilon):
    """m, v as Adam's;  w <- w - rate (b1 m + (1-b1) g) / (sqrt v + eps).

    Dozat (2016), with one momentum for all steps, and both terms corrected by 1 - b1^t.
    """
    T = type(parameter)
    mean = T(beta_1) * mean + T(1 - beta_1) * gradient
    square = T(beta_2) * square + T(1 - beta_2) * gradient * gradient
    ahead = T(beta_1) * mean + T(1 - beta_1) * gradient
    return parameter - T(rate) * ahead * reciprocal(T(_sqrt(square)) + T(epsilon)), mean, square


def amsgrad(parameter, gradient, mean, square, top, rate, beta_1, beta_2, epsilon):
    """m, v as Adam's;  u <- max(u, v);  w <- w - rate m / (sqrt u + eps), uncorrected (Reddi, Kale & Kumar 2018)."""
    T = type(parameter)
    mean = T(beta_1) * mean + T(1 - beta_1) * gradient
    square = T(beta_2) * square + T(1 - beta_2) * gradient * gradient
    top = top if top > square else square
    return parameter - T(rate) * mean * reciprocal(T(_sqrt(top)) + T(epsilon)), mean, square, top


def adam_rate(learning_rate, step, beta_1, beta_2, epsilon):
    """Both bias corrections as one scalar: learning_rate sqrt(1 - b2^t) / (1 - b1^t), section 2 of the paper."""
    T = type(learning_rate)
    return learning_rate * T(_sqrt(T(1) - T(_pow(beta_2, step)))) / (T(1) - T(_pow(beta_1, step)))


class OptimizerRule(NamedTuple):
    """``update(w, g, *slots, rate, *options)``; ``rate`` (None: constant) makes a step's rate from its number.

    ``options`` are the defaults of what follows the learning rate, in the order of the rule's arguments. Weight decay,
    ``weight_decay`` by default, is added to the gradient, or ``decoupled`` from it: w <- w - learning_rate decay w
    (Loshchilov & Hutter 2019).
    """

    update: Callable
    rate: Callable | None
    slots: tuple[str, ...]
    learning_rate: float
    options: dict[str, float]
    decoupled: bool = True
    weight_decay: float = 0.0


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

OPTIMIZERS = {
    "sgd": OptimizerRule(sgd, None, (), 0.01, {}, decoupled=False),
    "momentum": OptimizerRule(momentum, None, ("velocity",), 0.01, {"momentum": 0.9}, decoupled=False),
    "nesterov": OptimizerRule(nesterov, None, ("velocity",), 0.01, {"momentum": 0.9}, decoupled=False),
    "adagrad": OptimizerRule(adagrad, None, ("square",), 0.01, {"epsilon": 1e-8}),
    "adadelta": OptimizerRule(adadelta, None, ("square", "change"), 1.0, {"rho": 0.95, "epsilon": 1e-6}),
    "rmsprop": OptimizerRule(rmsprop, None, ("square",), 0.001, {"rho": 0.9, "epsilon": 1e-8}),
    "adam": OptimizerRule(adam, adam_rate, ("mean", "square"), 0.001, _ADAM),
    "adamw": OptimizerRule(adam, adam_rate, ("mean", "square"), 0.001, _ADAM, weight_decay=0.01),
    "adamax": OptimizerRule(adamax, adamax_rate, ("mean", "top"), 0.002, {"beta_1": 0.9, "beta_2": 0.999}),
    "nadam": OptimizerRule(nadam, adam_rate, ("mean", "square"), 0.002, _ADAM),
    "amsgrad": OptimizerRule(amsgrad, None, ("mean", "square", "top"), 0.001, _ADAM),
}
