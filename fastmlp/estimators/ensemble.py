"""Deep ensembles: networks trained with different random seeds, whose spread estimates predictive uncertainty.

Lakshminarayanan, Pritzel & Blundell 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles".
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.docstrings import with_texts
from fastmlp.io.model_files import Savable, kind_of
from fastmlp.model.exclusive import UsedByThreads, one_at_a_time, reads
from fastmlp.training.many import Fit, run_fits
from fastmlp.training.outcomes import DivergenceError
from fastmlp.typing import ArrayLike, DataSet, FloatArray, MatrixLike, Metric, NDArray, RandomState, StrPath
from fastmlp.validation.arrays import as_labels
from fastmlp.validation.checks import check_seed
from fastmlp.validation.entries import check_entries
from fastmlp.validation.sklearn_compat import Interval, fit_context

from .checkpoint_folder import checked_folder, checkpoint_for, path_of
from .classifier import MLPClassifier
from .many import check_alone
from .parameters import CONSTRAINTS
from .regressor import MLPRegressor
from .scoring import has_own_score, numbers_to_score, score_of, weights_to_score

FROM_MEMBERS = "n_features_in_", "feature_names_in_", "classes_", "n_outputs_"
# Of the methods that predict a mean.
RETURN_STD = """\
return_std : bool, default=False
    Whether to return the standard deviation over the members too."""


CHECKPOINTS = """\
checkpoints : str or Path, default=None
    Folder for a checkpoint of each member, written every 30 seconds and at the end of its training. If the folder
    has checkpoints, members go on from them with the same bits, and those that are done are not trained again: to
    resume a fit, run it again. Checkpoints of other data or parameters are refused. Needs an integer as
    ``random_state``."""


def fit_member(member, checkpoint=None, **given):
    """Fit a member, in a thread or in another process; with a checkpoint, continue from it if it has been written."""
    if checkpoint is not None:
        begun = checkpoint if checkpoint.exists() else None
        given |= {"callbacks": checkpoint_for(checkpoint), "resume_from": begun}
    member.fit(**given)


class MLPEnsemble(UsedByThreads, Savable, BaseEstimator):
    """Base class of MLPEnsembleClassifier and MLPEnsembleRegressor, which document parameters and attributes."""

    _parameter_constraints: dict = {
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": CONSTRAINTS["n_jobs"],
        "random_state": ["random_state"],
    }

    _kind: type[MLPClassifier] | type[MLPRegressor]

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_members: int = 5,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_members = n_members
        self.n_jobs = n_jobs
        self.random_state = random_state

    @one_at_a_time
    @fit_context(prefer_skip_nested_validation=False)
    @with_texts(CHECKPOINTS=CHECKPOINTS)
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        eval_set: DataSet | list[DataSet] | None = None,
        eval_X: MatrixLike | tuple[MatrixLike, ...] | None = None,
        eval_y: ArrayLike | tuple[ArrayLike, ...] | None = None,
        eval_names: list[str] | None = None,
        eval_metric: Metric | list[Metric] | None = None,
        checkpoints: StrPath | None = None,
    ) -> Self:
        """Fit every member to all samples.

        Parameters
        ----------
        X, y, sample_weight, eval_set, eval_X, eval_y, eval_names, eval_metric
            As for ``fit`` of the estimator.
        {CHECKPOINTS}

        Returns
        -------
        self : object
            Ctrl-C ends the fit early with a warning; the members whose training has started are kept. An error raised
            by a metric is propagated; the members with at least one completed epoch are kept.
        """
        estimator = self._estimator()
        check_alone(estimator)
        folder = None if checkpoints is None else checked_folder(checkpoints, self.random_state)
        random_state = check_seed(self.random_state)
        members = [clone(estimator) for _ in range(self.n_members)]
        for member in members:  # not by set_params: the __init__ of a subclass may not have the parameter
            member.random_state = random_state.randint(np.iinfo(np.int32).max)
            member.n_jobs = self.n_jobs
        failed: list[Any] = []
        given = {
            "X": X, "y": y, "sample_weight": sample_weight, "eval_set": eval_set, "eval_X": eval_X, "eval_y": eval_y,
            "eval_names": eval_names, "eval_metric": eval_metric,
        }  # fmt: skip

        def ends_all(member, error):
            if isinstance(error, DivergenceError):  # the member is fitted, with its last finite weights
                return False
            failed.append(member)
            return True

        with self._kept_on_error(members, failed):
            ended = run_fits(
                [
                    Fit(fit_member, member, given | {"checkpoint": folder and path_of(folder, number)})
                    for number, member in enumerate(members)
                ],
                1 if registry.runs_on_gpu(estimator.backend) else self.n_jobs,
                ends_all=ends_all,
            )
        if ended.interrupted:
            if not ended.indices:
                raise KeyboardInterrupt
            warnings.warn(f"Training interrupted by user: {len(ended.indices)} of {len(members)} members are kept.")
        self._take([members[index] for index in ended.indices])
        errors = ended.errors
        if errors:
            raise DivergenceError(f"{len(errors)} of {len(members)} members diverged. {next(iter(errors.values()))}")
        return self

    def _estimator(self):
        estimator = self._kind() if self.estimator is None else self.estimator
        if not isinstance(estimator, self._kind):
            raise TypeError(f"estimator must be a fastmlp.{self._kind.__name__}, got {estimator!r}.")
        return estimator

    @contextmanager
    def _kept_on_error(self, members, failed):
        """After an error, keep the members with completed epochs, unless one failed before its first epoch ended."""
        try:
            yield
        except BaseException:
            # A member that failed after an epoch did so in a user's metric; its weights are usable.
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

    def _mean(self, method, X, return_std):
        """Mean of the members' predictions by that method, and with ``return_std`` their standard deviation."""
        check_is_fitted(self)
        predictions = np.stack([getattr(member, method)(X) for member in self.members_])
        mean = predictions.mean(axis=0)
        return (mean, predictions.std(axis=0)) if return_std else mean

    def saved_state(self) -> dict[str, Any]:
        """The state of this ensemble as stored in a model file, a dict; ValueError for invalid parameters."""
        self._validate_params()  # a file with wrong ones is refused
        params = self.get_params(deep=False)
        estimator, members = params.pop("estimator"), getattr(self, "members_", [])
        for model in (self._estimator(), *members):
            kind_of(model)
        return {
            "params": params,
            "estimator": None if estimator is None else estimator.saved_state(),
            "members": [member.saved_state() for member in members],
        }

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create an ensemble from the result of ``saved_state``."""
        check_entries(saved, {"estimator": dict | None, "members": list[dict]})
        estimator = None if saved["estimator"] is None else cls._kind.from_saved_state(saved["estimator"])
        ensemble = cls(estimator, **saved["params"])
        ensemble._validate_params()
        if saved["members"]:
            ensemble._take([cls._kind.from_saved_state(member) for member in saved["members"]])
        return ensemble

    def __sklearn_tags__(self):
        tags, of_members = super().__sklearn_tags__(), self._estimator().__sklearn_tags__()
        tags.input_tags, tags.target_tags = of_members.input_tags, of_members.target_tags
        tags.classifier_tags, tags.regressor_tags = of_members.classifier_tags, of_members.regressor_tags
        return tags


class MLPEnsembleRegressor(RegressorMixin, MLPEnsemble):
    """Ensemble of ``MLPRegressor`` with different random seeds; predictions are averaged.

    The standard deviation over the members estimates the uncertainty of a prediction (Lakshminarayanan, Pritzel &
    Blundell 2017).

    Parameters
    ----------
    estimator : MLPRegressor or None, default=None
        Template of the members; its ``n_jobs`` and ``random_state`` are ignored. None is ``MLPRegressor()``.
    n_members : int, default=5
        Number of members.
    n_jobs : int or None, default=None
        Number of threads, over which the members are distributed. None uses the cores available to the process, -1 all
        cores.
    random_state : int, RandomState or None, default=None
        Determines the random states of the members. The result does not depend on the number of threads.

    Attributes
    ----------
    members_ : list of MLPRegressor
        The fitted members.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPEnsembleRegressor, MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> members = MLPRegressor(hidden_layer_sizes=20, activation="tanh", solver="lbfgs", max_iter=500)
    >>> ensemble = MLPEnsembleRegressor(members, random_state=0).fit(X, np.sin(4 * X[:, 0]))
    >>> mean, spread = ensemble.predict([[0.5], [3.0]], return_std=True)
    >>> bool(spread[1] > 10 * spread[0])  # the members disagree far from the data
    True
    """

    _kind = MLPRegressor

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[False] = False) -> FloatArray: ...

    @overload
    def predict(self, X: MatrixLike, return_std: Literal[True]) -> tuple[FloatArray, FloatArray]: ...

    @reads
    @with_texts(RETURN_STD=RETURN_STD)
    def predict(self, X: MatrixLike, return_std: bool = False) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict target values: the mean over the members.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        {RETURN_STD}

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            With ``return_std``, a pair of such arrays: mean and standard deviation.
        """
        return self._mean("predict", X, return_std)

    @reads
    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the score of the mean prediction, as ``MLPRegressor.score`` does."""
        check_is_fitted(self)
        if has_own_score(self.members_[0], sample_weight):
            return score_of(self.members_[0], self.predict(X), X, y, sample_weight)
        return super().score(X, numbers_to_score(y), weights_to_score(X, y, sample_weight))


class MLPEnsembleClassifier(ClassifierMixin, MLPEnsemble):
    """Ensemble of ``MLPClassifier`` with different random seeds; class probabilities are averaged.

    Parameters
    ----------
    estimator : MLPClassifier or None, default=None
        Template of the members; its ``n_jobs`` and ``random_state`` are ignored. None is ``MLPClassifier()``.
    n_members, n_jobs, random_state
        As for ``MLPEnsembleRegressor``.

    Attributes
    ----------
    members_ : list of MLPClassifier
        The fitted members.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    """

    _kind = MLPClassifier

    @overload
    def predict_proba(self, X: MatrixLike, return_std: Literal[False] = False) -> FloatArray: ...

    @overload
    def predict_proba(self, X: MatrixLike, return_std: Literal[True]) -> tuple[FloatArray, FloatArray]: ...

    @reads
    @with_texts(RETURN_STD=RETURN_STD)
    def predict_proba(self, X: MatrixLike, return_std: bool = False) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict class probabilities: the mean over the members.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        {RETURN_STD}

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            With ``return_std``, a pair of such arrays: mean and standard deviation.
        """
        return self._mean("predict_proba", X, return_std)

    @reads
    def predict(self, X: MatrixLike) -> NDArray:
        """Predict the most probable class of each sample; for multilabel problems, the labels above 1/2."""
        probability = self.predict_proba(X)
        first = self.members_[0]
        return first._labels.likely(probability[:, -1:] if first.n_outputs_ == 1 else probability)

    @reads
    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy of the predictions, as ``MLPClassifier.score`` does."""
        check_is_fitted(self)
        if has_own_score(self.members_[0], sample_weight):
            return score_of(self.members_[0], self.predict(X), X, y, sample_weight)
        return super().score(X, as_labels(y, "y"), weights_to_score(X, y, sample_weight))

    @reads
    def predict_log_proba(self, X: MatrixLike) -> FloatArray:
        """Predict the logarithm of the class probabilities, an array of shape (n_samples, n_classes)."""
        return np.log(self.predict_proba(X))
