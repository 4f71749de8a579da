"""Scores of predictions with weights of samples, or of single targets: a target of weight 0 does not count."""

import math
from functools import partial

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import d2_pinball_score, r2_score


def r2(y, prediction, weight=None):
    """R^2, the mean over outputs."""
    if weight is None or weight.ndim == 1:
        return float(r2_score(y, prediction, sample_weight=weight))
    return _mean_over_outputs([r2_score] * y.shape[1], y, prediction, weight)


def d2_pinball(y, prediction, levels, weight=None):
    """Fraction of the pinball loss of constant quantiles that the prediction explains, the mean over levels."""
    weight = np.ones(len(y)) if weight is None else weight
    scores = [partial(d2_pinball_score, alpha=level) for level in levels]
    return _mean_over_outputs(scores, y, prediction, weight)


def accuracy(hits, weight=None):
    """Weighted share of the rows in which every label with a weight is right; ``hits`` is of shape (rows, labels)."""
    hits = (hits.toarray() if issparse(hits) else hits).reshape(hits.shape[0], -1)
    if weight is not None and weight.ndim == 2:
        hits, weight = hits | (weight == 0), weight.mean(axis=1)
    return float(np.average(hits.all(axis=1), weights=weight))


def _mean_over_outputs(scores, y, prediction, weight):
    """Mean of the scores of all outputs that have a target with a weight."""
    found = []
    for score, of_target, predicted, own in zip(scores, y.T, prediction.T, np.broadcast_to(weight.T, y.T.shape)):
        counted = own > 0
        if counted.any():
            found.append(score(of_target[counted], predicted[counted], sample_weight=own[counted]))
    return float(np.mean(found)) if found else math.nan
