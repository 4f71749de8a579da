"""Reference activations, losses and optimizers in plain NumPy, written from the textbooks.

They share no formula with the package rules, whose docstrings give the sources.
"""

import numpy as np
from scipy.special import erf, expit, xlogy
from scipy.special import softmax as scipy_softmax

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _normal_density(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _normal_probability(z):
    return (1 + erf(z / np.sqrt(2))) / 2


ACTIVATIONS = {
    "identity": lambda z: z,
    "step": lambda z: np.heaviside(z, 0.5),
    "sign": np.sign,
    "piecewise_linear": lambda z: np.clip(z + 0.5, 0, 1),
    "logistic": expit,
    "tanh": np.tanh,
    "arctan": np.arctan,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "prelu": lambda z, slope: np.where(z > 0, z, slope * z),
    "shared_prelu": lambda z, slope: np.where(z > 0, z, slope * z),
    "noisy_relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "softplus": lambda z: np.logaddexp(0, z),
    "gelu": lambda z: z * _normal_probability(z),
    "silu": lambda z: z * expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "exp": np.exp,
    "softmax": lambda z: scipy_softmax(z, axis=1),
}

# da/dz from z; softmax is missing because its Jacobian is not diagonal.
DERIVATIVES = {
    "identity": np.ones_like,
    "step": np.zeros_like,
    "sign": np.zeros_like,
    "piecewise_linear": lambda z: np.where(np.abs(z) < 0.5, 1, 0),
    "logistic": lambda z: expit(z) * expit(-z),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "arctan": lambda z: 1 / (1 + z**2),
    "relu": lambda z: np.where(z > 0, 1, 0),
    "leaky_relu": lambda z: np.where(z > 0, 1, 0.01),
    "prelu": lambda z, slope: np.where(z > 0, 1, slope),
    "shared_prelu": lambda z, slope: np.where(z > 0, 1, slope),
    "noisy_relu": lambda z: np.where(z > 0, 1, 0),
    "elu": lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    "selu": lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    "softplus": expit,
    "gelu": lambda z: _normal_probability(z) + z * _normal_density(z),
    "silu": lambda z: expit(z) * (1 + z * expit(-z)),
    "mish": lambda z: np.tanh(np.logaddexp(0, z)) + z * expit(z) / np.cosh(np.minimum(np.logaddexp(0, z), 300)) ** 2,
    "exp": np.exp,
}

# da/dz from the output a, if it differs from DERIVATIVES at z = a.
FROM_OUTPUT = {
    "logistic": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "piecewise_linear": lambda a: np.where((a > 0) & (a < 1), 1, 0),
    "elu": lambda a: np.where(a > 0, 1, a + 1),
    "selu": lambda a: np.where(a > 0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA),
    "softplus": lambda a: -np.expm1(-a),
    "exp": lambda a: a,
}

# Standard deviation of the noise added to z in training.
NOISE_STDS = {"noisy_relu": lambda z: np.sqrt(expit(z))}


def _clip(p):
    return np.clip(p, 2.0**-52, None)


def _huber(p, t, delta):
    error = np.abs(p - t)
    return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2))


def _smoothed(t, smoothing, n_classes):
    """A mixture of the target and the uniform distribution."""
    return t + smoothing * (1 / n_classes - t)


def _binary_cross_entropy(p, t, smoothing):
    t = _smoothed(t, smoothing, 2)
    return -t * np.log(_clip(p)) - (1 - t) * np.log(_clip(1 - p))


# Loss of each output, whose sum is the loss of a row.
LOSSES = {
    "squared_error": lambda p, t: (p - t) ** 2 / 2,
    "mean_squared_error": lambda p, t: (p - t) ** 2 / p.shape[1],
    "absolute_error": lambda p, t: np.abs(p - t),
    "huber": _huber,
    "quantile": lambda p, t, q: np.maximum(q * (t - p), (q - 1) * (t - p)),
    "categorical_cross_entropy": lambda p, t, smoothing: -_smoothed(t, smoothing, p.shape[1]) * np.log(_clip(p)),
    "binary_cross_entropy": _binary_cross_entropy,
    "poisson": lambda p, t: xlogy(t, t / np.maximum(p, 1e-37)) - t + p,
    "perceptron": lambda p, t: np.abs(p - t),
}

