"""``score`` of the estimators where scikit-learn's metrics do not apply: weighted or missing targets, and quantiles."""

import numpy as np
from sklearn.base import is_classifier

from fastmlp.prediction.scores import accuracy, d2_pinball, r2
from fastmlp.validation.checks import levels_of

from .samples import check_columns, validated


def has_own_score(estimator, sample_weight=None):
    """Whether targets may be missing, have weights of their own, or belong to several quantiles."""
    several = estimator._net is not None and levels_of(estimator._net.network.loss_options)
    return bool(several) or estimator.missing_targets == "ignore" or np.ndim(sample_weight) == 2


def score_of(estimator, prediction, X, y, sample_weight):
    """The score of a prediction for X, by the targets that have a weight."""
    _, y, weight = validated(estimator, X, y, sample_weight)
    check_columns(estimator, y)
    if is_classifier(estimator):
        return accuracy(estimator._decode(y) == prediction, weight)
    prediction = prediction.reshape(y.shape)
    levels = levels_of(estimator._net.network.loss_options)
    return d2_pinball(y, prediction, levels, weight) if levels else r2(y, prediction, weight)
