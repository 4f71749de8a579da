"""Learning rates of an estimator under the attribute names of scikit-learn's optimizers."""

from fastmlp.validation.checks import check_real

from .architecture import follows


class ScikitOptimizer:
    """The ``_optimizer`` of an estimator. Its learning rates can be changed between calls of ``partial_fit``.

    Attributes
    ----------
    learning_rate : float
        Learning rate of the next step, before Adam's bias correction and the factor of a ``make_schedule`` schedule.
    learning_rate_init : float
        Learning rate at the start of the fit, from which 'invscaling' computes the current one. Setting it also sets
        ``learning_rate``, unless the schedule is 'invscaling' or 'adaptive'.
    """

    __slots__ = ("_estimator",)  # setting any other attribute raises AttributeError

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
