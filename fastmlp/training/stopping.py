"""When to stop, and which weights to keep. A fit has one of these rules.

A rule's ``after_epoch(loss, score)`` is called after each epoch; higher scores are better. ``is_over()`` says whether
to stop, ``was_over()`` whether an earlier fit that this one continues had come that far, and ``restore()`` puts the
best weights back, if the rule keeps any.
"""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NOTHING_WATCHED = (
    "The score that early stopping watches was NaN after every epoch: nothing was watched, and the weights are those "
    "of the last epoch. Check the evaluation set and the metric."
)


class NoStopping:
    """Train for as many epochs as were requested."""

    best_epoch, by_score = None, False

    def after_epoch(self, loss, score):
        """Do nothing."""

    def was_over(self):
        return False

    def is_over(self):
        return False

    def restore(self):
        """Do nothing."""


class EarlyStopping(NamedTuple):
    """State of ``Patience``. A training state holds it from the first epoch until the fit has ended.

    ``watched`` and ``n_rows`` are the name of the score and the number of validation samples. A later fit continues
    from here if it has the same. Lower scores are better.
    """

    watched: str
    n_rows: int
    best_score: float = math.inf
    best_parameters: np.ndarray | None = None
    best_epoch: int | None = None
    stalled: int = 0

    def after(self, epoch, score, parameters):
        """The state after that epoch; ``parameters`` are copied if they are the best so far."""
        if score < self.best_score:
            return self._replace(best_score=score, best_parameters=parameters.copy(), best_epoch=epoch, stalled=0)
        return self._replace(stalled=self.stalled + 1)


class Patience:
    """Stop after ``patience`` epochs in a row without a better validation score; the best weights are restored.

    It continues the rule of a fit that was cut short, if that watched the same score of as many samples.
    """

    def __init__(self, state, patience, watched, n_samples):
        self._state, self._patience = state, patience
        unfinished = state.stopping
        if unfinished is None or (unfinished.watched, unfinished.n_rows) != (watched, n_samples):
            state.stopping = EarlyStopping(watched, n_samples)
        self.best_epoch = None
        self._last_score = math.nan

    def after_epoch(self, loss, score):
        state, self._last_score = self._state, score
        state.stopping = state.stopping.after(state.epoch, -score, state.parameters)

    def was_over(self):
        return self.is_over()

    def is_over(self):
        return self._state.stopping.stalled >= self._patience

    def restore(self):
        stopping, self._state.stopping = self._state.stopping, None
        if stopping.best_parameters is not None:
            self._state.parameters[...] = stopping.best_parameters
            self.best_epoch = stopping.best_epoch
        elif stopping.stalled and math.isnan(self._last_score):
            warnings.warn(NOTHING_WATCHED)


@dataclass
class Progress:
    """State of ``Tolerance``: the best score, the epochs without improvement since, and the weights of the best score.

    An estimator keeps it from fit to fit.
    """

    best_score: float = -math.inf
    stalled: int = 0
    best_parameters: np.ndarray | None = None


class Tolerance:
    """scikit-learn's rule: stop after more than ``patience`` epochs in a row that did not improve by ``tol``.

    Parameters
    ----------
    state : TrainingState
    progress : Progress
        Where an earlier fit left off.
    tol, patience : float
    by_score : bool
        Whether to watch the validation score and keep the best weights, or to watch the training loss.
    lower_rate : bool, default=False
        Whether to divide the learning rate by 5 instead of stopping, until it is 1e-6 or less.
    stops : bool, default=True
        False only counts, and lowers the rate.
    tell : callable, default=None
        Takes a message, for instance ``print``.
    """

    best_epoch = None

    def __init__(self, state, progress, tol, patience, *, by_score, lower_rate=False, stops=True, tell=None):
        self._state, self.progress, self._tol, self._patience = state, progress, tol, patience
        self.by_score, self._lower_rate, self._stops, self._tell = by_score, lower_rate, stops, tell
        self.score, self._all_nan = None, None  # the last score; nothing is known before the first epoch

    def after_epoch(self, loss, score):
        progress = self.progress
        self.score = score = score if self.by_score else -loss
        self._all_nan = math.isnan(score) and self._all_nan is not False
        progress.stalled = progress.stalled + 1 if score < progress.best_score + self._tol else 0
        if score > progress.best_score:
            progress.best_score = score
            if self.by_score:
                progress.best_parameters = self._state.parameters.copy()

    def was_over(self):
        return False  # scikit-learn makes at least one epoch

    def is_over(self):
        if self.progress.stalled <= self._patience:
            return False
        what = "Validation score" if self.by_score else "Training loss"
        message = f"{what} did not improve more than tol={self._tol:f} for {self._patience} consecutive epochs."
        stops = True
        if self._lower_rate:
            rate = self._state.optimizer.learning_rate
            stops = rate <= 1e-6
            message += " Learning rate too small. Stopping." if stops else f" Setting learning rate to {rate / 5:f}"
            if not stops:
                self._state.optimizer = self._state.optimizer._replace(learning_rate=rate / 5)
                self.progress.stalled = 0
        else:
            message += " Stopping."
        if self._tell is not None:
            self._tell(message)
        return stops and self._stops

    def restore(self):
        if self.by_score and self.progress.best_parameters is not None:
            self._state.parameters[...] = self.progress.best_parameters
        elif self.by_score and self._all_nan:
            warnings.warn(NOTHING_WATCHED)
