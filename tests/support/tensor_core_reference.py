"""An epoch of the tensor core kernels in NumPy: the reference with the same rounding to bfloat16."""

import numpy as np

from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.reference.backward_pass import data_loss, output_delta
from fastmlp.kernels.reference.forward_pass import NO_SLOPE, activate, derivative
from fastmlp.kernels.spec import activation_row, layer_views


def rounded(x):
    """Round float32 to the precision of bfloat16."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))) >> 16 << 16).view(np.float32)


def prediction(network, parameters, X):
    """(outputs, z of each layer, inputs of each layer)."""
    below, z, inputs = rounded(X), [], []
    for activation, W, b in zip(network.activations, *layer_views(network, parameters)):
        inputs.append(below)
        z.append(below @ rounded(W) + b)
        outputs = activate(activation, z[-1], NO_SLOPE)
        below = rounded(outputs)
    return outputs, z, inputs


def loss_and_gradient(network, parameters, X, y, sample_weight, alpha, penalty):
    weight = np.ones(len(X), np.float32) if sample_weight is None else sample_weight
    total = weight.sum()
    outputs, z, inputs = prediction(network, parameters, X)
    loss = data_loss(network, outputs, y, weight, total)
    gradient = np.empty_like(parameters)
    (weights, _), (dW, db) = layer_views(network, parameters), layer_views(network, gradient)
    share = weight[:, None] / total
    delta = rounded(output_delta(network, z[-1], outputs, y, NO_SLOPE, share))
    for layer in reversed(range(len(weights))):
        dW[layer][:], db[layer][:] = inputs[layer].T @ delta, delta.sum(axis=0)
        dW[layer] += (alpha * weights[layer] + penalty.l1 * np.sign(weights[layer])) / total
        if layer:
            name, error = network.activations[layer - 1], delta @ rounded(weights[layer]).T
            if activation_row(name).of_input:
                error *= rounded(derivative(name, z[layer - 1], NO_SLOPE))
            else:
                error = numpy_reference.activation_derivative(name, inputs[layer], error)
            delta = rounded(error)
    more = sum(alpha * np.sum(W**2) / 2 + penalty.l1 * np.sum(np.abs(W)) for W in weights) / total
    return float(loss), float(more), gradient


def epoch(network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, penalty):
    """As train_epoch of the reference; also returns the last gradient, before decay and clipping."""
    first, loss_sum, penalty_sum = step, 0.0, 0.0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        weight = None if sample_weight is None else sample_weight[rows]
        if weight is not None and weight.sum() == 0:
            continue
        loss, more, gradient = loss_and_gradient(network, parameters, X[rows], y[rows], weight, alpha, penalty)
        step += 1
        if optimizer is not None:
            numpy_reference._full_update(network, optimizer, parameters, gradient, slots, step)
        loss_sum += len(rows) * loss
        penalty_sum += len(rows) * more
    return np.array([loss_sum, penalty_sum, step - first]), gradient
