"""Estimators from scikit-learn's, and back: the same parameters, weights and predictions."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastmlp.backends import registry
from fastmlp.estimators.architecture import network_of, noise_of
from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.network import FittedNetwork
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.kernels.spec import aligned_zeros, layer_views

PAIRS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}
FITTED = (
    "classes_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_",
)  # fmt: skip


def from_sklearn(estimator: Any, **params: Any) -> MLPClassifier | MLPRegressor:
    """fastmlp's estimator with the parameters of scikit-learn's and, where it was fitted, its weights.

    Training goes on from these weights (``warm_start``, ``partial_fit``) with a new optimizer state: scikit-learn keeps
    none that could be read.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
    **params
        Parameters of fastmlp's estimator to set besides, such as backend. Where weights are taken they must not ask for
        another network.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        For any other estimator.
    ValueError
        For parameters, or arrays put into coefs_, that do not fit what was fitted.
    """
    if type(estimator) not in PAIRS:
        raise TypeError(
            "from_sklearn takes sklearn.neural_network's MLPClassifier and MLPRegressor, "
            f"not {type(estimator).__module__}.{type(estimator).__name__}."
        )
    kind = PAIRS[type(estimator)]
    shared = _shared(clone(estimator), kind)
    made = kind(**shared | params)
    if hasattr(estimator, "coefs_"):
        _take_weights(made, estimator, kind(**shared))
    return made


def _take_weights(made, fitted, plain):
    """``plain`` has scikit-learn's parameters alone: those besides must ask for the same network."""
    for estimator in (made, plain):
        for name in filter(vars(fitted).__contains__, FITTED):
            setattr(estimator, name, deepcopy(getattr(fitted, name)))
        if hasattr(fitted, "classes_"):
            binarizer = fitted._label_binarizer
            estimator._label_type, estimator._sparse_labels = binarizer.y_type_, binarizer.sparse_input_
            estimator._targets = None
    arrays = [[np.asarray(array) for array in given] for given in (fitted.coefs_, fitted.intercepts_)]
    sizes = [arrays[0][0].shape[0], *(len(b) for b in arrays[1])]
    network, dropout = network_of(made, sizes[0], sizes[1:-1], sizes[-1])
    asked = network_of(plain, sizes[0], sizes[1:-1], sizes[-1])[0]
    if network != asked or made._hidden_widths() != sizes[1:-1] or made.scale is not None:
        raise ValueError("the parameters given besides are for another network than the one that was fitted: fit anew.")
    if network.activations[-1] != fitted.out_activation_:
        raise ValueError(f"loss={fitted.loss!r} was set after the fit, whose output is {fitted.out_activation_!r}.")
    single = all(array.dtype == np.float32 for array in (*arrays[0], *arrays[1]))
    parameters = aligned_zeros((network.n_parameters,), np.float32 if single else np.float64)
    for views, given in zip(layer_views(network, parameters), arrays):
        for view, array in zip(views, given, strict=True):
            if array.shape != view.shape:
                raise ValueError(f"coefs_ and intercepts_ do not fit together: {array.shape} for {view.shape}.")
            view[:] = array
    made._net = FittedNetwork(network, parameters, noise_of(made, network, dropout, 0))
    best = getattr(made, "best_validation_score_" if made.early_stopping else "best_loss_", None)
    if best is not None:  # of an earlier fit by another solver than 'lbfgs'
        made._net.progress.best_score = best if made.early_stopping else -best
    made.backend_, _, made.backend_reason_ = registry.choose(made.backend)


def to_sklearn(estimator: MLPClassifier | MLPRegressor) -> Any:
    """scikit-learn's estimator with the parameters of fastmlp's and, where it was fitted, its weights.

    Raises
    ------
    TypeError
        If it is none of fastmlp's estimators.
    ValueError
        If it has what scikit-learn's lacks (other activations, losses or solvers, skips, dropout ...), or parameters
        that were set after the fit. ``backend`` and ``n_jobs`` are let go.
    """
    kind = next((theirs for theirs, ours in PAIRS.items() if type(estimator) is ours), None)
    if kind is None:
        raise TypeError(f"to_sklearn takes fastmlp's MLPClassifier and MLPRegressor, not {type(estimator).__name__}.")
    shared, lost = _shared(clone(estimator), kind), _beyond(estimator, kind)
    if lost:
        raise ValueError(f"scikit-learn's {kind.__name__} has no {', '.join(lost)}.")
    if estimator.n_layers is not None or estimator.width is not None:
        shared["hidden_layer_sizes"] = tuple(estimator._hidden_widths())
    made = kind(**shared)
    made._validate_params()
    if hasattr(estimator, "coefs_"):
        parameters, network = estimator._net.current_parameters(), estimator._net.network
        if (
            estimator._net.scaling is not None
            or estimator._net.target_scaling is not None
            or network != network_of(estimator, network.sizes[0], list(network.sizes[1:-1]), network.sizes[-1])[0]
        ):
            raise ValueError("parameters were set after the fit that ask for another network: fit again first.")
        for name in FITTED:
            if hasattr(estimator, name):
                setattr(made, name, deepcopy(getattr(estimator, name)))
        made.coefs_, made.intercepts_ = (
            [array.copy() for array in views] for views in layer_views(network, parameters)
        )
        made._best_coefs = [array.copy() for array in made.coefs_]  # where a warm start with early stopping begins
        made._best_intercepts = [array.copy() for array in made.intercepts_]
        made._no_improvement_count = 0
        made._random_state = check_random_state(made.random_state)
        if hasattr(estimator, "classes_"):
            made._label_binarizer = estimator._label_binarizer()
    return made


def _beyond(estimator, kind):
    """Parameters that scikit-learn's estimator lacks and that are used."""
    given, usual = (one.get_params(deep=False) for one in (estimator, type(estimator)()))
    unused = {"backend", "n_jobs", "n_layers", "width"}
    if not estimator.skip:
        unused.add("skip_weights")
    if given.get("loss") == usual.get("loss"):
        unused.add("target_values")
    names = [name for name in given if name not in inspect.signature(kind).parameters and name not in unused]
    return [name for name in sorted(names) if not _same(given[name], usual[name])]


def _shared(estimator, kind):
    names = inspect.signature(kind).parameters
    return {name: value for name, value in estimator.get_params(deep=False).items() if name in names}


def _same(given, usual):
    if isinstance(given, list) and isinstance(usual, float):
        return not any(given)  # of each layer
    return given is usual or bool(np.all(given == usual))
