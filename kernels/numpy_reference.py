"""The oracle: the contract in plain NumPy, written from the textbooks and sharing no formula with rules.py.

Readable before fast. Every compiled backend offers the functions below with the same names and arguments and is
tested against them. Arrays are C-contiguous and of the parameters' dtype (float32 or float64), X and y are 2-D, and
``order`` holds valid row numbers as int64: the callers check, kernels trust.

Notation: layer l has weights W (inputs, outputs), bias b, pre-activation z = x W + b, output a = f(z) and error
delta = dLoss/dz; rows are samples.
"""

import numpy as np
from scipy.special import erf, expit, xlogy
from scipy.special import softmax as scipy_softmax

from fastmlp.kernels.network import NO_PENALTY, layer_views, slope_views

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
    "exp": np.exp,
    "softmax": lambda z: scipy_softmax(z, axis=1),
}

# da/dz from z, but for softmax, whose Jacobian is no diagonal.
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
    "exp": np.exp,
}

# da/dz from the output a, where it is not what DERIVATIVES says of z = a.
FROM_OUTPUT = {
    "logistic": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "piecewise_linear": lambda a: np.where((a > 0) & (a < 1), 1, 0),
    "elu": lambda a: np.where(a > 0, 1, a + 1),
    "selu": lambda a: np.where(a > 0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA),
    "softplus": lambda a: -np.expm1(-a),
    "exp": lambda a: a,
}

# Standard deviation of what training adds to z.
DEVIATIONS = {"noisy_relu": lambda z: np.sqrt(expit(z))}


def _clip(p):
    return np.clip(p, 2.0**-52, None)


def _huber(p, t, delta):
    error = np.abs(p - t)
    return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2))


# Loss of each row.
LOSSES = {
    "squared_error": lambda p, t: np.sum((p - t) ** 2, axis=1) / 2,
    "mean_squared_error": lambda p, t: np.mean((p - t) ** 2, axis=1),
    "absolute_error": lambda p, t: np.sum(np.abs(p - t), axis=1),
    "huber": lambda p, t, delta: np.sum(_huber(p, t, delta), axis=1),
    "quantile": lambda p, t, level: np.sum(np.maximum(level * (t - p), (level - 1) * (t - p)), axis=1),
    "categorical_cross_entropy": lambda p, t: -np.sum(t * np.log(_clip(p)), axis=1),
    "binary_cross_entropy": lambda p, t: -np.sum(t * np.log(_clip(p)) + (1 - t) * np.log(_clip(1 - p)), axis=1),
    "poisson": lambda p, t: np.sum(xlogy(t, t / np.maximum(p, 1e-37)) - t + p, axis=1),
    "perceptron": lambda p, t: np.sum(np.abs(p - t), axis=1),
}

# dLoss/dp.
LOSS_DERIVATIVES = {
    "squared_error": lambda p, t: p - t,
    "mean_squared_error": lambda p, t: 2 * (p - t) / p.shape[1],
    "absolute_error": lambda p, t: np.sign(p - t),
    "huber": lambda p, t, delta: np.clip(p - t, -delta, delta),
    "quantile": lambda p, t, level: np.where(p < t, -level, np.where(p > t, 1 - level, 0)),
}

# dLoss/dz of the last layer, for losses with an output activation that belongs to them.
LINKED_DELTAS = {
    "categorical_cross_entropy": lambda p, t: p - t,
    "binary_cross_entropy": lambda p, t: p - t,
    "poisson": lambda p, t: p - t,
    "perceptron": lambda p, t: p - t,
}


def _one_by_one(function, *arrays):
    """A user's own function, called number by number; NaN where Python raises and compiled code would not."""

    def value(*numbers):
        try:
            return function(*numbers)
        except (ArithmeticError, ValueError):
            return np.nan

    return np.vectorize(value, otypes=[arrays[0].dtype])(*arrays)


