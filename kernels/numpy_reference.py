"""The oracle: the contract in plain NumPy, written from the textbooks and sharing no formula with rules.py.

Readable before fast. Every compiled backend offers the functions below with the same names and arguments and is
tested against them. Arrays are C-contiguous and of the parameters' dtype (float32 or float64), X and y are 2-D, and
``order`` holds valid row numbers as int64: the callers check, kernels trust.

Notation: layer l has weights W (inputs, outputs), bias b, pre-activation z = x W + b, output a = f(z) and error
delta = dLoss/dz; rows are samples.
"""

import numpy as np
from scipy.special import expit, xlogy
from scipy.special import softmax as scipy_softmax

from fastmlp.kernels.network import layer_views

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "exp": np.exp,
    "softmax": lambda z: scipy_softmax(z, axis=1),
}

# From the output a and the error dLoss/da to dLoss/dz.
DERIVATIVES = {
    "identity": lambda a, error: error,
    "logistic": lambda a, error: error * a * (1 - a),
    "tanh": lambda a, error: error * (1 - a**2),
    "relu": lambda a, error: np.where(a > 0, error, 0),
    "exp": lambda a, error: error * a,
    "softmax": lambda a, error: a * (error - np.sum(a * error, axis=1, keepdims=True)),
}


def _clip(p):
    return np.clip(p, 2.0**-52, None)


# Loss of each row, summed over outputs.
LOSSES = {
    "squared_error": lambda p, t: np.sum((p - t) ** 2, axis=1) / 2,
    "categorical_cross_entropy": lambda p, t: -np.sum(t * np.log(_clip(p)), axis=1),
    "binary_cross_entropy": lambda p, t: -np.sum(t * np.log(_clip(p)) + (1 - t) * np.log(_clip(1 - p)), axis=1),
    "poisson": lambda p, t: np.sum(xlogy(t, t / np.maximum(p, 1e-37)) - t + p, axis=1),
}


# dLoss/dz of the last layer from its activation, outputs and targets. Cross-entropies and Poisson have p - t through
# the output activation that belongs to them.
OUTPUT_DELTAS = {
    "squared_error": lambda activation, p, t: DERIVATIVES[activation](p, p - t),
    "categorical_cross_entropy": lambda activation, p, t: p - t,
    "binary_cross_entropy": lambda activation, p, t: p - t,
    "poisson": lambda activation, p, t: p - t,
}


def dense_forward(activation, X, W, b):
    """f(X W + b)."""
    return ACTIVATIONS[activation](X @ W + b)


def activation_derivative(activation, output, delta):
    """dLoss/dz from dLoss/da = delta and the layer's output a."""
    return DERIVATIVES[activation](output, delta)


def delta_backpropagation(delta, W):
    """dLoss/da of the layer below."""
    return delta @ W.T


def weight_gradient(X, delta):
    """(dLoss/dW, dLoss/db) of a layer with inputs X."""
    return X.T @ delta, delta.sum(axis=0)


def forward(network, parameters, X, only_if_finite=False):
    """Outputs of the network, shape (rows, outputs), in the dtype of the parameters.

    With ``only_if_finite`` None where X holds infinity or NaN: a backend sees that while it reads X anyway.
    """
    if only_if_finite and not np.isfinite(X).all():
        return None
    for activation, W, b in zip(network.activations, *layer_views(network, parameters)):
        X = dense_forward(activation, X, W, b)
    return X


def row_predictor(network, parameters):
    """A function from one row, an array of the parameters' dtype, to its outputs.

    It knows the parameters as they are now, and may give the same array again and again.
    """
    parameters = parameters.copy()
    return lambda x: forward(network, parameters, x.reshape(1, -1))[0]


def loss_and_gradient(network, parameters, X, y, sample_weight=None, alpha=0.0):
    """(data loss, penalty, gradient) of the weighted mean over rows; penalty = alpha |W|^2 / (2 sum of weights)."""
    weight = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    total = weight.sum()
    weights, biases = layer_views(network, parameters)
    outputs = [X]
    for activation, W, b in zip(network.activations, weights, biases):
        outputs.append(dense_forward(activation, outputs[-1], W, b))
    loss = np.sum(weight * LOSSES[network.loss](outputs[-1], y)) / total
    penalty = alpha * sum(np.sum(W**2) for W in weights) / (2 * total)

    delta = OUTPUT_DELTAS[network.loss](network.activations[-1], outputs[-1], y) * weight[:, None] / total
    gradient = np.empty_like(parameters)
    weight_gradients, bias_gradients = layer_views(network, gradient)
    for layer in reversed(range(len(weights))):
        weight_gradients[layer][:], bias_gradients[layer][:] = weight_gradient(outputs[layer], delta)
        weight_gradients[layer] += alpha * weights[layer] / total
        if layer > 0:
            error = delta_backpropagation(delta, weights[layer])
            delta = activation_derivative(network.activations[layer - 1], outputs[layer], error)
    return float(loss), float(penalty), gradient


def _sgd(w, g, slots, step, rate):
    w -= rate * g


def _momentum(w, g, slots, step, rate, decay):
    slots[0] = decay * slots[0] - rate * g
    w += slots[0]


def _nesterov(w, g, slots, step, rate, decay):
    slots[0] = decay * slots[0] - rate * g
    w += decay * slots[0] - rate * g


def _adam(w, g, slots, step, rate, beta_1, beta_2, epsilon):
    m, v = slots
    m[:] = beta_1 * m + (1 - beta_1) * g
    v[:] = beta_2 * v + (1 - beta_2) * g**2
    w -= rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step) * m / (np.sqrt(v) + epsilon)


OPTIMIZERS = {"sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "adam": _adam}


def update(optimizer, parameters, gradient, slots, step):
    """One optimizer step in place; ``step`` counts from 1."""
    OPTIMIZERS[optimizer.name](parameters, gradient, slots, step, optimizer.learning_rate, *optimizer.options)


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0,
):  # fmt: skip
    """One pass over the rows named by ``order`` in batches; parameters and slots change in place.

    ``step`` is the number of updates made before. Returns (``loss_sum`` plus rows x data loss of each batch,
    ``penalty_sum`` plus the same of the penalty, number of updates made now): sums that go on from call to call do
    not depend on where an epoch is cut. A batch whose weights sum to zero is passed over.
    """
    first = step
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        weight = None if sample_weight is None else sample_weight[rows]
        if weight is not None and weight.sum() == 0:
            continue
        loss, penalty, gradient = loss_and_gradient(network, parameters, X[rows], y[rows], weight, alpha)
        step += 1
        update(optimizer, parameters, gradient, slots, step)
        loss_sum += len(rows) * loss
        penalty_sum += len(rows) * penalty
    return loss_sum, penalty_sum, step - first
