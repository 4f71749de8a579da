"""Stopping rules: when a fit stops, and which weights it keeps.

``after_epoch(loss, score)`` is called after each epoch; higher scores are better. ``is_over()`` returns whether to
stop, ``was_over()`` whether the rule had already stopped the fit that this one continues, and ``restore()`` restores
the best weights, if the rule keeps them.
"""

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

ALL_SCORES_NAN = (
    "The score monitored by early stopping was NaN after every epoch, so the weights are those of the last epoch. "
    "Check the evaluation set and the metric."
)


class NoStopping:
    """No early stopping: train for the requested number of epochs."""

    best_epoch, by_score = None, False

    def after_epoch(self, loss, score):
        """Do nothing."""

    def fewest_epochs(self):
        """The smallest number of epochs after which the rule may have an effect."""
        return math.inf

    def was_over(self):
        return False

    def is_over(self):
        return False

    def restore(self):
        """Do nothing."""


class PatienceState(NamedTuple):
    """State of ``Patience``, part of the training state until the fit has ended normally.

    ``watched`` and ``n_rows`` are the name of the score and the number of validation samples; a later fit continues
    from this state if both are the same. Lower scores are better here.
    """

    watched: str
    n_rows: int
    best_score: float = math.inf
    best_parameters: np.ndarray | None = None
    best_epoch: int | None = None
    stalled: int = 0

    def after(self, epoch, score, parameters):
        """The state after an epoch; ``parameters`` are copied if they are the best so far."""
        if score < self.best_score:
            return self._replace(best_score=score, best_parameters=parameters.copy(), best_epoch=epoch, stalled=0)
        return self._replace(stalled=self.stalled + 1)


class Patience:
    """Stop after ``patience`` consecutive epochs without a better validation score, and restore the best weights.

    After a fit that was cut short, the rule continues if score and number of validation samples are the same.
    """

    def __init__(self, state, patience, watched, n_samples):
        self._state, self._patience = state, patience
        unfinished = state.stopping
        if unfinished is None or (unfinished.watched, unfinished.n_rows) != (watched, n_samples):
            state.stopping = PatienceState(watched, n_samples)
        self.best_epoch = None
        self._last_score = math.nan

    def after_epoch(self, loss, score):
        state, self._last_score = self._state, score
        state.stopping = state.stopping.after(state.epoch, -score, state.parameters)

    def fewest_epochs(self):
        return 1

    def was_over(self):
        return self.is_over()

    def is_over(self):
        return self._state.stopping.stalled >= self._patience

    def restore(self):
        stopping, self._state.stopping = self._state.stopping, None
        if stopping.best_parameters is not None:
            with self._state.rewriting():
                self._state.parameters[...] = stopping.best_parameters
            self.best_epoch = stopping.best_epoch
        elif stopping.stalled and math.isnan(self._last_score):
            warnings.warn(ALL_SCORES_NAN)


@dataclass
class ToleranceState:
    """State of ``Tolerance``: best score, epochs without improvement, and weights of the best score.

    An estimator keeps it between fits.
    """

    best_score: float = -math.inf
    stalled: int = 0
    best_parameters: np.ndarray | None = None


class Tolerance:
    """scikit-learn's rule: stop after more than ``n_iter_no_change`` consecutive epochs without improvement by ``tol``.

    Parameters
    ----------
    state : TrainingState
    progress : ToleranceState
        State of the rule, possibly of an earlier fit.
    limits : MLPClassifier or MLPRegressor
        Has ``tol`` and ``n_iter_no_change``, which callbacks may change.
    by_score : bool
        Whether to monitor the validation score and keep the best weights, or to monitor the training loss.
    lower_rate : bool, default=False
        Whether to divide the learning rate by 5 instead of stopping, until it is 1e-6 or less.
    stops : bool, default=True
        False: count epochs and lower the learning rate, but never stop.
    log : callable, default=None
        Called with a message, for example ``print``.
    """

    best_epoch = None

    def __init__(self, state, progress, limits, *, by_score, lower_rate=False, stops=True, log=None):
        self._state, self.progress, self._limits = state, progress, limits
        self.by_score, self._lower_rate, self._stops, self._log = by_score, lower_rate, stops, log
        self.score, self._all_nan = None, None  # the last score; None before the first epoch
        self._is_resumed = self._has_stopped = False

    def after_epoch(self, loss, score):
        progress = self.progress
        self.score = score = score if self.by_score else -loss
        self._all_nan = math.isnan(score) and self._all_nan is not False
        progress.stalled = progress.stalled + 1 if score < progress.best_score + self._limits.tol else 0
        if score > progress.best_score:
            progress.best_score = score
            if self.by_score:
                progress.best_parameters = self._state.parameters.copy()

    def fewest_epochs(self):
        return 1 if self.by_score else max(1, self._limits.n_iter_no_change + 1 - self.progress.stalled)

    def resume(self, has_stopped):
        """Continue a fit after an epoch, after which a callback has stopped it or not."""
        self._is_resumed, self._has_stopped = True, has_stopped

    def was_over(self):
        if self._is_resumed:
            return self.is_over() or self._has_stopped
        return False  # as in scikit-learn, train for at least one epoch

    def is_over(self):
        tol, patience = self._limits.tol, self._limits.n_iter_no_change
        if self.progress.stalled <= patience:
            return False
        what = "Validation score" if self.by_score else "Training loss"
        message = f"{what} did not improve more than tol={tol:f} for {patience} consecutive epochs."
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
        if self._log is not None:
            self._log(message)
        return stops and self._stops

    def restore(self):
        if self.by_score and self.progress.best_parameters is not None:
            with self._state.rewriting():
                self._state.parameters[...] = self.progress.best_parameters
        elif self.by_score and self._all_nan:
            warnings.warn(ALL_SCORES_NAN)
