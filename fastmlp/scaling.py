"""Inputs of mean 0 and deviation 1: made before training, or put into the weights for inputs as they are."""

import numpy as np
from scipy.sparse import issparse

from fastmlp.kernels.network import layer_views


def scaling_of(X):
    """(mean, deviation) of each column in float64; a constant column has deviation 1.

    Raises
    ------
    ValueError
        For sparse rows, which would not stay so.
    """
    if issparse(X):
        raise ValueError(
            "scale='standard' would make sparse X dense: scale it with scikit-learn's MaxAbsScaler instead."
        )
    deviation = X.std(axis=0, dtype=np.float64)
    constant = (X == X[:1]).all(axis=0)  # not by the computed deviation: rounding makes 1e-17 of it
    return X.mean(axis=0, dtype=np.float64), np.where(constant | (deviation == 0), 1.0, deviation)


def scaled(X, scaling):
    """Rows as the network sees them, in their dtype."""
    mean, deviation = scaling
    return np.ascontiguousarray((X - mean) / deviation, X.dtype)


def folded(network, parameters, scaling):
    """Parameters of a network that takes inputs as they are and gives what this one gives for scaled ones.

    Raises
    ------
    ValueError
        Where inputs are added to a layer without weights.
    """
    mean, deviation = scaling
    exact = parameters.astype(np.float64)
    for layer, (W, b) in enumerate(zip(*layer_views(network, exact))):
        skip = network.skips[layer] if network.skips else None
        from_inputs = [W[: network.sizes[0]]] if layer == 0 else []
        if skip is not None and skip.source == 0:
            if not skip.weighted:
                raise ValueError("inputs that are added to a layer without weights cannot be scaled by weights.")
            from_inputs.append(W[network.sizes[layer] :])
        for part in from_inputs:
            part /= deviation[:, None]
            b -= mean @ part
    return exact.astype(parameters.dtype)
