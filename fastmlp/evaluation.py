"""What a fit of an estimator scores after each epoch: rows that it does not learn from, by scikit-learn's scorers."""

from sklearn.base import is_classifier
from sklearn.metrics import get_scorer
from sklearn.utils.validation import _num_samples, check_consistent_length

from .device_rows import to_host


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
        ``sample_weight`` too where sets have it. None is what ``score`` gives: 'accuracy' or 'r2'.

    Raises
    ------
    ValueError
        For sets that are no pairs, names that are not as many, and unknown metrics.
    """

    def __init__(self, estimator, sets, names, metrics):
        self._estimator = estimator
        sets = [sets] if isinstance(sets, tuple) else list(sets)
        sets = [tuple(map(to_host, one)) if isinstance(one, tuple) else one for one in sets]
        names = [f"validation_{number}" for number in range(len(sets))] if names is None else list(names)
        if not sets or len(names) != len(sets) or len(set(names)) != len(names):
            raise ValueError(f"eval_names must be {len(sets)} different names, one for each set, got {names}.")
        for one in sets:
            if not isinstance(one, tuple) or len(one) not in (2, 3):
                raise ValueError("eval_set must be (X, y), (X, y, sample_weight), or a list of such tuples.")
            check_consistent_length(*one)
            if not _num_samples(one[0]):
                raise ValueError("eval_set holds a set without rows.")
        if metrics is None:
            metrics = "accuracy" if is_classifier(estimator) else "r2"
        scorers = list(map(_scorer, metrics if isinstance(metrics, list) else [metrics]))
        if not scorers or len(dict(scorers)) != len(scorers):
            raise ValueError(
                f"eval_metric must be different metrics, at least one, got {[name for name, _ in scorers]}."
            )
        self._sets, self._scorers = dict(zip(names, sets)), dict(scorers)
        self.results = {name: {metric: [] for metric in self._scorers} for name in self._sets}

    def note(self):
        """Score all, and keep it."""
        for name, (X, y, *weight) in self._sets.items():
            for metric, scorer in self._scorers.items():
                given = {"sample_weight": weight[0]} if weight and weight[0] is not None else {}
                self.results[name][metric].append(float(scorer(self._estimator, X, y, **given)))

    @property
    def watched(self):
        """The last score by the first metric on the first set: early stopping goes by it."""
        return next(iter(next(iter(self.results.values())).values()))[-1]

    def last(self):
        """{'<name>-<metric>': score}."""
        return {
            f"{name}-{metric}": scores[-1] for name, of_set in self.results.items() for metric, scores in of_set.items()
        }


def evaluation_of(estimator, sets, names, metrics):
    """The Evaluation, or None where there are no sets."""
    if sets is None and not (names is None and metrics is None):
        raise ValueError("eval_names and eval_metric need an eval_set.")
    return None if sets is None else Evaluation(estimator, sets, names, metrics)


def _scorer(metric):
    """(name, scorer)"""
    if callable(metric):
        return getattr(getattr(metric, "_score_func", metric), "__name__", type(metric).__name__), metric
    if not isinstance(metric, str):
        raise ValueError(f"eval_metric must be names of scorers or functions (estimator, X, y), got {metric!r}.")
    return metric, get_scorer(metric)
