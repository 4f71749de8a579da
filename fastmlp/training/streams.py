"""Rows that come in blocks: for data that do not fit into memory, or that something else makes.

Blocks are shuffled as a whole where they can be taken in any order, and rows among the few blocks that are in memory at
once (Xu et al. 2022, "In-Database Machine Learning with CorgiPile"); batches go across the borders of blocks.
"""

import sys
import warnings
from collections.abc import Mapping
from itertools import chain, islice
from numbers import Number

import numpy as np
from scipy.sparse import issparse, vstack

from fastmlp.backends.device_arrays import to_host
from fastmlp.validation.arrays import is_frame
from fastmlp.validation.checks import check_integer
from fastmlp.validation.sklearn_compat import num_samples

from .epochs import Learning
from .problem import Samples


class Stream:
    """What is learned from, epoch by epoch.

    Parameters
    ----------
    blocks : sequence, function or iterable
        Gives (X, y) or (X, y, sample_weight), block by block. A sequence is taken in any order; a function without
        arguments is called for an iterator in each epoch; an iterator is for one epoch.
    n_mixed : int
        Blocks in memory at once, whose rows are shuffled together.
    n_rows : int or None
        Rows of all blocks together, if they are known.
    epochs : int
        How many will be asked for.

    Raises
    ------
    TypeError, ValueError
        For what gives no blocks, or not often enough.
    """

    def __init__(self, blocks, n_mixed, n_rows, epochs):
        self._n_mixed = min(check_integer("n_mixed", n_mixed, 1), sys.maxsize)
        self.n_rows = None if n_rows is None else check_integer("n_rows", n_rows, 1)
        self._given, self._begun = blocks, None
        self._in_any_order = hasattr(blocks, "__len__") and hasattr(blocks, "__getitem__")
        of_blocks = self._in_any_order or callable(blocks) or hasattr(blocks, "__iter__")
        of_numbers = isinstance(blocks, (str, bytes, Mapping, np.ndarray)) or issparse(blocks) or is_frame(blocks)
        if not of_blocks or of_numbers:
            raise TypeError(
                "blocks must be a sequence of blocks (X, y), a function that returns an iterator over them, or an "
                f"iterable, got {type(blocks).__name__}."
            )
        if epochs > 1 and not self.comes_again:
            raise ValueError(
                f"an iterator can be passed over once, not {epochs} times: give a list of blocks, or a function that "
                "returns an iterator over them."
            )

    def first(self):
        """(X, y, sample_weight) of the first block that has rows; the first epoch will see it too."""
        for number, block in self._blocks_of_pass(None):
            rows = _rows_of(block, number)
            if num_samples(rows[0]):
                if not self._in_any_order:
                    self._begun = chain([(number, block)], self._begun)
                self._weighted = rows[2] is not None
                return rows
        raise ValueError("blocks gave no rows.")

    @property
    def comes_again(self):
        """Whether blocks can be passed over more than once."""
        return not hasattr(self._given, "__next__")

    def blocks(self, permutation, check):
        """The blocks of a pass as ``check`` makes them, those without rows left out; see ``pieces``."""
        blocks, self._begun = self._blocks_of_pass(permutation), None
        for number, block in blocks:
            rows = _rows_of(block, number)
            if not num_samples(rows[0]):
                continue
            if (rows[2] is not None) is not self._weighted:
                found = "has no" if self._weighted else "has"
                raise ValueError(f"block {number} {found} sample weights, unlike the first one.")
            try:
                yield check(*rows)
            except ValueError as error:
                raise ValueError(f"block {number}: {error}") from error

    def _blocks_of_pass(self, permutation):
        """Pairs of a block's number and the block."""
        if self._in_any_order:
            n_blocks = len(self._given)
            order = range(n_blocks) if permutation is None else map(int, permutation(n_blocks))
            return ((number, self._given[number]) for number in order)
        if self._begun is None:
            given = self._given() if callable(self._given) else self._given
            if not hasattr(given, "__iter__"):
                raise TypeError(f"the function that is to give blocks must return an iterator, got {given!r}.")
            self._begun = enumerate(given)
        return self._begun

    def pieces(self, batch_size, permutation, check):
        """The rows of an epoch: (X, y, sample_weight, order) again and again, in whole batches but for the last.

        ``permutation(n)`` gives a random order of n things, None leaves them as they are; ``check(X, y,
        sample_weight)`` makes of a block what the kernels take.
        """
        blocks = self.blocks(permutation, check)
        left = []  # rows that do not fill a batch wait for the next blocks
        while more := list(islice(blocks, self._n_mixed)):
            X, y, sample_weight = map(_stacked, zip(*left, *more))
            n_rows = X.shape[0]
            order = np.arange(n_rows) if permutation is None else permutation(n_rows)
            whole, rest = np.split(order, [n_rows - n_rows % batch_size])
            left = [(X[rest], y[rest], None if sample_weight is None else sample_weight[rest])] if len(rest) else []
            piece = (X, y, sample_weight, whole) if len(whole) else None
            del X, y, sample_weight, more  # what is read next needs their room
            if piece is not None:
                yield piece
            del piece
        for rows in left:
            yield *rows, np.arange(rows[0].shape[0])


