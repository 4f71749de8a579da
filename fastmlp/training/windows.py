"""Windows of a few blocks of a stream, whose samples are shuffled together and divided into batches.

The order of the blocks is shuffled if they are a sequence, and samples are shuffled within the few blocks in memory at
once (Xu et al. 2022, "In-Database Machine Learning with CorgiPile"). Batches may span several windows. The random
numbers of an epoch are drawn at its beginning, however many windows it has: an order of the blocks and a seed.
"""

from contextlib import closing
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse, vstack

from fastmlp.validation.checks import check_integer

from .problem import Samples

NO_ROWS = np.empty((0, 2), np.int64)
UNSHUFFLED = -1


class StreamPosition(NamedTuple):
    """Where an epoch over blocks is: at the beginning of a window.

    Attributes
    ----------
    order : ndarray of int or None
        Numbers of all blocks in the order of this epoch; None if they are not a sequence.
    seed : int
        Of the orders within windows, or UNSHUFFLED.
    n_read : int
        Number of blocks of ``order`` before the window.
    left : ndarray of shape (n, 2)
        (block, row) of the samples at the beginning of the window that filled no batch of the windows before.
    n_before : int
        Number of samples of the batches before.
    batch_size, shuffle_blocks : int
        Those that ``left`` and ``n_read`` belong to.
    """

    order: np.ndarray | None
    seed: int
    n_read: int
    left: np.ndarray
    n_before: int
    batch_size: int
    shuffle_blocks: int


class Part(NamedTuple):
    """The batches of a window: the Samples in memory, an order of those in complete batches, and the StreamPosition."""

    samples: Samples
    order: np.ndarray
    position: StreamPosition


class Windows:
    """The windows of the epochs over a Stream.

    Parameters
    ----------
    stream : Stream
    batch_size : int
    random_state : RandomState or None
        None does not shuffle.
    check : callable
        ``check(X, y, sample_weight)`` returns a block as validated Samples.
    """

    def __init__(self, stream, batch_size, random_state, check):
        self.stream, self.batch_size, self._random_state, self._check = stream, batch_size, random_state, check

    def with_batch_size(self, batch_size):
        """Windows over the same stream with another batch size."""
        return Windows(self.stream, batch_size, self._random_state, self._check)

    def begin(self):
        """The StreamPosition of a new epoch."""
        n_blocks, order, seed = self.stream.n_blocks, None, UNSHUFFLED
        if n_blocks is not None:
            order = np.arange(n_blocks) if self._random_state is None else self._random_state.permutation(n_blocks)
        if self._random_state is not None:
            seed = int(self._random_state.randint(2**32, dtype=np.uint32))
        return StreamPosition(order, seed, 0, NO_ROWS, 0, self.batch_size, self.stream.shuffle_blocks)

    def drop_other_epoch(self, state):
        """Drop the epoch in progress of a TrainingState unless it is one over these windows, which is continued."""
        found, stream = state.stream, self.stream
        own = stream.n_blocks, self._random_state is None, self.batch_size, stream.shuffle_blocks
        if found is None or found.order is None or own != (
            len(found.order), found.seed == UNSHUFFLED, found.batch_size, found.shuffle_blocks,
        ):  # fmt: skip
            state.drop_epoch_in_progress()

    def parts(self, position):
        """Iterate over the Parts of an epoch from a StreamPosition on: complete batches, except for the last part."""
        left = [self._rows_at(position.left)] if len(position.left) else []
        with closing(self.stream.blocks(position.order, self._check, position.n_read)) as blocks:
            while more := list(islice(blocks, self.stream.shuffle_blocks)):
                samples = Samples(*map(stacked, zip(*left, *(block for *_, block in more))))
                order = self._order(position, samples.X.shape[0])
                whole, rest = np.split(order, [len(order) - len(order) % self.batch_size])
                left = [_take(samples, rest)] if len(rest) else []
                part = Part(samples, whole, position) if len(whole) else None
                position = position._replace(
                    n_read=more[-1][0],
                    left=_origins(rest, position.left, more),
                    n_before=position.n_before + len(whole),
                )
                del samples, more  # free the memory before the next blocks are read
                if part is not None:
                    yield part
                del part
        for samples in left:
            yield Part(samples, np.arange(samples.X.shape[0]), position)

    def _order(self, position, n_samples):
        if position.seed == UNSHUFFLED:
            return np.arange(n_samples)
        return np.random.RandomState([position.seed, position.n_read]).permutation(n_samples)

    def _rows_at(self, origins):
        """Samples by their (block, row), to continue an epoch."""
        found, places = [], []
        for number in np.unique(origins[:, 0]):
            here = np.flatnonzero(origins[:, 0] == number)
            block, rows = self.stream.block(int(number), self._check), origins[here, 1]
            if block is None or rows.max() >= block.X.shape[0]:
                raise ChangedBlocks(f"block {number} has fewer samples")
            found.append(_take(block, rows))
            places.append(here)
        return _take(Samples(*map(stacked, zip(*found))), np.argsort(np.concatenate(places)))


class ChangedBlocks(ValueError):
    """Raised for blocks other than those of the epoch that is to be continued."""

    def __init__(self, what):
        super().__init__(
            f"the epoch that was interrupted cannot be continued, because the blocks have changed: {what}. The next "
            "call starts a new epoch from the current weights."
        )


def checked_position(saved):
    """The StreamPosition from a model file, or None. Raises ValueError if it is invalid."""
    if saved is None:
        return None
    position = StreamPosition(*saved)
    order, left = position.order, position.left
    if order.dtype != np.int64 or not np.array_equal(np.sort(order), np.arange(len(order))):
        raise ValueError("the order of a stream is not a permutation of the blocks")
    if left.dtype != np.int64 or left.shape != (len(left), 2) or left.min(initial=0) < 0:
        raise ValueError(f"the samples left from a window are {left.dtype} of shape {left.shape}")
    if left[:, 0].max(initial=-1) >= len(order):
        raise ValueError("the samples left from a window are of blocks that do not exist")
    for name, low, high in (
        ("seed", UNSHUFFLED, 2**32 - 1), ("n_read", 0, len(order)), ("n_before", 0, 2**53), ("batch_size", 1, 2**63),
        ("shuffle_blocks", 1, 2**63),
    ):  # fmt: skip
        if check_integer(name, getattr(position, name), low) > high:
            raise ValueError(f"{name} is {getattr(position, name)}, more than {high}")
    return position


def _origins(rows, left, blocks):
    """(block, row) of some rows of a window: the samples left from earlier ones, followed by blocks."""
    starts = np.cumsum([len(left), *(block.X.shape[0] for *_, block in blocks)])
    new, numbers = rows[rows >= len(left)], np.array([number for _, number, _ in blocks])
    places = np.searchsorted(starts, new, "right") - 1
    origins = np.empty((len(rows), 2), np.int64)
    origins[rows < len(left)] = left[rows[rows < len(left)]]
    origins[rows >= len(left)] = np.column_stack([numbers[places], new - starts[places]])
    return origins


def _take(samples, rows):
    X, y, weight = samples
    return Samples(X[rows], y[rows], None if weight is None else weight[rows])


def stacked(parts):
    """Concatenate parts of X, y or sample_weight."""
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return vstack(parts, format="csr") if any(map(issparse, parts)) else np.concatenate(parts)
