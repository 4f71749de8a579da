"""What a fit of an MLP notes after each epoch, and whom it tells."""

import math
import warnings

from fastmlp.backends.device_arrays import to_host
from fastmlp.inspection.gradients import curves, note
from fastmlp.prediction.predict import predict_rows
from fastmlp.training.callbacks import NoBar
from fastmlp.training.stopping import NOTHING_WATCHED, EarlyStopping


class Validation:
    """Rows that an MLP does not learn from: after each epoch their loss, and their score by a metric.

    Parameters
    ----------
    model : MLP
    data : (X, y)
    metric : 'accuracy', 'r2', function (y, outputs) -> float, or None
        What ``evaluate`` gives, or a function of y as it was given and the outputs; more is better.
    n_inputs : int

    Raises
    ------
    ValueError
        For what is no such pair, or no such metric.
    """

    def __init__(self, model, data, metric, n_inputs):
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            what = f"{len(data)} things" if isinstance(data, (tuple, list)) else type(data).__name__
            raise ValueError(f"validation_data must be a pair (X, y), got {what}.")
        self._model, self._metric, self._given_y = model, metric, data[1]
        try:
            self._X, self._y, _ = model._rows(*data, None)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error
        if self._X.shape[1] != n_inputs:
            raise ValueError(f"validation data have {self._X.shape[1]} columns, X has {n_inputs}.")
        known = "accuracy" if model._decides() else "r2"
        if metric is not None and not callable(metric) and not (isinstance(metric, str) and metric == known):
            raise ValueError(f"metric must be {known!r} for this loss, or a function (y, outputs), got {metric!r}.")
        if getattr(metric, "__name__", "") == "loss":
            raise ValueError("a metric called 'loss' would be taken for the loss: give it another name.")
        self.n_rows = self._X.shape[0]
        self.names = ["validation_loss"]
        if metric is not None:
            self.names.append(f"validation_{getattr(metric, '__name__', 'metric') if callable(metric) else metric}")

    def come_to_host(self):
        """From a GPU, where the rows may be, as the model will not be there."""
        self._X = to_host(self._X)

    def scores(self):
        """A number for each of ``names``."""
        model = self._model
        loss = model._mean_loss(model.parameters, self._X, self._y, None)
        if self._metric is None:
            return [loss]
        outputs = predict_rows(model._backend.module, model.network, model.parameters, self._X)
        if callable(self._metric):
            score = self._metric(self._given_y, outputs)
            try:
                return [loss, float(score)]
            except (TypeError, ValueError) as error:
                raise TypeError(f"metric must return a number, got {score!r}.") from error
        return [loss, model._accuracy_or_r2(outputs, self._y, None)]

    def watched(self, scores):
        """The one of ``scores`` that patience goes by, so that less is better."""
        return scores[0] if self._metric is None else -scores[1]


class FitLog:
    """Curves in a model's ``history``, the best weights for ``patience``, callbacks, and a progress bar.

    ``monitor``: a Monitor or None. ``total`` and ``unit`` are those of the bar, ``progress`` is its class.
    """

    def __init__(self, model, callbacks, validation=None, patience=None, monitor=None, *, progress, total, unit):
        self._model, self._validation, self._monitor, self.callbacks = model, validation, monitor, callbacks
        self._patience = patience
        self._told = ["loss", *(() if validation is None else validation.names)]
        self.bar = progress(total=total, unit=unit, unit_scale=True)

    def begin(self):
        """Continue the early stopping of a fit that was cut short if it watched the same score, else start again."""
        state = self._model._state
        if self._patience is None:
            state.stopping = None
            return
        new = EarlyStopping(self._validation.names[-1], self._validation.n_rows)
        unfinished = state.stopping
        if unfinished is None or (unfinished.watched, unfinished.n_rows) != (new.watched, new.n_rows):
            state.stopping = new

    def end(self):
        """Restore the best weights of early stopping. Returns their epoch, or None."""
        state = self._model._state
        stopping, state.stopping = state.stopping, None
        if stopping is None:
            return None
        if stopping.best_parameters is None:
            if stopping.stalled and math.isnan(self._model.history[stopping.watched][-1]):
                warnings.warn(NOTHING_WATCHED)
            return None  # lbfgs may end without an iteration: then there is no score
        state.parameters[...] = stopping.best_parameters
        return stopping.best_epoch

    def note(self, loss):
        """Hear of an epoch that has just ended, and of its loss."""
        model = self._model
        note(model.history, "loss", loss)
        scores = [] if self._validation is None else self._validation.scores()
        values = [loss, *scores]
        for name, value in zip(self._told[1:], scores):
            note(model.history, name, value)
        if self._patience is not None:
            state = model._state
            state.stopping = state.stopping.after(state.epoch, self._validation.watched(scores), state.parameters)
        if self._monitor is not None:
            self._monitor.note()
        if self.callbacks:
            self.callbacks.after_epoch(dict(zip(self._told, values)))
        if not isinstance(self.bar, NoBar):
            last = {name: f"{curve[-1]:.4g}" for name, curve in curves(model.history).items()}
            self.bar.set_postfix(last, refresh=False)

    @property
    def is_over(self):
        """Whether early stopping or a callback ends the fit."""
        stalled = self._patience is not None and self._model._state.stopping.stalled >= self._patience
        return stalled or self.callbacks.stop