def _activate(activation, z, slope):
    """f(z)."""
    if not isinstance(activation, str):
        return _one_by_one(activation.function, z)
    return (ACTIVATIONS[activation](z, slope) if slope.size else ACTIVATIONS[activation](z)).astype(z.dtype, copy=False)


def _slopes(activation, z, slope):
    """da/dz."""
    if not isinstance(activation, str):
        return _one_by_one(activation.derivative, z)
    return (DERIVATIVES[activation](z, slope) if slope.size else DERIVATIVES[activation](z)).astype(z.dtype, copy=False)


def _row_losses(network, p, t):
    if isinstance(network.loss, str):
        return LOSSES[network.loss](p, t, *network.loss_options)
    return _one_by_one(network.loss.function, p, t).sum(axis=1)


def _output_delta(network, z, p, t, slope):
    """dLoss/dz of the last layer."""
    if network.loss in LINKED_DELTAS:
        return LINKED_DELTAS[network.loss](p, t)
    if isinstance(network.loss, str):
        error = LOSS_DERIVATIVES[network.loss](p, t, *network.loss_options)
    else:
        error = _one_by_one(network.loss.derivative, p, t)
    if network.activations[-1] == "softmax":
        return p * (error - np.sum(p * error, axis=1, keepdims=True))
    return error * _slopes(network.activations[-1], z, slope)


# Random numbers by counters (SplitMix64), so that they do not depend on who draws them, and when.
GOLDEN = 0x9E3779B97F4A7C15
NO_SLOPE = np.empty(0)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _bits(seed, step, stream, shape):
    """64 random bits for each place of a batch."""
    of_step = _mix(np.array([(seed + GOLDEN * (step + 1)) % 2**64], np.uint64))
    key = int(_mix(of_step + np.uint64(GOLDEN * (stream + 1) % 2**64))[0])
    places = np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint64)
    return _mix(np.uint64(key) + np.uint64(GOLDEN) * places).reshape(shape)


def _mask(seed, step, stream, shape, rate):
    """0 for what is dropped, 1 / (1 - rate) for what stays."""
    uniform = (_bits(seed, step, stream, shape) >> np.uint64(40)) / 2**24
    return np.where(uniform < rate, 0, 1 / (1 - rate))


def _normal(seed, step, stream, shape):
    bits = _bits(seed, step, stream, shape)
    u, v = ((bits >> np.uint64(40)) + np.uint64(1)) / 2**24, (bits % np.uint64(2**24)) / 2**24
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)


def dense_forward(activation, X, W, b):
    """f(X W + b)."""
    return _activate(activation, X @ W + b, NO_SLOPE)


def activation_derivative(activation, output, delta):
    """dLoss/dz from dLoss/da = delta and the layer's output a, or z in its place if the derivative is ``of_input``."""
    if activation == "softmax":
        return output * (delta - np.sum(output * delta, axis=1, keepdims=True))
    return delta * {**DERIVATIVES, **FROM_OUTPUT}[activation](output)


def delta_backpropagation(delta, W):
    """dLoss/da of the layer below."""
    return delta @ W.T


def weight_gradient(X, delta):
    """(dLoss/dW, dLoss/db) of a layer with inputs X."""
    return X.T @ delta, delta.sum(axis=0)


