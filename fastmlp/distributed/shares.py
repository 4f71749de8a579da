"""Which rows a rank has, and which of each batch it computes."""

from itertools import compress, pairwise
from numbers import Real
from typing import NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_consistent_length

from fastmlp.backends.device_arrays import to_host
from fastmlp.validation.sklearn_compat import num_samples, rows_of


class Shares(NamedTuple):
    """A rank's rows of the batches of an epoch, or of the rest of one.

    Attributes
    ----------
    rows : ndarray of int64
        Numbers of the rank's rows, batch after batch.
    bounds : ndarray of shape (n_batches + 1,)
        Where the rows of each batch begin in ``rows``, and where the last ones end.
    first : ndarray of shape (n_batches,)
        Place of the rank's first row in each batch, after the rows of lower ranks.
    sizes : ndarray of shape (n_batches,)
        Rows of each batch on all ranks.
    """

    rows: np.ndarray
    bounds: np.ndarray
    first: np.ndarray
    sizes: np.ndarray

    def weights(self, sample_weight):
        """Sum of the weights of the rank's rows in each batch; each row counts 1 if ``sample_weight`` is None."""
        counts = np.diff(self.bounds)
        weight = None if sample_weight is None else sample_weight[self.rows]
        return np.bincount(np.repeat(np.arange(len(counts)), counts), weight, len(counts)).astype(np.float64)


def parts_of(given, n_ranks):
    """A list of parts of some arrays for each rank, whose numbers of rows differ by at most one.

    None, and what has no rows, stays as it is.

    Raises
    ------
    ValueError
        If the arrays have different lengths, or fewer rows than there are ranks.
    """
    arrays = [one.tocsr() if issparse(one) else nw.to_native(to_host(one), pass_through=True) for one in given]
    have_rows = [not (one is None or isinstance(one, (Real, str, dict))) for one in arrays]
    n_rows = num_samples(arrays[0])
    check_consistent_length(*compress(arrays, have_rows))
    if n_rows < n_ranks:
        raise ValueError(f"{n_rows} samples cannot be scattered over {n_ranks} ranks: each needs at least one.")
    bounds = [n_rows * rank // n_ranks for rank in range(n_ranks + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    return [[rows_of(one, part) if has_rows else one for one, has_rows in zip(arrays, have_rows)] for part in parts]


def shares_of_order(order, batch_size, rank, n_ranks):
    """The Shares of a rank if every rank has all samples, whose ``order`` is given: equal parts of each batch."""
    starts = np.arange(0, len(order), batch_size)
    sizes = np.minimum(batch_size, len(order) - starts)
    first = sizes * rank // n_ranks
    counts = sizes * (rank + 1) // n_ranks - first
    bounds = np.concatenate([[0], np.cumsum(counts)])
    places = np.arange(bounds[-1]) + np.repeat(starts + first - bounds[:-1], counts)
    return Shares(order[places], bounds, first, sizes)


def shares_of_own(order, counts, batch_size, rank):
    """The Shares of a rank if each has samples of its own, and takes them in its ``order``.

    Each batch has rows of all ranks, in proportion to the rows that they have; the last ones may be smaller.

    Parameters
    ----------
    order : ndarray of int64 of shape (counts[rank],)
    counts : ndarray of int of shape (n_ranks,)
        The number of rows of each rank.
    batch_size : int
        At least the number of ranks.
    rank : int
    """
    parts = apportioned(batch_size, counts)
    starts = np.arange(int(np.max(-(-counts // np.maximum(parts, 1)))))
    of_ranks = [np.clip(count - starts * part, 0, part) for count, part in zip(counts, parts)]
    bounds = np.concatenate([[0], np.cumsum(of_ranks[rank])])
    return Shares(order, bounds, sum(of_ranks[:rank], 0 * starts), sum(of_ranks))


def apportioned(batch_size, counts):
    """Parts of a batch in proportion to ``counts``, at least 1 where there are rows (largest remainders)."""
    quotas = batch_size * counts / counts.sum()
    parts = np.maximum(np.floor(quotas), counts > 0).astype(np.int64)
    while parts.sum() < batch_size:
        parts[np.argmax(quotas - parts)] += 1
    while parts.sum() > batch_size:  # because of ranks with few rows
        parts[np.argmax(parts)] -= 1
    return parts
