"""Epochs over samples in memory. Several short ones run in one native call if no Python code has to run between."""

import time

from scipy.sparse import issparse

from fastmlp.kernels.spec import Batches, Repeat
from fastmlp.prediction.predict import reported_loss

from .durations import seconds_since
from .epochs import LARGE_WEIGHT, BaseEpochs
from .shuffling import draws_of, first_order


class Epochs(BaseEpochs):
    """Epochs over ``samples``; ``shuffle`` is a Shuffle, or None for samples in order."""

    def __init__(self, problem, state, batch_size, samples, shuffle=None, **options):
        super().__init__(problem, state, batch_size, **options)
        self.shuffle, self._order = shuffle, first_order(shuffle, samples.X.shape[0])
        self._set_samples(samples)
        if not state.is_in_epoch_of(len(self._order)):
            state.drop_epoch_in_progress()

    def _progress(self):
        return self.state.position, len(self._order)

    def run(self, most=1):
        """Run an epoch, the rest of one that was interrupted, or several. Yields lists of their losses.

        Parameters
        ----------
        most : int, default=1
            The largest number of epochs to run. More than one are run in a single call of the backend.

        Raises
        ------
        Interrupted, Diverged
        """
        state = self.state
        self._stop_if_interrupted()  # before shuffling, which must not be repeated
        if most > 1 and state.order is None:
            several = self._run_several(most)
            if several is not None:
                yield from self._losses(*several)
                return
        if state.order is None:
            self._order = self._order if self.shuffle is None else self.shuffle(self._order)
            state.order = self._order
            state.keep_start()
        self._run_steps()
        yield [self._end_epoch(len(state.order))]

    def _run_several(self, most):
        """Run several epochs in one call: (sums, start) of ``_repeat``, or None if they must be run one by one."""
        state, n_samples = self.state, len(self._order)
        schedule, n_batches = state.optimizer.schedule, -(-n_samples // self.batch_size)
        n_epochs = min(most, self._chunk_size.batches // n_batches)
        follows_loss = schedule is not None and schedule.name == "reduce_on_plateau"
        if n_epochs < 2 or issparse(self.samples.X) or self._may_overflow or follows_loss or self._splits_steps():
            return None
        prepared = state.take_prepared(self.problem, self.batch_size)
        train, results = prepared.train, None
        if train.repeat is not None and not train.takes_threads(n_samples):
            with draws_of(self.shuffle) as draws:
                results = None if draws is None else self._repeat(train, n_epochs, draws)
        state.keep_prepared(prepared)
        return results

    def _repeat(self, train, n_epochs, draws):
        """(sums of losses and penalties of each epoch, parameters before the last); see ``draws_of`` for ``draws``."""
        state, (X, y, weight), begun = self.state, self._held, time.perf_counter()
        self._order = self._order.copy()  # the call changes it
        from_scratch = self.shuffle is not None and self.shuffle.from_scratch
        state.keep_start()  # for predictions in other threads
        try:
            sums, n_steps, start = train.repeat(
                Batches(X, y, self._order, self.batch_size, weight), state.step,
                Repeat(n_epochs, draws, from_scratch, LARGE_WEIGHT), self._rates(len(self._order), n_epochs),
            )  # fmt: skip
        except BaseException:
            state.drop_epoch_in_progress()
            raise
        state.step += n_steps
        seconds, n_samples = seconds_since(begun), len(sums) * len(self._order)
        if self.n_done:  # the first call may include compilation
            self._chunk_size.update(n_samples / self.batch_size, seconds)
        self._count(n_samples, seconds)
        return sums, start

    def _losses(self, sums, start):
        """Yield the losses of several epochs, given sums of each, and the parameters before the last."""
        state, self.n_samples = self.state, len(self._order)
        before = sums[:-1] / self.n_samples
        if len(before):
            state.epoch += len(before)
            yield reported_loss(self.network, before[:, 0], before[:, 1]).tolist()
        (state.loss_sum, state.penalty_sum), state.epoch_start = sums[-1].tolist(), start
        self._stop_if_diverged()
        yield [self._end_epoch(self.n_samples)]
