"""Gradient checks and dead units."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from fastmlp.backends import registry
from fastmlp.estimators.architecture import penalty_of
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.prediction import layer_outputs
from fastmlp.estimators.samples import as_network_sees, in_dtype, validated
from fastmlp.model.mlp import MLP
from fastmlp.model.samples import checked_samples
from fastmlp.training.history import count_dead_units
from fastmlp.typing import ArrayLike, MatrixLike
from fastmlp.validation.checks import check_integer, check_real


def dead_units(model: MLP | BaseMLP, X: MatrixLike) -> tuple[int, ...]:
    """Count the units of each hidden layer whose output is 0 for every sample of X, so that they have no gradient.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        A model with weights.
    X : array-like or sparse matrix of shape (n_samples, n_inputs)

    Returns
    -------
    tuple of int
        One count for each hidden layer.
    """
    _check_kind(model)
    return count_dead_units(layer_outputs(model, X) if isinstance(model, BaseMLP) else model.layer_outputs(X))


def _check_kind(model):
    if not isinstance(model, (BaseMLP, MLP)):
        raise TypeError(f"model must be an MLP, MLPClassifier or MLPRegressor, got {type(model).__name__}.")


class GradientCheck(NamedTuple):
    """Result of ``check_gradients``.

    The relative error of a parameter is |g - numeric| / (|g| + |numeric| + mean |g|). Below 1e-6 the gradient is
    correct, above 1e-3 a formula is wrong; values in between can come from kinks, such as that of ReLU. NaN counts as
    infinite.

    Attributes
    ----------
    largest : float
        Largest relative error of all parameters checked.
    by_layer : tuple of float
        Largest relative error in each layer.
    n_checked : int
        Number of parameters checked.
    of_inputs : float
        Largest relative error of the parameters before the first layer (``inputs`` of an MLP).
    """

    largest: float
    by_layer: tuple[float, ...]
    n_checked: int
    of_inputs: float = 0.0


def check_gradients(
    model: MLP | BaseMLP,
    X: MatrixLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    step: float = 1e-5,
    n_parameters: int = 500,
) -> GradientCheck:
    """Compare the gradient of a model with central differences of its loss, in float64, penalties included.

    Use it to test custom activations and losses. Dropout and noise are switched off.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        An MLP without weights gets initial ones; an estimator must be fitted. Inputs of an estimator are scaled and
        labels encoded as in ``fit``; class weights are ignored.
    X, y, sample_weight
        A few samples, as for ``fit``.
    step : float in (0, 1], default=1e-5
        Step of the central differences.
    n_parameters : int, default=500
        Number of parameters to check, chosen at random if the model has more.

    Returns
    -------
    GradientCheck
    """
    check_real("step", step, 0, 1, open_low=True)
    check_integer("n_parameters", n_parameters, 1)
    _check_kind(model)
    of_kind = _of_estimator if isinstance(model, BaseMLP) else _of_mlp
    kernels, network, parameters, (X, y, sample_weight), penalties = of_kind(model, X, y, sample_weight)
    network, parameters = network.without_rounding(), parameters.astype(np.float64)
    X, y = (X.toarray() if issparse(X) else X).astype(np.float64), y.astype(np.float64)
    sample_weight = None if sample_weight is None else sample_weight.astype(np.float64)

    def loss_and_gradient(at):
        data_loss, penalty, gradient = kernels.loss_and_gradient(network, at, X, y, sample_weight, penalties)
        return data_loss + penalty, gradient

    gradient = loss_and_gradient(parameters)[1]
    chosen = np.random.RandomState(0).permutation(parameters.size)[:n_parameters]
    floor = np.abs(gradient[np.isfinite(gradient)]).sum() / gradient.size + 1e-12
    starts = np.array([block.start for block in network.blocks])
    errors = [0.0] * (1 + len(starts))  # the first of an input stage
    for i in chosen:
        shifted = parameters.copy()
        shifted[i] = parameters[i] + step
        upper = loss_and_gradient(shifted)[0]
        shifted[i] = parameters[i] - step
        numeric = (upper - loss_and_gradient(shifted)[0]) / (2 * step)
        error = abs(gradient[i] - numeric) / (abs(gradient[i]) + abs(numeric) + floor)
        layer = int(np.searchsorted(starts, i, side="right"))
        errors[layer] = max(errors[layer], float(error) if np.isfinite(error) else np.inf)
    return GradientCheck(max(errors), tuple(errors[1:]), len(chosen), errors[0])


def _of_mlp(model, X, y, sample_weight):
    """(kernels, network, parameters, checked rows, penalties)."""
    rows = checked_samples(model, X, y, sample_weight)
    if model._state is None:
        model.build(rows[0].shape[1])
    return model._backend.kernels, model.network, model.parameters, rows, model._penalty._replace(alpha=model.alpha_)


def _of_estimator(model, X, y, sample_weight):
    check_is_fitted(model)
    model = copy(model)  # validation sets attributes such as _targets
    rows = as_network_sees(model, in_dtype(model, validated(model, X, y, sample_weight)))
    kernels, penalties = registry.choose(model.backend).kernels, penalty_of(model)
    return kernels, model._net.network, model._net.current_parameters(), rows, penalties
