"""Forward pass of the reference, with everything that backpropagation needs, and derivatives of activations."""

import numpy as np

from fastmlp.kernels.spec import PRECISIONS, layer_views, slope_views

from .input_stage import encode
from .random import dropout_mask, normal
from .rules import ACTIVATIONS, DERIVATIVES, NOISE_STDS

NO_SLOPE = np.empty(0)  # of activations without trainable slopes


def elementwise(function, *arrays):
    """Apply a custom function elementwise, with NaN where Python raises and compiled code would not."""

    def value(*numbers):
        try:
            return function(*numbers)
        except (ArithmeticError, ValueError):
            return np.nan

    return np.vectorize(value, otypes=[arrays[0].dtype])(*arrays)


def activate(activation, z, slope):
    """f(z), from z and the trainable slopes of the layer (0, 1 or one per unit)."""
    if not isinstance(activation, str):
        return elementwise(activation.function, z)
    return (ACTIVATIONS[activation](z, slope) if slope.size else ACTIVATIONS[activation](z)).astype(z.dtype, copy=False)


def derivative(activation, z, slope):
    """da/dz, elementwise, from z and the trainable slopes of the layer (0, 1 or one per unit)."""
    if not isinstance(activation, str):
        return elementwise(activation.derivative, z)
    return (DERIVATIVES[activation](z, slope) if slope.size else DERIVATIVES[activation](z)).astype(z.dtype, copy=False)


def to_bfloat16(array):
    """The array rounded to bfloat16, ties to even, in its own dtype."""
    bits = array.astype(np.float32).view(np.uint32)
    nearest = bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(array), nearest.view(np.float32), array).astype(array.dtype)


def product(network, A, B):
    """The matrix product A B in the precision of the network.

    An operand is replaced by a sum of bfloat16 (PRECISIONS): the nearest one, and in 'high' the one nearest to the
    rest. The product of the two rests is left out.
    """
    n_parts = PRECISIONS[network.matmul_precision]
    if n_parts == 0:
        return A @ B
    high_A, high_B = to_bfloat16(A), to_bfloat16(B)
    out = high_A @ high_B
    return out if n_parts == 1 else out + (high_A @ to_bfloat16(B - high_B) + to_bfloat16(A - high_A) @ high_B)


class ForwardPass:
    """The forward pass of a network for the rows of X; with ``noise`` None, as in prediction, nothing is random.

    ``first`` is the place of the first row in its batch, which determines the random numbers.

    Attributes
    ----------
    X : ndarray of shape (rows, columns)
    layers : list of ndarrays of shape (rows, units)
        The inputs of the network and the outputs a of each layer of weights.
    inputs : list of ndarrays
        What each layer of weights multiplies: the outputs below it, and those of a weighted skip connection.
    z : list of ndarrays of shape (rows, units)
        Pre-activations.
    masks : list of ndarrays or 1.0
        Factors of dropout.
    input_mask : ndarray or 1.0
        Factors of dropout of the inputs.
    """

    def __init__(self, network, parameters, X, noise, step, first=0):
        self.inputs, self.z, self.masks = [], [], []
        self.X, dtype, self.input_mask = X, X.dtype, 1.0
        if network.inputs is not None:
            X = encode(network.inputs, parameters, X)[1]
        if noise is not None and noise.input_std:
            X = X + noise.input_std * normal(noise.seed, step, 0, X.shape, first)
        if noise is not None and noise.input_dropout:
            self.input_mask = dropout_mask(noise.seed, step, 1, X.shape, noise.input_dropout, first)
            X = X * self.input_mask
        self.layers = [X.astype(dtype, copy=False)]
        views = zip(network.activations, *layer_views(network, parameters), slope_views(network, parameters))
        for layer, (activation, W, b, slope) in enumerate(views):
            skip = network.skips[layer] if network.skips else None
            below = self.layers[-1]
            if skip is not None and skip.weighted:
                below = np.hstack([below, self.layers[skip.source]])
            z = product(network, below, W) + b
            if skip is not None and not skip.weighted:
                z = z + self.layers[skip.source]
            if noise is not None and activation in NOISE_STDS:
                z = z + NOISE_STDS[activation](z) * normal(noise.seed, step, 2 * layer + 2, z.shape, first)
            mask = 1.0
            if noise is not None and noise.of_layer(layer):
                mask = dropout_mask(noise.seed, step, 2 * layer + 3, z.shape, noise.of_layer(layer), first)
            z = z.astype(dtype, copy=False)
            self.inputs.append(below)
            self.z.append(z)
            self.masks.append(mask)
            self.layers.append((activate(activation, z, slope) * mask).astype(dtype, copy=False))
