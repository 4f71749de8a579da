"""Network outputs for dense, sparse and GPU inputs, in blocks where memory requires it."""

import numpy as np
from scipy.sparse import issparse

from fastmlp.backends.device_arrays import is_on_gpu
from fastmlp.kernels.spec import first_layers, loss_row
from fastmlp.validation.checks import check_integer

from .sparse import MOST_FILLED_TO_PREDICT, sparse_rows

DENSE_BLOCK_BYTES = 2**25  # of sparse inputs, where they are converted to dense blocks


def take_rows(X, rows, dtype=None):
    """Rows of a dense or CSR matrix as a C-contiguous array, cast to ``dtype`` if given. GPU arrays stay on the GPU."""
    block = X[rows].toarray() if issparse(X) else X[rows]
    return block if dtype is None or is_on_gpu(block) else np.ascontiguousarray(block, dtype)


def predict_rows(kernels, network, parameters, X, noise=None):
    """Network outputs of shape (n_samples, n_outputs) for dense or sparse X; with ``noise``, of a stochastic pass."""
    dtype = parameters.dtype
    if X.shape[1] != network.n_columns:  # the kernels would read out of bounds
        raise ValueError(f"X has {X.shape[1]} columns, but the network has {network.n_columns} inputs.")
    if issparse(X):
        X = X.tocsr()
        rows = sparse_rows(kernels, network, X, dtype, noise, MOST_FILLED_TO_PREDICT)
    else:
        X = rows = take_rows(X, slice(None), dtype)
    if noise is None and rows is not None:
        return kernels.forward(network, parameters, rows)
    # Random numbers depend on the position in a block: dense and sparse X use the same blocks for identical results.
    n_rows, block = X.shape[0], max(1, DENSE_BLOCK_BYTES // (X.shape[1] * dtype.itemsize))
    parts = (slice(start, start + block) for start in range(0, n_rows, block))
    blocks = (take_rows(X, part, dtype) if rows is None else rows[part] for part in parts)
    return np.concatenate([
        kernels.forward(network, parameters, given, noise=noise and noise._replace(seed=noise.seed ^ number))
        for number, given in enumerate(blocks)
    ])  # fmt: skip


def reported_loss(network, data_loss, penalty):
    """Data loss plus penalty. Kernels sum the data loss over outputs; averaged losses are divided by their number."""
    return data_loss / (network.sizes[-1] if loss_row(network.loss).averaged else 1) + penalty


def layer_outputs(kernels, network, parameters, X):
    """Outputs of every layer, including hidden layers."""
    return [predict_rows(kernels, part, parameters[: part.n_parameters], X) for part in first_layers(network)]


def mc_outputs(kernels, network, parameters, X, noise, mc_samples, transform=lambda output: output):
    """(mean, standard deviation) of the transformed outputs over ``mc_samples`` stochastic passes.

    The seeds of the passes are derived from that of ``noise``, the Noise of training or None.

    Raises
    ------
    ValueError
        Unless there is noise and ``mc_samples`` is an integer of at least 2.
    """
    check_integer("mc_samples", mc_samples, 2)
    if noise is None:
        raise ValueError(
            "mc_samples requires a model trained with dropout or noise, because otherwise all passes are identical."
        )
    seeds = np.random.RandomState(noise.seed % 2**32).randint(2**63 - 1, size=mc_samples, dtype=np.int64)
    mean = squares = 0.0
    for count, seed in enumerate(seeds, 1):  # Welford's algorithm: accurate even if the spread is small
        output = transform(predict_rows(kernels, network, parameters, X, noise._replace(seed=int(seed))))
        change = output - mean
        mean = mean + change / count
        squares = squares + change * (output - mean)
    return mean, np.sqrt(squares / mc_samples)
