"""Reference implementation of the contract in plain NumPy, independent of the formulas of the other backends.

It is written from textbooks and favours readability over speed; activations, losses and optimizers are in
reference/rules.py. Every compiled backend offers the functions below with the same names and arguments and is tested
against them. Arrays are C-contiguous and of the parameters' dtype (float32 or float64), X and y are 2-D, and ``order``
holds valid row numbers as int64: callers validate, kernels do not.

Notation: layer l has weights W (inputs, outputs), bias b, pre-activation z = x W + b, output a = f(z) and error
delta = dLoss/dz; rows are samples.
"""

import numpy as np

from fastmlp.kernels.spec import NO_PENALTY, layer_views, predictor_by, slope_views

from .random import dropout_mask, normal
from .rules import (
    ACTIVATIONS,
    COUPLED,
    DERIVATIVES,
    FROM_OUTPUT,
    LINKED_DELTAS,
    LOSS_DERIVATIVES,
    LOSSES,
    NOISE_STDS,
    OPTIMIZERS,
)

# Every backend has these fields: the name of the GPU on which it runs, None for the CPU; the dtypes of models; and
# whether its products are made by the BLAS that NumPy uses, which has threads of its own.
DEVICE, DTYPES, USES_BLAS = None, ("float32", "float64", "bfloat16"), True

NO_SLOPE = np.empty(0)


def _one_by_one(function, *arrays):
    """Apply a custom function elementwise, with NaN where Python raises and compiled code would not."""

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


def _derivative(activation, z, slope):
    """da/dz."""
    if not isinstance(activation, str):
        return _one_by_one(activation.derivative, z)
    return (DERIVATIVES[activation](z, slope) if slope.size else DERIVATIVES[activation](z)).astype(z.dtype, copy=False)


def _operand(network, array):
    """An operand of a product: the array, rounded to bfloat16 (ties to even) in a bfloat16 network."""
    if not network.bfloat16:
        return array
    bits = array.astype(np.float32).view(np.uint32)
    nearest = bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(array), nearest.view(np.float32), array).astype(array.dtype)


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
    return error * _derivative(network.activations[-1], z, slope)


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
    """Forward pass: inputs, z, outputs a and dropout masks of each layer of weights.

    With ``noise`` None, as in prediction, nothing is random.
    """

    def __init__(self, network, parameters, X, noise, step):
        self.inputs, self.z, self.masks = [], [], []
        dtype = X.dtype
        if noise is not None and noise.input_std:
            X = X + noise.input_std * normal(noise.seed, step, 0, X.shape)
        if noise is not None and noise.input_dropout:
            X = X * dropout_mask(noise.seed, step, 1, X.shape, noise.input_dropout)
        self.layers = [X.astype(dtype, copy=False)]  # outputs of each layer, from the inputs on
        views = zip(network.activations, *layer_views(network, parameters), slope_views(network, parameters))
        for layer, (activation, W, b, slope) in enumerate(views):
            skip = network.skips[layer] if network.skips else None
            below = self.layers[-1]
            if skip is not None and skip.weighted:
                below = np.hstack([below, self.layers[skip.source]])
            z = _operand(network, below) @ _operand(network, W) + b
            if skip is not None and not skip.weighted:
                z = z + self.layers[skip.source]
            if noise is not None and activation in NOISE_STDS:
                z = z + NOISE_STDS[activation](z) * normal(noise.seed, step, 2 * layer + 2, z.shape)
            mask = 1.0
            if noise is not None and noise.of_layer(layer):
                mask = dropout_mask(noise.seed, step, 2 * layer + 3, z.shape, noise.of_layer(layer))
            z = z.astype(dtype, copy=False)
            self.inputs.append(below)
            self.z.append(z)
            self.masks.append(mask)
            self.layers.append((_activate(activation, z, slope) * mask).astype(dtype, copy=False))


def describe(network, optimizer, dtype, batch_size, penalty=NO_PENALTY, noise=None, weighted=False):
    """Description of how training steps are computed, for ``backend_reason_``; "" if there is only one way.

    ``weighted``: whether samples have weights.
    """
    return ""


def hold(X, y, sample_weight=None):
    """(X, y, sample_weight) in the form that repeated ``train_epoch`` and ``loss_and_gradient`` calls read fastest."""
    return X, y, sample_weight


