"""The blocks of samples that a user passes to ``fit_stream``, for data larger than memory."""

import sys
from collections.abc import Mapping
from contextlib import closing
from itertools import chain, islice
from numbers import Number

import numpy as np
from scipy.sparse import issparse

from fastmlp.backends.device_arrays import to_host
from fastmlp.sources.base import BlockSource
from fastmlp.sources.read_blocks import kind_of_source
from fastmlp.validation.arrays import is_frame
from fastmlp.validation.checks import check_integer
from fastmlp.validation.sklearn_compat import num_samples

# Documentation of parameters of fit_stream.
BLOCKS = """\
blocks : sequence, function or iterable
    Provides blocks (X, y) or (X, y, sample_weight), each as for ``fit``. A sequence (with ``len`` and integer
    indexing) is read in a new random order in each epoch; a function without arguments is called in each epoch
    and returns an iterator; an iterator works for one epoch only. Batches may span several blocks.
    ``fastmlp.read_blocks`` makes blocks of files and lazy data frames."""
SHUFFLE_BLOCKS = """\
shuffle_blocks : int, default=1
    Number of blocks whose samples are shuffled together. Use more if neighbouring samples are similar, as in a
    sorted file (Xu et al. 2022). Memory for about three times as many blocks is needed, and four times for
    those of ``read_blocks``, which are read ahead."""


