"""Training on an iterable of blocks, for data larger than memory.

The order of the blocks is shuffled if they are a sequence, and samples are shuffled within the few blocks in memory at
once (Xu et al. 2022, "In-Database Machine Learning with CorgiPile"). Batches may span several blocks.
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

from .epochs import BaseEpochs
from .problem import Samples

# Documentation of parameters of fit_stream.
BLOCKS = """\
blocks : sequence, function or iterable
    Provides blocks (X, y) or (X, y, sample_weight), each as for ``fit``. A sequence (with ``len`` and integer
    indexing) is read in a new random order in each epoch; a function without arguments is called in each epoch
    and returns an iterator; an iterator works for one epoch only. Batches may span several blocks."""
SHUFFLE_BLOCKS = """\
shuffle_blocks : int, default=1
    Number of blocks whose samples are shuffled together. Use more if neighbouring samples are similar, as in a
    sorted file (Xu et al. 2022). Memory for about three times as many blocks is needed."""


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
        (r, n): of each n blocks number r is taken, the first one being number 0.

    Raises
    ------
    TypeError
        If ``blocks`` cannot provide blocks.
    ValueError
        If ``blocks`` is an iterator and there are several epochs.
    """

    def __init__(self, blocks, shuffle_blocks, n_samples, epochs, place=(0, 1)):
        self._shuffle_blocks = min(check_integer("shuffle_blocks", shuffle_blocks, 1), sys.maxsize)
        self.n_samples = None if n_samples is None else check_integer("n_samples", n_samples, 1)
        self._given, self._begun, self._place = blocks, None, place
        self._in_any_order = hasattr(blocks, "__len__") and hasattr(blocks, "__getitem__")
        of_blocks = self._in_any_order or callable(blocks) or hasattr(blocks, "__iter__")
        of_numbers = isinstance(blocks, (str, bytes, Mapping, np.ndarray)) or issparse(blocks) or is_frame(blocks)
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
        for number, block in self._numbered_blocks(None):
            rows = _rows_of(block, number)
            if num_samples(rows[0]):
                if not self._in_any_order:
                    self._begun = chain([(number, block)], self._begun)
                self._weighted = rows[2] is not None
                return rows
        raise ValueError("blocks provided no samples.")

    @property
    def is_repeatable(self):
        """Whether the blocks can be read more than once."""
        return not hasattr(self._given, "__next__")

    def blocks(self, permutation, check):
        """Iterate over the blocks of an epoch that have samples, validated by ``check``; see ``parts``."""
        blocks, self._begun, n_dimensions = self._numbered_blocks(permutation), None, None
        for number, block in blocks:
            rows = _rows_of(block, number)
            if not num_samples(rows[0]):
                continue
            if (rows[2] is not None) is not self._weighted:
                found = "has no" if self._weighted else "has"
                raise ValueError(f"block {number} {found} sample weights, unlike the first block.")
            try:
                checked = check(*rows)
                if checked[2] is not None and checked[2].ndim != (n_dimensions := n_dimensions or checked[2].ndim):
                    raise ValueError("all blocks must have weights of samples, or all must have weights of targets.")
                yield checked
            except ValueError as error:
                raise ValueError(f"block {number}: {error}") from error

    def _numbered_blocks(self, permutation):
        """Iterator over pairs (number of the block, block)."""
        if self._in_any_order:
            n_blocks = len(self._given)
            order = range(n_blocks) if permutation is None else map(int, permutation(n_blocks))
            return ((number, self._given[number]) for number in self._own(order))
        if self._begun is None:
            given = self._given() if callable(self._given) else self._given
            if not hasattr(given, "__iter__"):
                raise TypeError(f"the function passed as blocks must return an iterator, got {given!r}.")
            self._begun = self._own(enumerate(given))
        return self._begun

    def _own(self, blocks):
        """The blocks that are taken."""
        first, step = self._place
        return islice(blocks, first, None, step)

    def parts(self, batch_size, permutation, check):
        """Iterate over the samples of an epoch in parts of complete batches, except for the last part.

        Parameters
        ----------
        batch_size : int
        permutation : callable or None
            ``permutation(n)`` returns a random permutation of n elements; None does not shuffle.
        check : callable
            ``check(X, y, sample_weight)`` returns a block as validated Samples.

        Yields
        ------
        (X, y, sample_weight, order)
        """
        blocks = self.blocks(permutation, check)
        left = []  # samples that do not fill a batch are added to the next blocks
        while more := list(islice(blocks, self._shuffle_blocks)):
            X, y, sample_weight = map(_stacked, zip(*left, *more))
            n_samples = X.shape[0]
            order = np.arange(n_samples) if permutation is None else permutation(n_samples)
            whole, rest = np.split(order, [n_samples - n_samples % batch_size])
            left = [(X[rest], y[rest], None if sample_weight is None else sample_weight[rest])] if len(rest) else []
            part = (X, y, sample_weight, whole) if len(whole) else None
            del X, y, sample_weight, more  # free the memory before the next blocks are read
            if part is not None:
                yield part
            del part
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


def _stacked(parts):
    """Concatenate parts of X, y or sample_weight."""
    if len(parts) == 1 or parts[0] is None:
        return parts[0]
    return vstack(parts, format="csr") if any(map(issparse, parts)) else np.concatenate(parts)


def check_n_samples(n_samples, optimizer):
    """Raise ValueError if a schedule requires the number of samples in an epoch and ``n_samples`` is None."""
    schedule = optimizer.schedule
    if n_samples is None and schedule is not None and schedule.name != "reduce_on_plateau":
        raise ValueError(
            f"the schedule {schedule.name!r} requires n_samples, the total number of samples in all blocks."
        )


class StreamedEpochs(BaseEpochs):
    """Epochs over a stream of blocks.

    An epoch that ends early cannot be continued later: its weights are kept, but it does not count.

    Parameters
    ----------
    problem, state, batch_size, **options
        As for ``BaseEpochs``.
    parts : callable
        ``parts()`` returns an iterator over the parts of an epoch, see ``Stream.parts``.
    n_samples : int or None
        Number of samples of an epoch, for schedules that change within epochs.
    """

    def __init__(self, problem, state, batch_size, parts, n_samples=None, **options):
        super().__init__(problem, state, batch_size, **options)
        self._parts, self._n_expected, self._earlier, self._max_batch_size = parts, n_samples, 0, self.batch_size

    def _progress(self):
        return self._earlier + self.state.position, self._n_expected or len(self.state.order)

    def run(self, most=1):
        """Run one epoch. Yields a list of its loss.

        Raises
        ------
        Interrupted, Diverged
        """
        state, self._earlier = self.state, 0
        state.drop_epoch_in_progress()
        try:
            self._stop_if_interrupted()
            state.epoch_start = state.parameters.copy()
            for *rows, order in self._parts():
                self._stop_if_interrupted()
                if not self._earlier:  # a smaller first part has all samples
                    self.batch_size = min(self._max_batch_size, len(order))
                self._set_samples(Samples(*rows))
                del rows
                state.order, state.position = order, 0
                self._run_steps()
                self._drop_samples()
                self._earlier += len(order)
            if not self._earlier:
                raise ValueError("blocks provided no samples.")
            if self._n_expected not in (None, self._earlier):
                warnings.warn(f"blocks provided {self._earlier} samples, but n_samples is {self._n_expected}.")
            loss = self._end_epoch(self._earlier)
        except BaseException:
            state.drop_epoch_in_progress()
            raise
        yield [loss]
