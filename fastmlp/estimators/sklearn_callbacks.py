"""scikit-learn's own callbacks, which ``set_callbacks`` takes and meta-estimators hand down."""

from fastmlp.training.callbacks import Callback
from fastmlp.validation.sklearn_compat import has_callbacks, new_task


class ScikitCallbacks(Callback):
    """Tells an estimator's callbacks of ``sklearn.callback`` of its fit, a task, and of each epoch, a subtask of it."""

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
        if self._epoch is None:  # 'lbfgs' says only when an iteration ends
            self.before_epoch(model, epoch)
        ended, self._epoch = self._epoch, None
        # The callback gets a copy of the estimator, with weights of its own: nothing has to be put into it.
        return ended.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)

    def after_fit(self, model, error):
        if error is None:
            self._task.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)


def scikit_callbacks(estimator, X, y, sample_weight):
    """Those that the estimator has, as one Callback in a list; an empty list where it has none."""
    return [ScikitCallbacks(estimator, X, y, sample_weight)] if has_callbacks(estimator) else []
