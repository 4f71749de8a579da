"""Outputs for many rows, whatever they are stored in."""

import numpy as np
from scipy.sparse import issparse

from .training import DENSE_BLOCK_BYTES


def predict_rows(backend, network, parameters, X):
    """Network outputs of shape (rows, outputs); X is dense or sparse, of any float dtype."""
    dtype = parameters.dtype
    if X.shape[1] != network.sizes[0]:  # the kernels would read beyond the rows
        raise ValueError(f"X has {X.shape[1]} columns, but the network has {network.sizes[0]} inputs.")
    if not issparse(X):
        return backend.forward(network, parameters, np.ascontiguousarray(X, dtype))
    X = X.tocsr()
    block = max(1, DENSE_BLOCK_BYTES // (X.shape[1] * dtype.itemsize))
    outputs = [
        backend.forward(network, parameters, np.ascontiguousarray(X[start : start + block].toarray(), dtype))
        for start in range(0, X.shape[0], block)
    ]
    return np.concatenate(outputs)
