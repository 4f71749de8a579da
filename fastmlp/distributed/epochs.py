"""Epochs of gradient descent that the ranks of a job make together."""

import time
import warnings
from contextlib import closing

import numpy as np

from fastmlp.kernels.spec import Batches, row_weights
from fastmlp.prediction.predict import take_rows
from fastmlp.training.durations import seconds_since
from fastmlp.training.epochs import BaseEpochs
from fastmlp.training.outcomes import Interrupted
from fastmlp.training.shuffling import first_order

from .shares import shares_of_order, shares_of_own
from .steps import GradientSteps, LocalSteps


class RankEpochs(BaseEpochs):
    """Base class of epochs in which this process is one of several ranks; ``ranks`` are Ranks.

    ``state.position`` and the length of ``state.order`` count the rows of all ranks. ``weighted``: whether samples have
    weights, which ranks agree on.
    """

    def __init__(self, ranks, problem, state, batch_size, weighted, **options):
        super().__init__(problem, state, batch_size, **options)
        self._ranks, self._weighted, self._requested = ranks, weighted, False

    def _progress(self):
        return self.state.position, len(self.state.order)

    def _run_shares(self, shares):
        """Make the steps over the rows of ``shares``."""
        kind = LocalSteps if self._ranks.parallel.local_steps > 1 else GradientSteps
        most = np.diff(shares.bounds).max()
        self._batch_rows = max(1, int(most))
        self._steps = kind(self._ranks, self.problem, self.state, self._batch_rows, float(most / shares.sizes.max()))
        self._rows, self._next, weights = shares.rows, 0, shares.sizes
        if self._weighted:
            weight = None if self.samples is None else row_weights(self.samples.weight)
            weights = self._ranks.sum(shares.weights(weight))
        # Python numbers: indexing NumPy arrays would take a large part of a short step.
        self._bounds, self._first, self._sizes, self._weights = (
            array.tolist() for array in (shares.bounds, shares.first, shares.sizes, weights)
        )
        self._run_steps()

    def _run_chunk(self):
        """Make some of the steps, and add up with the other ranks how they went."""
        state, steps, bounds, start = self.state, self._steps, self._bounds, self._next
        n_batches = max(1, self._chunk_size.batches // steps.length) * steps.length
        self._next = stop = min(start + n_batches, len(self._sizes))
        begun, loss, penalty, ends = time.perf_counter(), 0.0, 0.0, np.cumsum(self._sizes[start:stop])
        rates = self._rates_between(ends - self._sizes[start:stop], ends)
        for low in range(start, stop, steps.length):
            high = min(low + steps.length, stop)
            more = steps.run(
                self._batch(self._rows[bounds[low] : bounds[high]]), self._first[low], self._sizes[low:high],
                self._weights[low], None if rates is None else rates[low - start : high - start],
            )  # fmt: skip
            loss, penalty = loss + more[0], penalty + more[1]
        steps.store()  # before the sum: after it, rank 0 may overwrite the shared arrays
        seconds = seconds_since(begun)
        loss, penalty, seconds, requested = self._ranks.sum((loss, penalty, seconds, self._is_requested())).tolist()
        state.loss_sum, state.penalty_sum = state.loss_sum + loss, state.penalty_sum + penalty
        self._requested, seconds = requested > 0, seconds / self._ranks.n_ranks
        if self.n_done:  # the first chunk may include compilation
            self._chunk_size.update(stop - start, seconds)
        self._count(int(ends[-1]), seconds)

    def _batch(self, rows):
        """Batches of some rows of this rank."""
        if self._held is not None:
            X, y, weight = self._held
            return Batches(X, y, rows, self._batch_rows, weight)
        if not len(rows):
            return Batches(None, None, rows, self._batch_rows)
        X, y, weight = self.samples
        weight = None if weight is None else weight[rows]
        return Batches(take_rows(X, rows), y[rows], np.arange(len(rows)), self._batch_rows, weight)

    def _is_requested(self):
        return self.interruption is not None and self.interruption.requested

    def _check_interruption(self):
        """Raise Interrupted on all ranks if Ctrl-C has come on any of them."""
        self._requested = self._ranks.any(self._is_requested())
        self._stop_if_interrupted()

    def _stop_if_interrupted(self):
        if self._requested:
            self._stop_if_diverged()
            raise Interrupted

    def _outputs_are_finite(self):
        return not self._ranks.any(not super()._outputs_are_finite())


class MemoryEpochs(RankEpochs):
    """Epochs over samples in memory.

    Parameters
    ----------
    ranks : Ranks
    problem, state, batch_size, samples, shuffle, **options
        As for ``Epochs``; the batch size is that of all ranks together.
    """

    def __init__(self, ranks, problem, state, batch_size, samples, shuffle=None, **options):
        super().__init__(ranks, problem, state, batch_size, samples.weight is not None, **options)
        self._shuffle, self._order = shuffle, first_order(shuffle, samples.X.shape[0])
        self._set_samples(samples)
        self._counts = np.array(ranks.allgather(len(self._order)))
        has_own = ranks.parallel.has_own_rows
        self._n_samples = int(self._counts.sum()) if has_own else len(self._order)
        if state.order is not None and (has_own or len(state.order) != self._n_samples):
            state.drop_epoch_in_progress()

    def run(self, most=1):
        """Run an epoch, or the rest of one that was interrupted. Yields a list of its loss.

        With samples of its own on each rank, an interrupted epoch cannot be continued: its weights are kept, but it
        does not count.

        Raises
        ------
        Interrupted, Diverged
        """
        ranks, state = self._ranks, self.state
        self._check_interruption()
        if state.order is None:
            self._order = self._order if self._shuffle is None else self._shuffle(self._order)
            state.order = self._order
            state.keep_start()
        if not ranks.parallel.has_own_rows:
            left = state.order[state.position :]
            self._run_shares(shares_of_order(left, self.batch_size, ranks.rank, ranks.n_ranks))
        else:
            order, state.order = state.order, range(self._n_samples)
            try:
                self._run_shares(shares_of_own(order, self._counts, self.batch_size, ranks.rank))
            except BaseException:
                state.drop_epoch_in_progress()
                raise
        yield [self._end_epoch(self._n_samples)]


class RankStreamEpochs(RankEpochs):
    """Epochs over a stream of blocks, of which each rank reads its own. One that ends early is not continued.

    Parameters
    ----------
    ranks : Ranks
    problem, state, **options
        As for ``BaseEpochs``.
    windows : Windows
        Those of this rank; the batch size is that of all ranks together.
    n_samples : int or None
        Number of samples of an epoch on all ranks, for schedules that change within epochs.
    weighted : bool
        Whether samples have weights.
    """

    def __init__(self, ranks, problem, state, windows, n_samples, weighted, **options):
        super().__init__(ranks, problem, state, windows.batch_size, weighted, **options)
        self._windows, self._n_expected, self._n_before = windows, n_samples, 0
        self._own_windows = windows.with_batch_size(max(1, windows.batch_size // ranks.n_ranks))

    def _progress(self):
        return self._n_before + self.state.position, self._n_expected or len(self.state.order)

    def run(self, most=1):
        """Run one epoch. Yields a list of its loss.

        Raises
        ------
        Interrupted, Diverged
        """
        state, self._n_before = self.state, 0
        state.drop_epoch_in_progress()
        try:
            self._check_interruption()
            state.keep_start()
            with closing(self._own_windows.parts(self._own_windows.begin())) as parts:
                while self._run_part(parts):
                    pass
            if not self._n_before:
                self._ranks.fail("blocks provided no samples.")
            if self._ranks.parallel.rows != "own":
                self._ranks.check_same({"number of blocks": self._windows.stream.n_seen})
            if self._n_expected not in (None, self._n_before):
                with self._ranks.agreement():  # a filter may make an error of it
                    warnings.warn(f"blocks provided {self._n_before} samples, but n_samples is {self._n_expected}.")
            loss = self._end_epoch(self._n_before)
        except BaseException:
            state.drop_epoch_in_progress()
            raise
        yield [loss]

    def _run_part(self, parts):
        """Make the steps over the next Part of each rank, of which some may have none. Returns whether any had."""
        state, order = self.state, np.empty(0, np.int64)
        self._stop_if_interrupted()
        with self._ranks.agreement():
            part = next(parts, None)
        if part is not None:
            order = part.order
            self._set_samples(part.samples)
        counts = np.array(self._ranks.allgather(len(order)))
        if counts.any():
            state.order, state.position = range(int(counts.sum())), 0
            self._run_shares(shares_of_own(order, counts, self.batch_size, self._ranks.rank))
            self._n_before += len(state.order)
        self._drop_samples()
        return counts.any()