def forward(network, parameters, X, only_if_finite=False, noise=None):
    """Outputs of the network, shape (rows, outputs), in the dtype of the parameters.

    With ``only_if_finite`` return None if X has infinity or NaN, which costs no extra pass over X in compiled backends.
    With ``noise`` make one random pass, as in training.
    """
    if only_if_finite and not np.isfinite(X).all():
        return None
    return _Pass(network, parameters, X, noise, 0).layers[-1]


def row_predictor(network, parameters):
    """Function that maps one row, an array of the parameters' dtype, to its outputs.

    It uses the current values of the parameters and may return the same array each time.
    """
    return predictor_by(forward, network, parameters)


def loss(network, parameters, X, y, sample_weight=None):
    """The data loss that ``loss_and_gradient`` returns, from a forward pass alone, without penalties or noise."""
    return loss_of_outputs(network, forward(network, parameters, X), y, sample_weight)


def loss_of_outputs(network, outputs, y, sample_weight=None):
    """The loss from the network's outputs for the rows of y."""
    weight = np.ones(len(y), y.dtype) if sample_weight is None else sample_weight
    return float(np.sum(weight * _row_losses(network, outputs, y)) / weight.sum())


def loss_and_gradient(network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
    """(data loss, penalty, gradient) of the weighted mean over rows.

    penalty = (alpha |W|^2 / 2 + l1 |W|) / (sum of weights), and the mean activity penalty. ``noise``: a random pass.
    """
    return _loss_and_gradient(network, parameters, X, y, sample_weight, penalty, noise, 0)


def _loss_and_gradient(network, parameters, X, y, sample_weight, penalty, noise, step):
    weight = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    total = weight.sum()
    share = weight[:, None] / total
    weights, _ = layer_views(network, parameters)
    slopes = slope_views(network, parameters)
    run = _Pass(network, parameters, X, noise, step)
    outputs, last = run.layers, len(weights) - 1

    loss = np.sum(weight * _row_losses(network, outputs[-1], y)) / total
    on_weights = sum(penalty.alpha * np.sum(W**2) / 2 + penalty.l1 * np.sum(np.abs(W)) for W in weights) / total
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
            delta = error * _derivative(activation, z, slopes[layer])
        if slopes[layer].size:
            slope_gradient = error * np.minimum(z, 0)
            slope_gradients[layer][:] = slope_gradient.sum(axis=0) if slopes[layer].size > 1 else slope_gradient.sum()
        inputs, rounded = _operand(network, run.inputs[layer]), _operand(network, delta)
        weight_gradients[layer][:], bias_gradients[layer][:] = weight_gradient(inputs, rounded)
        weight_gradients[layer] += (penalty.alpha * weights[layer] + penalty.l1 * np.sign(weights[layer])) / total
        below = delta_backpropagation(rounded, _operand(network, weights[layer]))
        width = network.sizes[layer]
        errors[layer] += below[:, :width]
        skip = network.skips[layer] if network.skips else None
        if skip is not None:
            errors[skip.source] += below[:, width:] if skip.weighted else delta
    return float(loss), float(on_weights + on_activity), gradient


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
    network, optimizer, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None, totals=(0.0, 0.0)
):
    """One pass over Batches; parameters and slots change in place.

    ``step`` is the number of updates made before; ``rates`` (float64) are the learning rates of the batches, if not the
    optimizer's. Returns (rows x data loss of each batch, the same of the penalty, number of updates made now). The
    first two are added to ``totals``: sums that go on from call to call do not depend on where an epoch is cut. A batch
    whose weights sum to zero is passed over.
    """
    first, (loss_sum, penalty_sum) = step, totals
    for number, start in enumerate(range(0, len(batches.order), batches.size)):
        rows = batches.order[start : start + batches.size]
        weight = None if batches.sample_weight is None else batches.sample_weight[rows]
        if weight is not None and weight.sum() == 0:
            continue
        loss, more, gradient = _loss_and_gradient(
            network, parameters, batches.X[rows], batches.y[rows], weight, penalty, noise, step
        )
        step += 1
        if rates is not None:
            optimizer = optimizer._replace(learning_rate=float(rates[number]))
        _full_update(network, optimizer, parameters, gradient, slots, step)
        loss_sum += len(rows) * loss
        penalty_sum += len(rows) * more
    return loss_sum, penalty_sum, step - first
