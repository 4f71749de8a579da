"""Ensembles: several networks that differ in their random numbers alone, whose spread says how sure they are.

Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles".
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.backends.threads import allowed_threads, threads_of
from fastmlp.io.model_files import Savable, kind_of
from fastmlp.training.interruption import Interruption, passed_on
from fastmlp.training.outcomes import DivergenceError
from fastmlp.validation.sklearn_compat import Interval, fit_context

from .classifier import MLPClassifier
from .regressor import MLPRegressor

FROM_MEMBERS = "n_features_in_", "feature_names_in_", "classes_", "n_outputs_"


class MLPEnsemble(Savable, BaseEstimator):
    """What both ensembles share."""

    _parameter_constraints: dict = {
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": MLPClassifier._parameter_constraints["n_jobs"],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator=None, *, n_members=5, n_jobs=None, random_state=None):
        self.estimator = estimator
        self.n_members = n_members
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, *, eval_set=None, eval_X=None, eval_y=None, eval_names=None,
            eval_metric=None):  # fmt: skip
        """Fit the members to all rows; arguments are those of the estimator's ``fit``.

        Returns
        -------
        self : object
            After Ctrl-C with the members that have begun, and with a warning. An error of a metric is raised, and the
            members that have made an epoch by then are kept.
        """
        estimator = self._estimator()
        random_state = check_random_state(self.random_state)
        members = [clone(estimator) for _ in range(self.n_members)]
        for member in members:  # as an attribute: the __init__ of a subclass may not have the parameter
            member.random_state = random_state.randint(np.iinfo(np.int32).max)
        n_workers = 1 if registry.runs_on_gpu(estimator.backend) else min(self._n_threads(), len(members))
        n_threads = max(1, self._n_threads() // n_workers)
        # scikit-learn's checks change Python's filters of warnings for a while: in threads they may leave each other's.
        errors, failed = [], []
        evaluation = {
            "eval_set": eval_set, "eval_X": eval_X, "eval_y": eval_y, "eval_names": eval_names,
            "eval_metric": eval_metric,
        }  # fmt: skip
        with (
            self._kept_on_error(members, failed),
            Interruption() as interruption,
            warnings.catch_warnings(),
            ThreadPoolExecutor(n_workers) as pool,
        ):
            warnings.filterwarnings("ignore", "Training interrupted by user")  # once is enough

            def fit(member):
                if interruption.requested:
                    return None
                member.n_jobs = n_threads
                try:
                    with passed_on(interruption):
                        member.fit(X, y, sample_weight, **evaluation)
                except DivergenceError as error:  # it is fitted, with its last finite weights
                    errors.append(error)
                except BaseException:
                    failed.append(member)
                    interruption.request()  # the others need not go on
                    raise
                finally:
                    member.n_jobs = self.n_jobs
                return member

            fitted = [member for member in pool.map(fit, members) if member is not None]
        if interruption.requested:
            if not fitted:
                raise KeyboardInterrupt
            warnings.warn(f"Training interrupted by user: {len(fitted)} of {len(members)} members are kept.")
        self._take(fitted)
        if errors:
            raise DivergenceError(f"{len(errors)} of {len(members)} members diverged. {errors[0]}")
        return self

    def _n_threads(self):
        return threads_of(self.n_jobs) or allowed_threads()

    def _estimator(self):
        estimator = self._kind() if self.estimator is None else self.estimator
        if not isinstance(estimator, self._kind):
            raise TypeError(f"estimator must be a fastmlp.{self._kind.__name__}, got {estimator!r}.")
        return estimator

    @contextmanager
    def _kept_on_error(self, members, failed):
        """Keep the members with weights where those that ``failed`` have some too: the error was in a user's metric."""
        try:
            yield
        except Exception:
            with_epochs = [member for member in members if getattr(member, "n_iter_", 0) > 0]
            if failed and all(member in with_epochs for member in failed):
                self._take(with_epochs)
            raise

    def _take(self, members):
        self.members_ = members
        for name in FROM_MEMBERS:
            vars(self).pop(name, None)
            if hasattr(members[0], name):
                setattr(self, name, getattr(members[0], name))

    def _mean(self, predictions, return_std):
        """The mean of one array for each member, and their standard deviation if asked for."""
        predictions = np.stack(predictions)
        mean = predictions.mean(axis=0)
        return (mean, predictions.std(axis=0)) if return_std else mean

    def _members(self):
        check_is_fitted(self)
        return self.members_

    def saved_state(self):
        """What a model file holds of this ensemble."""
        params = self.get_params(deep=False)
        estimator, members = params.pop("estimator"), getattr(self, "members_", [])
        for model in filter(None, (estimator, *members)):
            kind_of(model)
        return {
            "params": params,
            "estimator": None if estimator is None else estimator.saved_state(),
            "members": [member.saved_state() for member in members],
        }

    @classmethod
    def from_saved_state(cls, saved):
        """The ensemble of ``saved_state``."""
        estimator = saved["estimator"] and cls._kind.from_saved_state(saved["estimator"])
        ensemble = cls(estimator, **saved["params"])
        if saved["members"]:
            ensemble._take([cls._kind.from_saved_state(member) for member in saved["members"]])
        return ensemble

    def __sklearn_tags__(self):
        tags, of_members = super().__sklearn_tags__(), self._estimator().__sklearn_tags__()
        tags.input_tags, tags.target_tags = of_members.input_tags, of_members.target_tags
        tags.classifier_tags, tags.regressor_tags = of_members.classifier_tags, of_members.regressor_tags
        return tags


