"""Evaluation sets of the estimators, scored after each epoch by scikit-learn's scorers."""

import math
import warnings

from sklearn.base import is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_consistent_length

from fastmlp.backends.device_arrays import to_host
from fastmlp.training.trainer import Scorer
from fastmlp.validation.arrays import as_numbers, is_listing, refuse_duplicate_columns, unmasked
from fastmlp.validation.sklearn_compat import is_scorer, knowing_classes, name_of_metric, num_samples

from .prediction import checked_inputs
from .samples import evaluated
from .scoring import has_own_score

NEG_LOSS = "neg_loss"


class Evaluation(Scorer):
    """Scores of an estimator on evaluation sets after each epoch; higher is better, as for scikit-learn's scorers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    sets : (X, y), (X, y, sample_weight), or a list of such
    names : list of str or None
        Names of the sets; by default 'validation_0', 'validation_1' ...
    metrics : str, callable or list of them, or None
        Names of scorers ('accuracy', 'neg_log_loss', 'r2' ...), or functions (estimator, X, y) -> float, which are
        called with ``sample_weight`` too if a set has it. 'neg_loss' is the negative training loss without penalties.
        None is the score that early stopping monitors: 'accuracy' or 'r2' for scikit-learn's losses, else 'neg_loss'.

    Raises
    ------
    ValueError
        If sets are not pairs or triples, names do not match the sets, or a metric is unknown.
    """

    def __init__(self, estimator, sets, names, metrics):
        self._estimator = estimator
        for name, given in (("eval_set", sets), ("eval_names", [] if names is None else names)):
            if not is_listing(given):
                raise ValueError(f"{name} must be a list with one entry per set, got {type(given).__name__}.")
        sets = [sets] if isinstance(sets, tuple) else list(sets)
        if not sets:
            raise ValueError("eval_set must have at least one set, or be None, got an empty list.")
        sets = [tuple(unmasked(to_host(part)) for part in one) if isinstance(one, tuple) else one for one in sets]
        names = [f"validation_{number}" for number in range(len(sets))] if names is None else list(names)
        if len(names) != len(sets) or len(set(names)) != len(names):
            raise ValueError(f"eval_names must be {len(sets)} distinct names, one per set, got {names}.")
        for one in sets:
            if not isinstance(one, tuple) or len(one) not in (2, 3):
                raise ValueError("eval_set must be (X, y), (X, y, sample_weight), or a list of such tuples.")
            for part, given in zip(("X", "y", "sample_weight"), one):
                refuse_duplicate_columns(given, f"{part} of eval_set")
            check_consistent_length(*one)
            if not num_samples(one[0]):
                raise ValueError("eval_set has a set without samples: every set needs at least one.")
        own_metric = "accuracy" if is_classifier(estimator) else "r2"
        if metrics is None:
            metrics = NEG_LOSS if estimator._watches_loss() else own_metric
        metrics = metrics if isinstance(metrics, list) else [metrics]
        self._by_target = any(has_own_score(estimator, *one[2:]) for one in sets)
        scorers = [
            (own_metric, _own_score) if self._by_target and metric == own_metric else _scorer(metric)
            for metric in metrics
        ]
        if not scorers or len(dict(scorers)) != len(scorers):
            raise ValueError(f"eval_metric must be one or more distinct metrics, got {[name for name, _ in scorers]}.")
        self.sets, self._scorers = dict(zip(names, sets)), dict(scorers)
        self._predicts = not all(map(callable, metrics))  # custom metrics may accept X that the estimator does not
        self.results = {name: {metric: [] for metric in self._scorers} for name in self.sets}

    def names(self):
        """{name of a set: names of its metrics}"""
        return {name: list(of_set) for name, of_set in self.results.items()}

    def begin(self):
        """Check that every set can be scored. The estimator must have its classes and initial weights.

        Raises
        ------
        ValueError
            If the estimator cannot predict for a set, or if a metric cannot be computed for it, for example because a
            class or a target is missing.
        """
        for name, one in self.sets.items() if self._predicts else ():
            try:
                checked_inputs(self._estimator, one[0])
                if not is_classifier(self._estimator):
                    as_numbers(one[1], "y")
                if _neg_loss in self._scorers.values():
                    self._score(_neg_loss, one)
            except ValueError as error:
                raise ValueError(f"evaluation set {name!r}: {error}") from error
        if not (is_classifier(self._estimator) or self._by_target or has_own_score(self._estimator)):
            return
        if is_classifier(self._estimator) and not self._estimator._labels.multilabel:
            classes = self._estimator.classes_
            self._scorers = {name: knowing_classes(scorer, classes) for name, scorer in self._scorers.items()}
        for name, one in self.sets.items():
            for metric, scorer in self._scorers.items():
                if not is_scorer(scorer):
                    continue
                why = "the score is NaN, for example because a class has no samples."
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", UndefinedMetricWarning)
                        score = self._score(scorer, one)
                except ValueError as error:
                    score, why = math.nan, str(error)
                if math.isnan(score):
                    raise ValueError(f"{metric!r} cannot be computed for the evaluation set {name!r}: {why}")

    def score(self):
        """Score all sets. Returns ({'<name>-<metric>': score}, score to monitor). If one fails, none is stored."""
        last = {
            f"{name}-{metric}": self._score(scorer, one)
            for name, one in self.sets.items()
            for metric, scorer in self._scorers.items()
        }
        self.record(last)
        return last, next(iter(last.values()))

    def record(self, results):
        for name, of_set in self.results.items():
            for metric, scores in of_set.items():
                scores.append(results[f"{name}-{metric}"])

    def _score(self, scorer, one):
        X, y, *weight = one
        given = {"sample_weight": weight[0]} if weight and weight[0] is not None else {}
        score = scorer(self._estimator, X, y, **given)
        try:
            return float(score)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"eval_metric must return a number, but {_scorer(scorer)[0]!r} returned {score!r}."
            ) from error


