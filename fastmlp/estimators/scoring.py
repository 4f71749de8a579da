"""``score`` of the estimators where scikit-learn's metrics do not apply: weighted or missing targets, and quantiles."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_array

from fastmlp.prediction.scores import accuracy, d2_pinball, r2
from fastmlp.validation.arrays import as_numbers, is_listing
from fastmlp.validation.checks import check_weights, levels_of
from fastmlp.validation.sklearn_compat import num_samples

from .samples import check_columns, validated


def weights_to_score(X, y, sample_weight):
    """Sample weights for scikit-learn's ``score``, which would not name them in its errors."""
    num_samples(X)  # its error names X
    return check_weights(sample_weight, X, y, "squared_error", np.float64)


def numbers_to_score(y):
    """Targets of a regressor for scikit-learn's ``score``."""
    return check_array(as_numbers(y, "y"), dtype=None, ensure_2d=False, input_name="y")


def has_own_score(estimator, sample_weight=None):
    """Whether targets may be missing, have weights of their own, or belong to several quantiles."""
    several = estimator._net is not None and levels_of(estimator._net.network.loss_options)
    by_target = is_listing(sample_weight) and as_numbers(sample_weight, "sample_weight").ndim == 2
    return bool(several) or estimator.missing_targets == "ignore" or by_target


def score_of(estimator, prediction, X, y, sample_weight):
    """The score of a prediction for X, by the targets that have a weight."""
    _, y, weight = validated(estimator, X, y, sample_weight)
    check_columns(estimator, y)
    if is_classifier(estimator):
        return accuracy(estimator._decode(y) == prediction, weight)
    prediction = prediction.reshape(y.shape)
    levels = levels_of(estimator._net.network.loss_options)
    return d2_pinball(y, prediction, levels, weight) if levels else r2(y, prediction, weight)
