"""Sparse X as SparseRows, where the backend computes with them and dense rows are neither faster nor needed."""

import numpy as np

from fastmlp.kernels.spec import SparseRows, needs_dense_inputs

# A larger share of nonzeros is faster as dense rows, their conversion included. Measured with 50 to 1,000 columns, 4 to
# 256 units in the first layer, batches of 32 and 200, in float32 and float64: training is equally fast at a share of
# 0.1 to 0.4, mostly 0.15 to 0.25, and prediction at 0.3 or more.
MOST_FILLED, MOST_FILLED_TO_PREDICT = 0.15, 0.3
MOST_COLUMNS = 2**31 - 1  # with indices of 32 bits


def sparse_rows(kernels, network, X, dtype, noise=None, most_filled=MOST_FILLED):
    """SparseRows of a CSR matrix, in its memory if it has the ``dtype``, or None if dense rows are faster or needed.

    Dense rows are for backends without sparse ones, for matrices with a larger share of nonzeros than ``most_filled``,
    and for networks and noise that need the inputs themselves: skip connections from the inputs, dropout and noise of
    inputs, and products in reduced precision.
    """
    n_rows, n_columns = X.shape
    filled_more = X.nnz > most_filled * n_rows * n_columns
    if not kernels.TAKES_SPARSE or needs_dense_inputs(network, noise) or filled_more or n_columns > MOST_COLUMNS:
        return None
    return SparseRows(
        np.ascontiguousarray(X.data, dtype), np.ascontiguousarray(X.indices, np.int32),
        np.ascontiguousarray(X.indptr, np.int64), n_columns,
    )  # fmt: skip


def sparse_or_dense(kernels, network, X, noise=None):
    """A valid CSR matrix for the kernels: SparseRows, or an array where dense rows are faster or needed."""
    rows = sparse_rows(kernels, network, X, X.dtype, noise)
    return X.toarray() if rows is None else rows