def _rows_of(block, number):
    """(X, y, sample_weight) on the host."""
    if not isinstance(block, (tuple, list)) or len(block) not in (2, 3):
        raise ValueError(
            f"block {number} must be (X, y) or (X, y, sample_weight), got {type(block).__name__}"
            f"{f' of {len(block)}' if isinstance(block, (tuple, list)) else ''}."
        )
    X, y, sample_weight = map(to_host, (*block, None)[:3])
    if _dimensions(X) < 2 or _dimensions(y) < 1:
        raise ValueError(
            f"block {number} is a single sample, and a block must be (X, y) of many, with X of shape (n_samples, "
            "n_features). For a Dataset of torch give DataLoader(dataset, batch_size=...), or its whole arrays to fit: "
            "fit(*dataset.tensors)."
        )
    return X, y, sample_weight


def _dimensions(given):
    """How many, where that can be seen; 2 for others, and for what holds nothing."""
    if isinstance(given, Number):
        return 0
    if isinstance(given, (list, tuple)):
        return 1 + _dimensions(given[0]) if given else 2
    shape = getattr(given, "shape", (0, 0))
    return 2 if 0 in shape else len(shape)


def _stacked(parts):
    """Parts of X, y or sample_weight, one below the other."""
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return vstack(parts, format="csr") if any(map(issparse, parts)) else np.concatenate(parts)


def check_n_rows(n_rows, optimizer):
    """Refuse a schedule that changes within epochs, where nobody knows how long they are."""
    schedule = optimizer.schedule
    if n_rows is None and schedule is not None and schedule.name != "reduce_on_plateau":
        raise ValueError(f"the schedule {schedule.name!r} needs n_rows: how many rows all blocks have together.")


class StreamedEpochs(Learning):
    """Epochs over rows that come in pieces: ``pieces()`` gives those of an epoch, as ``Stream.pieces`` does.

    An epoch that ends early cannot go on later: its weights stay, and it does not count. ``n_rows`` is how many an
    epoch has, for schedules that change within it.
    """

    def __init__(self, problem, state, batch_size, pieces, n_rows=None, **options):
        super().__init__(problem, state, batch_size, **options)
        self._pieces, self._n_rows, self._earlier, self._asked_size = pieces, n_rows, 0, self.batch_size

    def _progress(self):
        return self._earlier + self.state.position, self._n_rows or len(self.state.order)

    def run(self):
        """One epoch. Returns its loss.

        Raises
        ------
        Interrupted, Diverged
        """
        state, self._earlier = self.state, 0
        state.drop_epoch_in_progress()
        try:
            self._stop_if_interrupted()
            state.epoch_start = state.parameters.copy()
            for *rows, order in self._pieces():
                self._stop_if_interrupted()
                if not self._earlier:  # where it does not make a batch it is all there is
                    self.batch_size = min(self._asked_size, len(order))
                self._take_up(Samples(*rows))
                del rows
                state.order, state.position = order, 0
                self._learn()
                self._let_go()
                self._earlier += len(order)
            if not self._earlier:
                raise ValueError("blocks gave no rows.")
            if self._n_rows not in (None, self._earlier):
                warnings.warn(f"blocks gave {self._earlier} rows, and n_rows is {self._n_rows}.")
            return self._end_epoch(self._earlier)
        except BaseException:
            state.drop_epoch_in_progress()
            raise