class _Pass:
    """What a forward pass leaves behind: inputs, z, outputs a and dropout masks, layer by layer of weights.

    ``noise`` None is the pass of prediction, in which nothing is random.
    """

    def __init__(self, network, parameters, X, noise, step):
        self.inputs, self.z, self.masks = [], [], []
        dtype = X.dtype
        if noise is not None and noise.input_deviation:
            X = X + noise.input_deviation * _normal(noise.seed, step, 0, X.shape)
        if noise is not None and noise.input_dropout:
            X = X * _mask(noise.seed, step, 1, X.shape, noise.input_dropout)
        self.layers = [X.astype(dtype, copy=False)]  # outputs of each layer, from the inputs on
        views = zip(network.activations, *layer_views(network, parameters), slope_views(network, parameters))
        for layer, (activation, W, b, slope) in enumerate(views):
            skip = network.skips[layer] if network.skips else None
            below = self.layers[-1]
            if skip is not None and skip.weighted:
                below = np.hstack([below, self.layers[skip.source]])
            z = below @ W + b
            if skip is not None and not skip.weighted:
                z = z + self.layers[skip.source]
            if noise is not None and activation in DEVIATIONS:
                z = z + DEVIATIONS[activation](z) * _normal(noise.seed, step, 2 * layer + 2, z.shape)
            mask = 1.0
            if noise is not None and noise.of_layer(layer):
                mask = _mask(noise.seed, step, 2 * layer + 3, z.shape, noise.of_layer(layer))
            z = z.astype(dtype, copy=False)
            self.inputs.append(below)
            self.z.append(z)
            self.masks.append(mask)
            self.layers.append((_activate(activation, z, slope) * mask).astype(dtype, copy=False))


def forward(network, parameters, X, only_if_finite=False, noise=None):
    """Outputs of the network, shape (rows, outputs), in the dtype of the parameters.

    With ``only_if_finite`` None where X holds infinity or NaN: a backend sees that while it reads X anyway. With
    ``noise`` one random pass, as in training.
    """
    if only_if_finite and not np.isfinite(X).all():
        return None
    return _Pass(network, parameters, X, noise, 0).layers[-1]


def row_predictor(network, parameters):
    """A function from one row, an array of the parameters' dtype, to its outputs.

    It knows the parameters as they are now, and may give the same array again and again.
    """
    parameters = parameters.copy()
    return lambda x: forward(network, parameters, x.reshape(1, -1))[0]


def loss_and_gradient(network, parameters, X, y, sample_weight=None, alpha=0.0, penalty=NO_PENALTY, noise=None):
    """(data loss, penalty, gradient) of the weighted mean over rows.

    penalty = (alpha |W|^2 / 2 + l1 |W|) / (sum of weights), and the mean activity penalty. ``noise``: a random pass.
    """
    return _loss_and_gradient(network, parameters, X, y, sample_weight, alpha, penalty, noise, 0)


def _loss_and_gradient(network, parameters, X, y, sample_weight, alpha, penalty, noise, step):
    weight = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    total = weight.sum()
    share = weight[:, None] / total
    weights, _ = layer_views(network, parameters)
    slopes = slope_views(network, parameters)
    run = _Pass(network, parameters, X, noise, step)
    outputs, last = run.layers, len(weights) - 1

    loss = np.sum(weight * _row_losses(network, outputs[-1], y)) / total
    on_weights = sum(alpha * np.sum(W**2) / 2 + penalty.l1 * np.sum(np.abs(W)) for W in weights) / total
    on_activity = sum(
        np.sum(share * (penalty.activity_l1 * np.abs(a) + penalty.activity_l2 * a**2 / 2)) for a in outputs[1:-1]
    )

    gradient = np.empty_like(parameters)
    (weight_gradients, bias_gradients), slope_gradients = layer_views(network, gradient), slope_views(network, gradient)
    errors = [np.zeros_like(a) for a in outputs]  # dLoss/da, from the layers above
    for layer in reversed(range(last + 1)):
        activation, z = network.activations[layer], run.z[layer]
        if layer == last:
            delta = _output_delta(network, z, outputs[-1], y, slopes[layer]) * share
            error = None
            if slopes[layer].size:  # of an output layer that learns slopes
                error = LOSS_DERIVATIVES[network.loss](outputs[-1], y, *network.loss_options) * share
        else:
            a = outputs[layer + 1]
            error = errors[layer + 1] + share * (penalty.activity_l1 * np.sign(a) + penalty.activity_l2 * a)
            error = error * run.masks[layer]
            delta = error * _slopes(activation, z, slopes[layer])
        if slopes[layer].size:
            bend = error * np.minimum(z, 0)
            slope_gradients[layer][:] = bend.sum(axis=0) if slopes[layer].size > 1 else bend.sum()
        weight_gradients[layer][:], bias_gradients[layer][:] = weight_gradient(run.inputs[layer], delta)
        weight_gradients[layer] += (alpha * weights[layer] + penalty.l1 * np.sign(weights[layer])) / total
        below = delta_backpropagation(delta, weights[layer])
        width = network.sizes[layer]
        errors[layer] += below[:, :width]
        skip = network.skips[layer] if network.skips else None
        if skip is not None:
            errors[skip.source] += below[:, width:] if skip.weighted else delta
    return float(loss), float(on_weights + on_activity), gradient


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


