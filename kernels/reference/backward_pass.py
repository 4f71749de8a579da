"""Data loss and backpropagation of the reference, from a ForwardPass."""

import numpy as np

from fastmlp.kernels.spec import NO_PENALTY, layer_views, slope_views

from .forward_pass import derivative, elementwise, product
from .input_stage import errors_of_columns, stage_gradient
from .rules import LINKED_DELTAS, LOSS_DERIVATIVES, LOSSES


def _loss_options(network, dtype):
    """The options of the loss; those with a number for each output as row vectors."""
    return [np.array(option, dtype) if isinstance(option, tuple) else option for option in network.loss_options]


def data_loss(network, p, t, weight, total):
    """Sum over rows of the weighted losses, which are summed over outputs, divided by ``total``."""
    if isinstance(network.loss, str):
        losses = LOSSES[network.loss](p, t, *_loss_options(network, p.dtype))
    else:
        losses = elementwise(network.loss.function, p, t)
    losses = weight * losses.sum(axis=1) if weight.ndim == 1 else weight * losses
    return np.sum(losses) / total


def output_error(network, p, t, share):
    """dLoss/da of the last layer; ``share`` are the weights of the targets, divided by the sum of those of the rows."""
    if isinstance(network.loss, str):
        return LOSS_DERIVATIVES[network.loss](p, t, *_loss_options(network, p.dtype)) * share
    return elementwise(network.loss.derivative, p, t) * share


def output_delta(network, z, p, t, slope, share):
    """dLoss/dz of the last layer."""
    if network.loss in LINKED_DELTAS:
        return LINKED_DELTAS[network.loss](p, t, *network.loss_options) * share
    return delta_of_error(network, z, p, output_error(network, p, t, share), slope)


def delta_of_error(network, z, p, error, slope):
    """dLoss/dz of the last layer from dLoss/da."""
    if network.activations[-1] == "softmax":
        return p * (error - np.sum(p * error, axis=1, keepdims=True))
    return error * derivative(network.activations[-1], z, slope)


def bias_gradient(delta):
    """dLoss/db of a layer, from dLoss/dz as it is: not rounded to the precision of the products."""
    return delta.sum(axis=0)


def backpropagate(network, parameters, run, delta, error, penalty=NO_PENALTY, share=1.0):
    """(gradient, dLoss/dX) without penalties on weights, from dLoss/dz and, for slopes, dLoss/da of the outputs."""
    weights, slopes = layer_views(network, parameters)[0], slope_views(network, parameters)
    outputs, last = run.layers, len(weights) - 1
    gradient = np.empty_like(parameters)
    (weight_gradients, bias_gradients), slope_gradients = layer_views(network, gradient), slope_views(network, gradient)
    errors = [np.zeros_like(a) for a in outputs]  # dLoss/da, from the layers above
    for layer in reversed(range(last + 1)):
        z = run.z[layer]
        if layer < last:
            a = outputs[layer + 1]
            error = errors[layer + 1] + share * (penalty.activity_l1 * np.sign(a) + penalty.activity_l2 * a)
            error = error * run.masks[layer]
            delta = error * derivative(network.activations[layer], z, slopes[layer])
        if slopes[layer].size:
            slope_gradient = error * np.minimum(z, 0)
            slope_gradients[layer][:] = slope_gradient.sum(axis=0) if slopes[layer].size > 1 else slope_gradient.sum()
        weight_gradients[layer][:] = product(network, run.inputs[layer].T, delta)
        bias_gradients[layer][:] = bias_gradient(delta)
        below = product(network, delta, weights[layer].T)
        width = network.sizes[layer]
        errors[layer] += below[:, :width]
        skip = network.skips[layer] if network.skips else None
        if skip is not None:
            errors[skip.source] += below[:, width:] if skip.weighted else delta
    error = errors[0] * run.input_mask
    if network.inputs is not None:
        stage_gradient(network.inputs, parameters, run.X, error, gradient)
        error = errors_of_columns(network.inputs, parameters, run.X, error)
    return gradient, error
