"""Support for callbacks of ``sklearn.callback``, set by ``set_callbacks`` or passed on by meta-estimators."""

from fastmlp.training.callbacks import Callback
from fastmlp.validation.sklearn_compat import has_callbacks, new_task


class ScikitCallbacks(Callback):
    """Calls the ``sklearn.callback`` callbacks of an estimator: the fit is a task and each epoch a subtask."""

    def __init__(self, estimator, X, y, sample_weight):
        self._task = new_task(estimator, estimator.max_iter)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._epoch = None
        self._task.call_on_fit_task_begin(**self._data)

    def before_epoch(self, model, epoch):
        self._epoch = self._task.subcontext("epoch")
        self._epoch.call_on_fit_task_begin(**self._data, reconstruction_attributes=dict)

    def after_epoch(self, model, epoch, results):
        if self._epoch is None:  # 'lbfgs' and 'lm' only report the end of an iteration
            self.before_epoch(model, epoch)
        ended, self._epoch = self._epoch, None
        # The callback receives a copy of the estimator that includes its weights: nothing has to be added.
        return ended.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)

    def after_fit(self, model, error):
        if error is None:
            self._task.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)


def scikit_callbacks(estimator, X, y, sample_weight):
    """List with one Callback for all ``sklearn.callback`` callbacks of the estimator; empty if it has none."""
    return [ScikitCallbacks(estimator, X, y, sample_weight)] if has_callbacks(estimator) else []
