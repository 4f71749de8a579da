"""Validation set of an MLP: loss and metric after each epoch."""

import math

import numpy as np

from fastmlp.backends.device_arrays import to_host
from fastmlp.kernels.spec import loss_row
from fastmlp.prediction.scores import accuracy, r2
from fastmlp.training.trainer import Scorer

from .samples import checked_samples


class Validation(Scorer):
    """Loss and metric of an MLP on a validation set.

    Parameters
    ----------
    model : MLP
    data : (X, y)
    metric : 'accuracy', 'r2', function (y, outputs) -> float, or None
        Metric of ``evaluate``, or a function of y as passed in ``data`` and the outputs; higher is better.
    n_inputs : int
        Number of columns of the training data.

    Raises
    ------
    ValueError
        If ``data`` is not a valid pair, or ``metric`` is unknown.
    """

    def __init__(self, model, data, metric, n_inputs):
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            what = f"{len(data)} elements" if isinstance(data, (tuple, list)) else type(data).__name__
            raise ValueError(f"validation_data must be a pair (X, y), got {what}.")
        self._model, self._metric, self._given_y = model, metric, data[1]
        try:
            self._samples = checked_samples(model, *data, None)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error
        if self._samples.X.shape[1] != n_inputs:
            raise ValueError(f"validation_data has {self._samples.X.shape[1]} columns, but X has {n_inputs}.")
        known = "accuracy" if model._is_classifier() else "r2"
        if metric is not None and not callable(metric) and not (isinstance(metric, str) and metric == known):
            raise ValueError(f"metric must be {known!r} for this loss, or a function (y, outputs), got {metric!r}.")
        if getattr(metric, "__name__", "") == "loss":
            raise ValueError("a metric named 'loss' would overwrite the validation loss: give it another name.")
        self.n_samples = self._samples.X.shape[0]
        self.names = ["validation_loss"]
        if metric is not None:
            self.names.append(f"validation_{getattr(metric, '__name__', 'metric') if callable(metric) else metric}")

    def copy_to_host(self):
        """Copy the samples from the GPU, if they are there."""
        self._samples = self._samples._replace(X=to_host(self._samples.X))

    def score(self):
        """({name: score}, score to monitor) of the current weights, from one forward pass."""
        predictor = self._model._predictor()
        outputs = predictor.outputs(self._samples.X)
        loss = predictor.loss(self._samples, outputs)
        if self._metric is None:
            return {"validation_loss": loss}, -loss
        if callable(self._metric):
            score = self._metric(self._given_y, outputs)
            try:
                score = float(score)
            except (TypeError, ValueError) as error:
                raise TypeError(f"metric must return a number, got {score!r}.") from error
        else:
            score = accuracy_or_r2(self._model, outputs, self._samples.y, self._samples.weight)
        return dict(zip(self.names, (loss, score))), score


def accuracy_or_r2(model, outputs, y, sample_weight):
    """The metric of ``evaluate``: the accuracy for classification losses, R^2 for regression losses."""
    if not model._is_classifier():
        return r2(y, outputs, sample_weight) if np.isfinite(outputs).all() else math.nan
    if loss_row(model.loss).link == "softmax":
        hits = outputs.argmax(axis=1) == y.argmax(axis=1)
    else:
        hits = (outputs > 0.5) == (y > 0.5)
    return accuracy(hits, sample_weight)
