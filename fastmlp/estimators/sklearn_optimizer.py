"""The learning rates of an estimator's fit, under the names that scikit-learn programs use."""

from fastmlp.validation.checks import check_real

from .fitting import follows


class ScikitOptimizer:
    """``_optimizer`` of an estimator: its learning rates, which may be changed between calls of ``partial_fit``.

    Attributes
    ----------
    learning_rate : float
        Rate of the next step, before the bias correction of the Adams and the factor of a ``make_schedule``.
    learning_rate_init : float
        Rate at the start of the fit, from which 'invscaling' computes the current one. Setting it sets
        ``learning_rate`` too, unless the rate follows 'invscaling' or 'adaptive'.
    """

    __slots__ = ("_estimator",)  # another name is an error

    def __init__(self, estimator):
        self._estimator = estimator

    @property
    def learning_rate(self):
        return self._estimator._net.training.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate):
        self._estimator._set_learning_rate(check_real("learning_rate", rate, 0, open_low=True))

    @property
    def learning_rate_init(self):
        return self._estimator._initial_rate

    @learning_rate_init.setter
    def learning_rate_init(self, rate):
        rate = check_real("learning_rate_init", rate, 0, open_low=True)
        self._estimator._initial_rate = rate
        if not (follows(self._estimator, "invscaling") or follows(self._estimator, "adaptive")):
            self.learning_rate = rate
