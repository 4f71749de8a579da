"""Scores of evaluation sets after each epoch of an estimator's fit, by scikit-learn's scorers."""

import math
import warnings

from sklearn.base import is_classifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer
from sklearn.utils.validation import check_consistent_length

from fastmlp.backends.device_arrays import to_host
from fastmlp.validation.arrays import as_numbers, is_listing
from fastmlp.validation.sklearn_compat import is_scorer, knowing_classes, name_of_metric, num_samples

from .prediction import checked_inputs
from .samples import evaluated

NEG_LOSS = "neg_loss"


class Evaluation:
    """Scores of an estimator on sets of rows, epoch by epoch; more is better, as with all of scikit-learn's scorers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    sets : (X, y), (X, y, sample_weight), or a list of such
    names : list of str or None
        Of the sets; None calls them 'validation_0', 'validation_1' ...
    metrics : str, callable or list of them, or None
        Names of scorers ('accuracy', 'neg_log_loss', 'r2' ...), or functions (estimator, X, y) -> float, which take
        ``sample_weight`` too where sets have it. 'neg_loss' is minus the loss that is trained, without penalties. None
        is what early stopping watches: 'accuracy' or 'r2' for scikit-learn's losses, else 'neg_loss'.

    Raises
    ------
    ValueError
        For sets that are no pairs, names that are not as many, and unknown metrics.
    """

    def __init__(self, estimator, sets, names, metrics):
        self._estimator = estimator
        for name, given in (("eval_set", sets), ("eval_names", [] if names is None else names)):
            if not is_listing(given):
                raise ValueError(f"{name} must be a list, with one entry for each set, got {type(given).__name__}.")
        sets = [sets] if isinstance(sets, tuple) else list(sets)
        if not sets:
            raise ValueError("eval_set must hold at least one set, or be None, got an empty list.")
        sets = [tuple(map(to_host, one)) if isinstance(one, tuple) else one for one in sets]
        names = [f"validation_{number}" for number in range(len(sets))] if names is None else list(names)
        if len(names) != len(sets) or len(set(names)) != len(names):
            raise ValueError(f"eval_names must be {len(sets)} different names, one for each set, got {names}.")
        for one in sets:
            if not isinstance(one, tuple) or len(one) not in (2, 3):
                raise ValueError("eval_set must be (X, y), (X, y, sample_weight), or a list of such tuples.")
            check_consistent_length(*one)
            if not num_samples(one[0]):
                raise ValueError("eval_set holds a set without rows.")
        if metrics is None:
            metrics = "accuracy" if is_classifier(estimator) else "r2"
            if estimator._watches_loss():
                metrics = NEG_LOSS
        metrics = metrics if isinstance(metrics, list) else [metrics]
        scorers = list(map(_scorer, metrics))
        if not scorers or len(dict(scorers)) != len(scorers):
            raise ValueError(
                f"eval_metric must be different metrics, at least one, got {[name for name, _ in scorers]}."
            )
        self._sets, self._scorers = dict(zip(names, sets)), dict(scorers)
        self._predicts = not all(map(callable, metrics))  # functions may take rows that the estimator does not
        self.results = {name: {metric: [] for metric in self._scorers} for name in self._sets}

    def begin(self):
        """Prepare for the classes of the estimator, which has its initial weights.

        Raises
        ------
        ValueError
            For rows that the estimator cannot predict from, and for a scorer of classes that cannot score one of the
            sets, for instance because a class is not in it.
        """
        for name, one in self._sets.items() if self._predicts else ():
            try:
                checked_inputs(self._estimator, one[0])
                if not is_classifier(self._estimator):
                    as_numbers(one[1], "y")
                if _neg_loss in self._scorers.values():
                    self._score(_neg_loss, one)
            except ValueError as error:
                raise ValueError(f"the evaluation set {name!r}: {error}") from error
        if not is_classifier(self._estimator):
            return
        if not self._estimator._label_type.startswith("multilabel"):
            classes = self._estimator.classes_
            self._scorers = {name: knowing_classes(scorer, classes) for name, scorer in self._scorers.items()}
        for name, one in self._sets.items():
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
        """Score all sets; if one fails no score is kept. Returns ({'<name>-<metric>': score}, score to watch)."""
        found = [
            (self.results[name][metric], self._score(scorer, one))
            for name, one in self._sets.items()
            for metric, scorer in self._scorers.items()
        ]
        for scores, score in found:
            scores.append(score)
        last = {
            f"{name}-{metric}": kept[-1] for name, of_set in self.results.items() for metric, kept in of_set.items()
        }
        return last, found[0][1]

    def _score(self, scorer, one):
        X, y, *weight = one
        given = {"sample_weight": weight[0]} if weight and weight[0] is not None else {}
        score = scorer(self._estimator, X, y, **given)
        try:
            return float(score)
        except (TypeError, ValueError) as error:
            raise ValueError(f"eval_metric must return a number, {_scorer(scorer)[0]!r} gave {score!r}.") from error


class HeldOut:
    """Scores of the samples that early stopping holds out."""

    def __init__(self, estimator, samples):
        self._estimator, self._samples = estimator, samples

    def score(self):
        """({}, score to watch): scikit-learn's score, or minus the loss for a loss that scikit-learn does not have."""
        estimator, samples = self._estimator, self._samples
        if estimator._watches_loss():
            return {}, -estimator._mean_loss(samples)
        return {}, estimator._score(*samples)


def evaluation_of(estimator, sets, eval_X, eval_y, names, metrics):
    """The Evaluation of the arguments of ``fit``, or None where there are no sets."""
    if eval_X is not None or eval_y is not None:
        if sets is not None:
            raise ValueError("pass either eval_set, or eval_X and eval_y, not both.")
        sets = _paired(eval_X, eval_y)
    if sets is None and not (names is None and metrics is None):
        raise ValueError("eval_names and eval_metric need an eval_set, or eval_X and eval_y.")
    return None if sets is None else Evaluation(estimator, sets, names, metrics)


def _paired(eval_X, eval_y):
    """The sets of (X, y) and of (tuple of X, tuple of y)."""
    if eval_X is None or eval_y is None:
        raise ValueError("eval_X and eval_y must be passed together.")
    if not isinstance(eval_X, tuple):
        return [(eval_X, eval_y)]
    if not isinstance(eval_y, tuple) or len(eval_y) != len(eval_X):
        raise ValueError(f"eval_X is a tuple of {len(eval_X)} sets: eval_y must be a tuple of as many.")
    return list(zip(eval_X, eval_y))


def _scorer(metric):
    """(name, scorer)"""
    if callable(metric):
        return name_of_metric(metric), metric
    if not isinstance(metric, str):
        raise ValueError(f"eval_metric must be names of scorers or functions (estimator, X, y), got {metric!r}.")
    return metric, _neg_loss if metric == NEG_LOSS else get_scorer(metric)


def _neg_loss(estimator, X, y, sample_weight=None):
    return -estimator._mean_loss(evaluated(estimator, X, y, sample_weight))