def _adagrad(w, g, slots, step, rate, epsilon):
    slots[0] += g**2
    w -= rate * g / (np.sqrt(slots[0]) + epsilon)


def _adadelta(w, g, slots, step, rate, decay, epsilon):
    square, change = slots
    square[:] = decay * square + (1 - decay) * g**2
    u = np.sqrt(change + epsilon) / np.sqrt(square + epsilon) * g
    change[:] = decay * change + (1 - decay) * u**2
    w -= rate * u


def _rmsprop(w, g, slots, step, rate, decay, epsilon):
    slots[0] = decay * slots[0] + (1 - decay) * g**2
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


def update(optimizer, parameters, gradient, slots, step):
    """One optimizer step in place; ``step`` counts from 1. Of the optimizer only name, rate and options matter here."""
    OPTIMIZERS[optimizer.name](parameters, gradient, slots, step, optimizer.learning_rate, *optimizer.options)


def _full_update(network, optimizer, parameters, gradient, slots, step):
    """A step with decay, bounds and rates by layer."""
    weights, _ = layer_views(network, parameters)
    coupled = optimizer.name in COUPLED
    if coupled:
        for G, W in zip(layer_views(network, gradient)[0], weights):
            G += optimizer.weight_decay * W
    norm = np.sqrt(np.sum(gradient.astype(np.float64) ** 2))
    if 0 < optimizer.clip_norm < norm:
        gradient *= optimizer.clip_norm / norm
    if optimizer.clip_value:
        np.clip(gradient, -optimizer.clip_value, optimizer.clip_value, out=gradient)
    factors = optimizer.layer_rates or (1.0,) * len(weights)
    for block, factor, W in zip(network.blocks, factors, weights):
        if not coupled:
            W -= optimizer.learning_rate * factor * optimizer.weight_decay * W
        part = slice(block.start, block.start + (block.fan_in + 1) * block.fan_out + block.n_slopes)
        update(
            optimizer._replace(learning_rate=optimizer.learning_rate * factor), parameters[part], gradient[part],
            slots[:, part], step,
        )  # fmt: skip
        if optimizer.max_norm:
            norms = np.sqrt(np.sum(W**2, axis=0))
            W *= np.minimum(1, optimizer.max_norm / np.maximum(norms, 1e-300))


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0, penalty=NO_PENALTY, noise=None, rates=None,
):  # fmt: skip
    """One pass over the rows named by ``order`` in batches; parameters and slots change in place.

    ``step`` is the number of updates made before; ``rates`` (float64) are the learning rates of the batches, if not the
    optimizer's. Returns (``loss_sum`` plus rows x data loss of each batch, ``penalty_sum`` plus the same of the
    penalty, number of updates made now): sums that go on from call to call do not depend on where an epoch is cut. A
    batch whose weights sum to zero is passed over.
    """
    first = step
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        weight = None if sample_weight is None else sample_weight[rows]
        if weight is not None and weight.sum() == 0:
            continue
        loss, more, gradient = _loss_and_gradient(
            network, parameters, X[rows], y[rows], weight, alpha, penalty, noise, step
        )
        step += 1
        if rates is not None:
            optimizer = optimizer._replace(learning_rate=float(rates[start // batch_size]))
        _full_update(network, optimizer, parameters, gradient, slots, step)
        loss_sum += len(rows) * loss
        penalty_sum += len(rows) * more
    return loss_sum, penalty_sum, step - first
