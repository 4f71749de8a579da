"""Epochs over a stream of blocks."""

import warnings
from contextlib import closing

import numpy as np

from .epochs import BaseEpochs
from .windows import ChangedBlocks


class StreamedEpochs(BaseEpochs):
    """Epochs over the windows of a stream.

    An epoch over a sequence of blocks that ends early is continued by the next one, with the same results. Of other
    blocks such an epoch cannot be continued: its weights are kept, but it does not count.

    Parameters
    ----------
    problem, state, **options
        As for ``BaseEpochs``.
    windows : Windows
    n_samples : int or None
        Number of samples of an epoch, for schedules that change within epochs.
    """

    def __init__(self, problem, state, windows, n_samples=None, **options):
        super().__init__(problem, state, windows.batch_size, **options)
        self._windows, self._n_expected, self._n_before = windows, n_samples, 0
        windows.drop_other_epoch(state)

    def _progress(self):
        return self._n_before + self.state.position, self._n_expected or len(self.state.order)

    def run(self, most=1):
        """Run one epoch, or the rest of one that was interrupted. Yields a list of its loss.

        Raises
        ------
        Interrupted, Diverged
        """
        state = self.state
        try:
            self._stop_if_interrupted()  # before the order of the blocks is drawn
            position = state.stream
            if position is None:
                state.drop_epoch_in_progress()
                position = self._windows.begin()
                state.keep_start()
                self._note(position, np.empty(0, np.int64))  # what was drawn is not drawn again after an error
            self._n_before = position.n_before
            with closing(self._windows.parts(position)) as parts:
                for part in parts:
                    self._run_part(part)
                    del part  # free the memory before the next blocks are read
            if not self._n_before:
                raise ValueError("blocks provided no samples.")
            if self._n_expected not in (None, self._n_before):
                warnings.warn(f"blocks provided {self._n_before} samples, but n_samples is {self._n_expected}.")
            loss = self._end_epoch(self._n_before)
        except BaseException as error:
            if isinstance(error, ChangedBlocks) or (state.stream is not None and state.stream.order is None):
                state.drop_epoch_in_progress()
            raise
        yield [loss]

    def _note(self, stream, order, position=0):
        """Set the place in the epoch."""
        state = self.state
        state.order, state.position, state.stream = order, position, stream

    def _run_part(self, part):
        """Make the steps of a Part, or the rest of them if it is the one in progress."""
        state, position = self.state, part.position
        continued = state.stream is not None and state.stream.n_read == position.n_read
        if continued and state.position > len(part.order):
            raise ChangedBlocks(f"{len(part.order)} samples where {state.position} were used")
        if not position.n_before:  # a smaller first part has all samples
            self.batch_size = min(self._windows.batch_size, len(part.order))
        self._set_samples(part.samples)
        self._note(position, part.order, state.position if continued else 0)
        self._stop_if_interrupted()
        self._run_steps()
        self._drop_samples()
        self._n_before += len(part.order)
