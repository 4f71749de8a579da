"""Conversion of estimators from and to scikit-learn: same parameters, weights and predictions."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastmlp.backends import registry
from fastmlp.estimators.architecture import hidden_widths, network_of, noise_of
from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.labels import Labels
from fastmlp.estimators.network import FittedNetwork
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.kernels.spec import aligned_zeros, layer_views

PAIRS = {neural_network.MLPClassifier: MLPClassifier, neural_network.MLPRegressor: MLPRegressor}
FITTED = (
    "classes_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
    "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_",
)  # fmt: skip


def from_sklearn(estimator: Any, **params: Any) -> MLPClassifier | MLPRegressor:
    """Convert a scikit-learn estimator, with its weights if it is fitted.

    Training continues from these weights (``warm_start``, ``partial_fit``) with a new optimizer state, because
    scikit-learn does not expose its own.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
    **params
        Further parameters of the fastmlp estimator, such as backend. They must not change the network of a fitted
        estimator.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        For any other estimator, and for subclasses.
    ValueError
        If parameters or the arrays in coefs_ and intercepts_ do not match the fitted network.
    """
    if type(estimator) not in PAIRS:
        raise TypeError(
            "estimator must be an MLPClassifier or MLPRegressor of sklearn.neural_network, "
            f"got {type(estimator).__module__}.{type(estimator).__name__}."
        )
    kind = PAIRS[type(estimator)]
    shared = _shared(clone(estimator), kind)
    made = kind(**shared | params)
    if hasattr(estimator, "coefs_"):
        _take_weights(made, estimator, kind(**shared))
    return made


def _take_weights(made, fitted, plain):
    """``plain`` has only scikit-learn's parameters; the others must not change the network."""
    for estimator in (made, plain):
        for name in filter(vars(fitted).__contains__, FITTED):
            setattr(estimator, name, deepcopy(getattr(fitted, name)))
        if hasattr(fitted, "classes_"):
            binarizer = fitted._label_binarizer
            estimator._set_labels(Labels(estimator.classes_, binarizer.y_type_, binarizer.sparse_input_))
    arrays = [[np.asarray(array) for array in given] for given in (fitted.coefs_, fitted.intercepts_)]
    sizes = [arrays[0][0].shape[0], *(len(b) for b in arrays[1])]
    network, dropout = network_of(made, sizes[0], sizes[1:-1], sizes[-1])
    asked = network_of(plain, sizes[0], sizes[1:-1], sizes[-1])[0]
    if network != asked or hidden_widths(made) != sizes[1:-1] or made.scale is not None:
        raise ValueError(
            "these parameters change the network of the fitted estimator. Convert an unfitted one and fit again."
        )
    if network.activations[-1] != fitted.out_activation_:
        raise ValueError(
            f"loss={fitted.loss!r} was set after the fit, which has the output {fitted.out_activation_!r}: fit again."
        )
    single = all(array.dtype == np.float32 for array in (*arrays[0], *arrays[1]))
    parameters = aligned_zeros((network.n_parameters,), np.float32 if single else np.float64)
    for views, given in zip(layer_views(network, parameters), arrays):
        for view, array in zip(views, given, strict=True):
            if array.shape != view.shape:
                raise ValueError(
                    f"coefs_ and intercepts_ do not match: got shape {array.shape}, expected {view.shape}."
                )
            view[:] = array
    made._net = FittedNetwork(network, parameters, noise_of(made, network, dropout, 0))
    best = getattr(made, "best_validation_score_" if made.early_stopping else "best_loss_", None)
    if best is not None:  # of an earlier fit by a solver that has curves
        made._net.progress.best_score = best if made.early_stopping else -best
    made.backend_, _, made.backend_reason_ = registry.choose(made.backend)


def to_sklearn(estimator: MLPClassifier | MLPRegressor) -> Any:
    """Convert a fastmlp estimator to scikit-learn, with its weights if it is fitted.

    ``backend`` and ``n_jobs`` are dropped.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        For any other estimator, and for subclasses.
    ValueError
        If the estimator uses something that scikit-learn's does not have (other activations, losses or solvers, skip
        connections, dropout ...), or if parameters that define the network were set after the fit.
    """
    kind = next((theirs for theirs, ours in PAIRS.items() if type(estimator) is ours), None)
    if kind is None:
        raise TypeError(
            f"estimator must be an MLPClassifier or MLPRegressor of fastmlp, got {type(estimator).__name__}."
        )
    shared, lost = _shared(clone(estimator), kind), _beyond(estimator, kind)
    if lost:
        raise ValueError(f"scikit-learn's {kind.__name__} has no {', '.join(lost)}.")
    if estimator.n_layers is not None or estimator.width is not None:
        shared["hidden_layer_sizes"] = tuple(hidden_widths(estimator))
    made = kind(**shared)
    made._validate_params()
    if hasattr(estimator, "coefs_"):
        parameters, network = estimator._net.current_parameters(), estimator._net.network
        if (
            estimator._net.scaling is not None
            or estimator._net.target_scaling is not None
            or network != network_of(estimator, network.sizes[0], list(network.sizes[1:-1]), network.sizes[-1])[0]
        ):
            raise ValueError("parameters that define the network were set after the fit: fit again first.")
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
            made._label_binarizer = estimator._labels.binarizer()
    return made


def _beyond(estimator, kind):
    """Names of parameters in use that scikit-learn's estimator does not have."""
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
