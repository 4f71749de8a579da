"""Initial weights."""

import math

from fastmlp.kernels.network import aligned_zeros, layer_views


def glorot_uniform(network, activations, random_state, dtype):
    """A flat parameter vector: weights and biases uniform in +-sqrt(6 / (inputs + outputs)) (Glorot & Bengio 2010).

    ``activations`` has a name per layer; with "logistic" the bound has 2 for 6. Drawn layer by layer, weights before
    biases, in float64: the numbers that scikit-learn would draw from the same numpy.random.RandomState.
    """
    parameters = aligned_zeros(network.n_parameters, dtype)
    for W, b, activation in zip(*layer_views(network, parameters), activations):
        fan_in, fan_out = W.shape
        bound = math.sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
        W[...] = random_state.uniform(-bound, bound, W.shape)
        b[...] = random_state.uniform(-bound, bound, fan_out)
    return parameters