class HeldOut(Scorer):
    """Score on the samples held out by early stopping."""

    def __init__(self, estimator, samples):
        self._estimator, self._samples = estimator, samples

    def score(self):
        """({}, score to monitor): scikit-learn's score, or the negative loss for losses that scikit-learn lacks."""
        estimator, samples = self._estimator, self._samples
        if estimator._watches_loss():
            return {}, -estimator._mean_loss(samples)
        return {}, estimator._score(*samples)


def evaluation_of(estimator, sets, eval_X, eval_y, names, metrics):
    """The Evaluation for the arguments of ``fit``, or None if there are no evaluation sets."""
    if eval_X is not None or eval_y is not None:
        if sets is not None:
            raise ValueError("pass either eval_set, or eval_X and eval_y, not both.")
        sets = _paired(eval_X, eval_y)
    if sets is None and not (names is None and metrics is None):
        raise ValueError("eval_names and eval_metric require evaluation sets: pass eval_set, or eval_X and eval_y.")
    return None if sets is None else Evaluation(estimator, sets, names, metrics)


def _paired(eval_X, eval_y):
    """List of pairs (X, y) from ``eval_X`` and ``eval_y``, which are arrays or tuples of arrays."""
    if eval_X is None or eval_y is None:
        raise ValueError("eval_X and eval_y must be passed together.")
    if not isinstance(eval_X, tuple):
        return [(eval_X, eval_y)]
    if not isinstance(eval_y, tuple) or len(eval_y) != len(eval_X):
        raise ValueError(f"eval_y must be a tuple of {len(eval_X)} sets, as many as eval_X has.")
    return list(zip(eval_X, eval_y))


def _scorer(metric):
    """(name, scorer)"""
    if callable(metric):
        return name_of_metric(metric), metric
    if not isinstance(metric, str):
        raise ValueError(f"eval_metric must be names of scorers or functions (estimator, X, y), got {metric!r}.")
    return metric, _neg_loss if metric == NEG_LOSS else get_scorer(metric)


def _own_score(estimator, X, y, sample_weight=None):
    return estimator.score(X, y, sample_weight)


def _neg_loss(estimator, X, y, sample_weight=None):
    return -estimator._mean_loss(evaluated(estimator, X, y, sample_weight))
