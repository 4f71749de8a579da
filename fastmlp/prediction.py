"""Outputs for many rows, whatever they are stored in."""

import numpy as np
from scipy.sparse import issparse

from .training import DENSE_BLOCK_BYTES, take_rows


def predict_rows(backend, network, parameters, X):
    """Network outputs of shape (rows, outputs); X is dense or sparse, of any float dtype."""
    dtype = parameters.dtype
    if X.shape[1] != network.sizes[0]:  # the kernels would read beyond the rows
        raise ValueError(f"X has {X.shape[1]} columns, but the network has {network.sizes[0]} inputs.")
    if not issparse(X):
        return backend.forward(network, parameters, np.ascontiguousarray(X, dtype))
    X = X.tocsr().astype(dtype, copy=False)
    block = max(1, DENSE_BLOCK_BYTES // (X.shape[1] * dtype.itemsize))
    blocks = (take_rows(X, slice(start, start + block)) for start in range(0, X.shape[0], block))
    return np.concatenate([backend.forward(network, parameters, rows) for rows in blocks])
