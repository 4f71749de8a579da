"""Backpropagation from each output of a network, for derivatives of the outputs themselves."""

import numpy as np

from fastmlp.kernels.spec import layer_views, slope_views

from .forward_pass import derivative


def output_errors(network, parameters, run, first):
    """(d output / d a of every layer, d output / d z of every layer of weights), for the rows of a ForwardPass.

    ``first`` of shape (outputs, units of the last layer) is d output / d a of the last layer. The results have the
    shape (rows, outputs, units); layer 0 of the first is the inputs.
    """
    weights, _ = layer_views(network, parameters)
    slopes, n_rows = slope_views(network, parameters), len(run.layers[0])
    errors = [np.zeros((n_rows, len(first), size), parameters.dtype) for size in network.sizes]
    errors[-1] += first
    deltas = [None] * len(weights)
    for layer in reversed(range(len(weights))):
        error, a = errors[layer + 1], run.layers[layer + 1][:, None, :]
        if network.activations[layer] == "softmax":
            delta = a * (error - np.sum(error * a, axis=2, keepdims=True))
        else:
            delta = error * derivative(network.activations[layer], run.z[layer], slopes[layer])[:, None, :]
        back, below = delta @ weights[layer].T, network.sizes[layer]
        errors[layer] += back[:, :, :below]
        skip = network.skips[layer] if network.skips else None
        if skip is not None:
            errors[skip.source] += back[:, :, below:] if skip.weighted else delta
        deltas[layer] = delta
    return errors, deltas
