"""The private parts of scikit-learn that fastmlp uses, all in this module: pyproject.toml bounds the version.

They are what scikit-learn's own estimators use to validate input and parameters, and there is no public counterpart.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.metrics import make_scorer
from sklearn.metrics._scorer import _BaseScorer
from sklearn.utils import _safe_indexing as rows_of
from sklearn.utils._param_validation import Interval as AnyInterval
from sklearn.utils._param_validation import Options, StrOptions, validate_parameter_constraints
from sklearn.utils.multiclass import _check_partial_fit_first_call as check_partial_fit_first_call
from sklearn.utils.validation import _check_feature_names, _get_feature_names, _num_samples
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

from .arrays import refuse_duplicate_columns

if TYPE_CHECKING:  # scikit-learn has no type hints; these decorators keep the signature of a method
    Method = TypeVar("Method", bound=Callable[..., Any])

    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...
    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]: ...
else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils.metaestimators import available_if


__all__ = [
    "Interval",
    "Options",
    "StrOptions",
    "available_if",
    "check_feature_names",
    "check_partial_fit_first_call",
    "check_sample_weight",
    "fit_context",
    "get_feature_names",
    "has_callbacks",
    "is_scorer",
    "knowing_classes",
    "name_of_metric",
    "new_task",
    "num_samples",
    "rows_of",
    "validate_parameter_constraints",
]


class Interval(AnyInterval):
    """Scikit-learn's interval of numbers. What NumPy cannot compare with them, such as a fraction, is not in it."""

    def is_satisfied_by(self, val):
        try:
            return super().is_satisfied_by(val)
        except TypeError:
            return False


def check_feature_names(estimator, X, *, reset):
    """Compare the column names of X with ``feature_names_in_``, or with ``reset`` set the attribute."""
    refuse_duplicate_columns(X, "X")
    _check_feature_names(estimator, X, reset=reset)


def get_feature_names(X):
    """The column names of X if all are strings, else None."""
    refuse_duplicate_columns(X, "X")
    return _get_feature_names(X)


def num_samples(X):
    """Number of samples of X in any container."""
    refuse_duplicate_columns(X, "X")
    try:
        return _num_samples(X)
    except TypeError as error:
        raise TypeError(f"X must be an array, a frame or a list of samples, got {type(X).__name__}.") from error


def is_scorer(metric):
    """Whether a metric is one of scikit-learn's scorers."""
    return isinstance(metric, _BaseScorer)


def name_of_metric(metric):
    """The name of a function, or of the function that a scorer calls."""
    return getattr(getattr(metric, "_score_func", metric), "__name__", type(metric).__name__)


def knowing_classes(scorer, classes):
    """A scorer of probabilities that knows all classes, so that an evaluation set may lack some."""
    of_labels = is_scorer(scorer) and scorer._response_method != "predict"
    if not of_labels or "labels" not in inspect.signature(scorer._score_func).parameters:
        return scorer
    return make_scorer(
        scorer._score_func, response_method=scorer._response_method, greater_is_better=scorer._sign > 0,
        **{"labels": classes} | scorer._kwargs,
    )  # fmt: skip


def has_callbacks(estimator):
    """Whether ``set_callbacks`` gave the estimator callbacks of ``sklearn.callback``."""
    return bool(getattr(estimator, "_skl_callbacks", None))


def new_task(estimator, max_subtasks):
    """The context in which scikit-learn's callbacks follow a fit."""
    return estimator._init_callback_context(max_subtasks=max_subtasks)
