"""Rearrange weight matrices for a call so that the columns of each thread are contiguous in memory."""

import contextlib
from itertools import pairwise

import numpy as np

from fastmlp.kernels.engine.partition import share


@contextlib.contextmanager
def columns_by_thread(matrices, lanes, n_threads):
    """Context in which each matrix holds the columns of the first thread, row by row, then of the second, ..."""
    spare = np.empty_like(matrices[0]) if matrices else None  # allocated now: restoring must not fail
    done = []
    try:
        for matrix in matrices:
            spare[...] = matrix
            done.append(matrix)
            for columns, block in _blocks(matrix, lanes, n_threads):
                block[...] = spare[:, columns]
        yield
    finally:
        for matrix in done:
            for columns, block in _blocks(matrix, lanes, n_threads):
                spare[:, columns] = block
            matrix[...] = spare


def _blocks(matrix, lanes, n_threads):
    """Pairs of (columns of a thread, view of their block in the memory of the matrix), one for each thread."""
    rows, start = len(matrix), 0
    cuts = [share(matrix.shape[1], lanes, thread, n_threads) for thread in range(n_threads + 1)]
    for left, right in pairwise(cuts):
        stop = start + rows * (right - left)
        yield slice(left, right), matrix.reshape(-1)[start:stop].reshape(rows, right - left)
        start = stop