# dLoss/dp.
LOSS_DERIVATIVES = {
    "squared_error": lambda p, t: p - t,
    "mean_squared_error": lambda p, t: 2 * (p - t) / p.shape[1],
    "absolute_error": lambda p, t: np.sign(p - t),
    "huber": lambda p, t, delta: np.clip(p - t, -delta, delta),
    "quantile": lambda p, t, q: np.where(p < t, -q, np.where(p > t, 1 - q, 0)),
}

# dLoss/dz of the last layer, for losses with an output activation that belongs to them.
LINKED_DELTAS = {
    "categorical_cross_entropy": lambda p, t, smoothing: p - _smoothed(t, smoothing, p.shape[1]),
    "binary_cross_entropy": lambda p, t, smoothing: p - _smoothed(t, smoothing, 2),
    "poisson": lambda p, t: p - t,
    "perceptron": lambda p, t: p - t,
}


def _sgd(w, g, slots, step, rate):
    w -= rate * g


def _momentum(w, g, slots, step, rate, momentum):
    slots[0] = momentum * slots[0] - rate * g
    w += slots[0]


def _nesterov(w, g, slots, step, rate, momentum):
    slots[0] = momentum * slots[0] - rate * g
    w += momentum * slots[0] - rate * g


def _adam(w, g, slots, step, rate, beta_1, beta_2, epsilon):
    m, v = slots
    m[:] = beta_1 * m + (1 - beta_1) * g
    v[:] = beta_2 * v + (1 - beta_2) * g**2
    w -= rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step) * m / (np.sqrt(v) + epsilon)


def _adagrad(w, g, slots, step, rate, epsilon):
    slots[0] += g**2
    w -= rate * g / (np.sqrt(slots[0]) + epsilon)


def _adadelta(w, g, slots, step, rate, rho, epsilon):
    square, change = slots
    square[:] = rho * square + (1 - rho) * g**2
    u = np.sqrt(change + epsilon) / np.sqrt(square + epsilon) * g
    change[:] = rho * change + (1 - rho) * u**2
    w -= rate * u


def _rmsprop(w, g, slots, step, rate, rho, epsilon):
    slots[0] = rho * slots[0] + (1 - rho) * g**2
    w -= rate * g / (np.sqrt(slots[0]) + epsilon)


def _adamax(w, g, slots, step, rate, beta_1, beta_2):
    m, u = slots
    m[:] = beta_1 * m + (1 - beta_1) * g
    u[:] = np.maximum(beta_2 * u, np.abs(g))
    w -= rate / (1 - beta_1**step) * np.divide(m, u, out=np.zeros_like(m), where=u > 0)


def _nadam(w, g, slots, step, rate, beta_1, beta_2, epsilon):
    m, v = slots
    m[:] = beta_1 * m + (1 - beta_1) * g
    v[:] = beta_2 * v + (1 - beta_2) * g**2
    ahead = (beta_1 * m + (1 - beta_1) * g) / (1 - beta_1**step)
    w -= rate * ahead / ((np.sqrt(v) + epsilon) / np.sqrt(1 - beta_2**step))


def _amsgrad(w, g, slots, step, rate, beta_1, beta_2, epsilon):
    m, v, top = slots
    m[:] = beta_1 * m + (1 - beta_1) * g
    v[:] = beta_2 * v + (1 - beta_2) * g**2
    top[:] = np.maximum(top, v)
    w -= rate * m / (np.sqrt(top) + epsilon)


OPTIMIZERS = {
    "sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "adagrad": _adagrad, "adadelta": _adadelta,
    "rmsprop": _rmsprop, "adam": _adam, "adamw": _adam, "adamax": _adamax, "nadam": _nadam, "amsgrad": _amsgrad,
}  # fmt: skip
COUPLED = "sgd", "momentum", "nesterov"  # whose weight decay is part of the gradient
