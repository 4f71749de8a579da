"""Recorder of an MLP: history, warnings and the way a fit ended."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from fastmlp.training.callbacks import NoBar
from fastmlp.training.full_batch import is_bayes
from fastmlp.training.history import append, curves
from fastmlp.training.outcomes import DIVERGED, INTERRUPTED
from fastmlp.training.trainer import Recorder


class HistoryRecorder(Recorder):
    """Records the curves of a fit in the model's ``history`` and warns if the fit was interrupted or diverged.

    ``bar`` is the progress bar, which shows the latest values; ``monitor`` is a Monitor or None.
    """

    def __init__(self, model, stopping, bar, monitor=None):
        self._model, self._stopping, self._bar, self._monitor = model, stopping, bar, monitor
        self.acts_on_epochs = monitor is not None

    def after_epochs(self, losses, n_samples):
        self._model.history.setdefault("loss", []).extend(losses)

    def after_scores(self, results):
        for name, score in results.items():
            append(self._model.history, name, score)
        if self._monitor is not None:
            self._monitor.record(self._model.history)
        if not isinstance(self._bar, NoBar):
            last = {name: f"{curve[-1]:.4g}" for name, curve in curves(self._model.history).items()}
            self._bar.set_postfix(last, refresh=False)

    def changeable(self):
        return {
            "optimizer": "optimizer", "alpha": "alpha", "_requested_backend": "backend",
            "matmul_precision": "matmul_precision",
        }  # fmt: skip

    def after_fit(self, result):
        model = self._model
        if result.solution is not None and is_bayes(model.alpha):
            model._evidence = result.solution.evidence
        if result.interrupt is not None:
            return result.interrupt
        if result.status == INTERRUPTED:
            model.interrupted = True
            warnings.warn(f"Training interrupted by user in epoch {model.epoch + 1}; the current weights are kept.")
        elif result.status == DIVERGED:
            self._warn_of_divergence(result.solution)
        else:
            self._stopping.restore()
            model.best_epoch = self._stopping.best_epoch
        return None

    def _warn_of_divergence(self, solution):
        model = self._model
        model.diverged, model._state.stopping = True, None  # early stopping ends too
        remedy = "Scale the inputs to mean 0 and standard deviation 1"
        if solution is None:
            where = f"in epoch {model.epoch + 1}; the weights from the end of epoch {model.epoch}"
            remedy += f", or lower the learning rate (now {model.optimizer.learning_rate:g})"
        else:
            where = f"after {solution.nit} iterations; the last finite weights"
        warnings.warn(f"Training diverged {where} are kept. {remedy}.", ConvergenceWarning)