class MLPEnsembleRegressor(RegressorMixin, MLPEnsemble):
    """Several ``MLPRegressor`` that differ in their random numbers alone; predictions are their mean.

    Parameters
    ----------
    estimator : MLPRegressor or None, default=None
        What the members are, but for ``n_jobs`` and ``random_state``; None is one with default parameters.
    n_members : int, default=5
    n_jobs : int or None, default=None
        Threads; members are fitted side by side. None takes those that the process may use, as elsewhere.
    random_state : int, RandomState or None, default=None
        What the members' own follow from. The result is the same for every number of threads.

    Attributes
    ----------
    members_ : list of MLPRegressor

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPEnsembleRegressor, MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> members = MLPRegressor(hidden_layer_sizes=20, activation="tanh", solver="lbfgs", max_iter=500)
    >>> ensemble = MLPEnsembleRegressor(members, random_state=0).fit(X, np.sin(4 * X[:, 0]))
    >>> mean, spread = ensemble.predict([[0.5], [3.0]], return_std=True)
    >>> bool(spread[1] > 10 * spread[0])  # far from the data they do not agree
    True
    """

    _kind = MLPRegressor

    def predict(self, X, return_std=False):
        """Mean of the members' predictions, of their shape; with ``return_std`` also their standard deviation."""
        return self._mean([member.predict(X) for member in self._members()], return_std)


class MLPEnsembleClassifier(ClassifierMixin, MLPEnsemble):
    """Several ``MLPClassifier`` that differ in their random numbers alone; probabilities are their mean.

    Parameters
    ----------
    estimator : MLPClassifier or None, default=None
        What the members are; None is one with default parameters.
    n_members, n_jobs, random_state
        See ``MLPEnsembleRegressor``.

    Attributes
    ----------
    members_ : list of MLPClassifier
    classes_ : ndarray
    """

    _kind = MLPClassifier

    def predict_proba(self, X, return_std=False):
        """Mean probability of each class, shape (n_samples, n_classes); with ``return_std`` also its deviation."""
        return self._mean([member.predict_proba(X) for member in self._members()], return_std)

    def predict(self, X):
        """The most probable class of each row, or for several labels per row those with more than 1/2."""
        probability = self.predict_proba(X)
        first = self.members_[0]
        return first._labels_of(probability[:, -1:] if first.n_outputs_ == 1 else probability)

    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba(X)``."""
        return np.log(self.predict_proba(X))
