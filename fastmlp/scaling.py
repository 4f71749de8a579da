"""Inputs of mean 0 and deviation 1: made before training, or put into the weights for inputs as they are."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler

from fastmlp.kernels.network import layer_views

FOLDED_ERROR = 1e-3  # of a deviation, that rounding may cost without a word


def scaling_of(parts):
    """(mean, deviation) of each column over parts (X, sample_weight), in float64; a constant column has deviation 1."""
    scaler = StandardScaler()
    for X, sample_weight in parts:
        _refuse_sparse(X)
        if sample_weight is None or sample_weight.any():
            scaler.partial_fit(X, sample_weight=sample_weight)
    if not hasattr(scaler, "mean_"):
        raise ValueError("scale='standard' needs rows that weigh something.")
    return scaler.mean_.astype(np.float64), scaler.scale_.astype(np.float64)


def scaled(X, scaling):
    """Rows as the network sees them, in their dtype.

    Raises
    ------
    ValueError
        For sparse rows, which would not stay so.
    """
    _refuse_sparse(X)
    mean, deviation = scaling
    return np.ascontiguousarray((X - mean) / deviation, X.dtype)


def _refuse_sparse(X):
    if issparse(X):
        raise ValueError(
            "scale='standard' would make sparse X dense: scale it with scikit-learn's MaxAbsScaler instead."
        )


def check_saved_scaling(scaling, n_inputs):
    """(mean, deviation) of a file, if they are some for that many inputs; else a ValueError."""
    mean, deviation = scaling
    if not (mean.shape == deviation.shape == (n_inputs,) and mean.dtype == deviation.dtype == np.float64):
        raise ValueError(f"a scale of shapes {mean.shape} and {deviation.shape} for {n_inputs} inputs")
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        raise ValueError("a scale that is not finite and positive")
    return mean, deviation


def folded(network, parameters, scaling, dtype=None):
    """Parameters of a network that takes inputs as they are and gives what this one gives for scaled ones.

    In ``dtype``, or that of ``parameters``; a warning says where inputs in the dtype of ``parameters`` lose digits.

    Raises
    ------
    ValueError
        Where inputs are added to a layer without weights.
    """
    mean, deviation = scaling
    lost = np.abs(mean / deviation).max(initial=0) * np.finfo(np.float32).eps
    if lost > FOLDED_ERROR and parameters.dtype == np.float32:
        warnings.warn(
            f"an input whose mean is {lost / np.finfo(np.float32).eps:,.0f} deviations loses digits in float32: "
            "subtract a constant from that column before training."
        )
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
    return exact.astype(dtype or parameters.dtype)