class Stream:
    """Blocks of samples as passed to ``fit_stream``.

    Parameters
    ----------
    blocks : sequence, function or iterable
        Provides blocks (X, y) or (X, y, sample_weight). A sequence is read in any order; a function without arguments
        is called in each epoch and returns an iterator; an iterator works for one epoch only.
    shuffle_blocks : int
        Number of blocks in memory at once, whose samples are shuffled together.
    n_samples : int or None
        Total number of samples in all blocks, if known.
    epochs : int
        Number of epochs.
    place : (int, int), default=(0, 1)
        (r, n): of each n blocks of an epoch number r is taken, the first one being number 0.

    Raises
    ------
    TypeError
        If ``blocks`` cannot provide blocks.
    ValueError
        If ``blocks`` is an iterator and there are several epochs.
    """

    def __init__(self, blocks, shuffle_blocks, n_samples, epochs, place=(0, 1)):
        self.shuffle_blocks = min(check_integer("shuffle_blocks", shuffle_blocks, 1), sys.maxsize)
        self._source = blocks if isinstance(blocks, BlockSource) else None  # is read in a thread
        self.n_samples = None if n_samples is None else check_integer("n_samples", n_samples, 1)
        if self.n_samples is None and self._source is not None:
            self.n_samples = self._source.n_samples
        self._given, self._begun, self._n_dimensions, self._place = blocks, None, None, place
        self.n_seen = 0  # blocks that an iterator has provided in this epoch, with those that others take
        self.in_any_order = hasattr(blocks, "__len__") and hasattr(blocks, "__getitem__")
        of_blocks = self.in_any_order or callable(blocks) or hasattr(blocks, "__iter__")
        of_numbers = isinstance(blocks, (bytes, Mapping, np.ndarray)) or issparse(blocks) or is_frame(blocks)
        if kind_of_source(blocks) is not None:
            raise TypeError(
                f"blocks must be blocks (X, y), got {type(blocks).__name__}: pass read_blocks(..., target=...), "
                "which reads them from files and lazy data frames."
            )
        if not of_blocks or of_numbers:
            raise TypeError(
                "blocks must be a sequence of blocks (X, y), a function that returns an iterator over them, or an "
                f"iterable, got {type(blocks).__name__}."
            )
        if epochs > 1 and not self.is_repeatable:
            raise ValueError(
                f"an iterator of blocks can be used for one epoch only, got {epochs} epochs: pass a list of blocks, or "
                "a function that returns an iterator."
            )

    def first(self):
        """(X, y, sample_weight) of the first block with samples, which is used in the first epoch too."""
        given = self._given
        blocks = ((n, given[n]) for n in range(len(given))) if self.in_any_order else self._numbered_blocks()
        for number, block in blocks:
            rows = _rows_of(block, number)
            if num_samples(rows[0]):
                if not self.in_any_order:
                    self._begun = chain([(number, block)], blocks)
                self._weighted = rows[2] is not None
                return rows
        raise ValueError("blocks provided no samples.")

    @property
    def is_repeatable(self):
        """Whether the blocks can be read more than once."""
        return not hasattr(self._given, "__next__")

    @property
    def n_blocks(self):
        """Number of blocks of a sequence, otherwise None."""
        return len(self._given) if self.in_any_order else None

    def settings(self):
        """What must be the same in all processes that train together, by its name in error messages."""
        if self._place == (0, 1):  # each has blocks of its own
            return {"shuffle_blocks": self.shuffle_blocks, "n_samples given": self.n_samples is not None}
        return {
            "shuffle_blocks": self.shuffle_blocks, "n_samples": self.n_samples, "number of blocks": self.n_blocks,
        }  # fmt: skip

    def blocks(self, order, check, start=0):
        """Iterate over the blocks that have samples.

        Parameters
        ----------
        order : array of int or None
            Numbers of the blocks of a sequence; None means all blocks in their own order.
        check : callable
            ``check(X, y, sample_weight)`` returns a block as validated Samples.
        start : int, default=0
            Number of blocks of ``order`` to pass over.

        Yields
        ------
        (number of blocks read so far, number of the block, Samples)
        """
        with closing(self._numbered_blocks(order, start)) as blocks:
            n_read = start
            for number, block in blocks if self.in_any_order else self._own(blocks):
                n_read, samples = n_read + 1, self._checked(number, block, check)
                del block  # free the memory before the next one is read
                if samples is not None:
                    yield n_read, number, samples

    def block(self, number, check):
        """One block of a sequence as validated Samples, or None if it has no samples."""
        return self._checked(number, self._given[number], check)

    def _checked(self, number, block, check):
        rows = _rows_of(block, number)
        if not num_samples(rows[0]):
            return None
        if (rows[2] is not None) is not self._weighted:
            found = "has no" if self._weighted else "has"
            raise ValueError(f"block {number} {found} sample weights, unlike the first block.")
        try:
            samples = check(*rows)
            if samples.weight is not None:
                self._n_dimensions = self._n_dimensions or samples.weight.ndim
                if samples.weight.ndim != self._n_dimensions:
                    raise ValueError("all blocks must have weights of samples, or all must have weights of targets.")
        except ValueError as error:
            where = "" if self._source is None else f" ({self._source.name(number)})"
            raise ValueError(f"block {number}{where}: {error}") from error
        return samples

    def _numbered_blocks(self, order=None, start=0):
        """Generator of pairs (number of the block, block)."""
        if self.in_any_order:
            order = self._own(range(self.n_blocks) if order is None else map(int, order))
            order = islice(order, start, None)
            if self._source is not None:
                yield from self._source.read_ahead(order, self.shuffle_blocks)
            else:
                yield from ((number, self._given[number]) for number in order)
            return
        begun, self._begun = self._begun, None
        if begun is None:
            given = self._given() if callable(self._given) else self._given
            if not hasattr(given, "__iter__"):
                raise TypeError(f"the function passed as blocks must return an iterator, got {given!r}.")
            self.n_seen, begun = 0, map(self._noted, enumerate(given))
        yield from begun

    def _noted(self, numbered):
        """A pair (number of the block, block) that an iterator has provided."""
        self.n_seen = numbered[0] + 1
        return numbered

    def _own(self, blocks):
        """Those of an iterable of all blocks that are taken."""
        first, step = self._place
        return islice(blocks, first, None, step)


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
            f"block {number} is a single sample, but a block must be (X, y) with X of shape (n_samples, n_features). "
            "For a torch Dataset pass DataLoader(dataset, batch_size=...), or call fit(*dataset.tensors)."
        )
    return X, y, sample_weight


def _dimensions(given):
    """Number of dimensions of an array or of nested lists; 2 if unknown or empty."""
    if isinstance(given, Number):
        return 0
    if isinstance(given, (list, tuple)):
        return 1 + _dimensions(given[0]) if given else 2
    shape = getattr(given, "shape", (0, 0))
    return 2 if 0 in shape else len(shape)


def check_n_samples(n_samples, optimizer):
    """Raise ValueError if a schedule requires the number of samples in an epoch and ``n_samples`` is None."""
    schedule = optimizer.schedule
    if n_samples is None and schedule is not None and schedule.name != "reduce_on_plateau":
        raise ValueError(
            f"the schedule {schedule.name!r} requires n_samples, the total number of samples in all blocks."
        )
