"""Looking inside: are the gradients right, which layers learn, which units are dead?"""

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
from fastmlp.training.history import count_dead_units
from fastmlp.typing import ArrayLike, MatrixLike
from fastmlp.validation.checks import check_integer, check_real


def dead_units(model: MLP | BaseMLP, X: MatrixLike) -> tuple[int, ...]:
    """How many units of each hidden layer give 0 for every row of X: they have no gradient there.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        With weights.
    X : array-like or sparse matrix of shape (n_samples, n_inputs)

    Returns
    -------
    tuple of int
    """
    _check_kind(model)
    return count_dead_units(layer_outputs(model, X) if isinstance(model, BaseMLP) else model.layer_outputs(X))


def _check_kind(model):
    if not isinstance(model, (BaseMLP, MLP)):
        raise TypeError(f"model must be an MLP, MLPClassifier or MLPRegressor, got {type(model).__name__}.")


class GradientCheck(NamedTuple):
    """Largest relative error of a model's gradient, that of each layer, and how many parameters were looked at.

    The relative error of a parameter is |g - numeric| / (|g| + |numeric| + the mean size of all): below 1e-6 a gradient
    is right, above 1e-3 a formula is wrong; in between there may be corners (ReLU) near by. NaN counts as infinite.
    """

    largest: float
    by_layer: tuple[float, ...]
    n_checked: int


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

    Meant for activations and losses of one's own. Dropout and noise are left out.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        Weights of an MLP are drawn if it has none; an estimator must be fitted. Its inputs are scaled and its labels
        encoded as in ``fit``; weights of classes do not count.
    X, y, sample_weight
        Some rows, as for ``fit``.
    step : float > 0, default=1e-5
        Half the distance of the two points of a difference.
    n_parameters : int, default=500
        How many parameters to look at, picked at random where there are more.

    Returns
    -------
    GradientCheck
    """
    check_real("step", step, 0, open_low=True)
    check_integer("n_parameters", n_parameters, 1)
    _check_kind(model)
    of_kind = _of_estimator if isinstance(model, BaseMLP) else _of_mlp
    kernels, network, parameters, (X, y, sample_weight), penalties = of_kind(model, X, y, sample_weight)
    network, parameters = network._replace(bfloat16=False), parameters.astype(np.float64)
    X, y = (X.toarray() if issparse(X) else X).astype(np.float64), y.astype(np.float64)
    sample_weight = None if sample_weight is None else sample_weight.astype(np.float64)

    def loss_and_gradient(at):
        data_loss, penalty, gradient = kernels.loss_and_gradient(network, at, X, y, sample_weight, penalties)
        return data_loss + penalty, gradient

    gradient = loss_and_gradient(parameters)[1]
    chosen = np.random.RandomState(0).permutation(parameters.size)[:n_parameters]
    floor = np.abs(gradient[np.isfinite(gradient)]).sum() / gradient.size + 1e-12
    starts = np.array([block.start for block in network.blocks])
    errors = [0.0] * len(starts)
    for i in chosen:
        shifted = parameters.copy()
        shifted[i] = parameters[i] + step
        upper = loss_and_gradient(shifted)[0]
        shifted[i] = parameters[i] - step
        numeric = (upper - loss_and_gradient(shifted)[0]) / (2 * step)
        error = abs(gradient[i] - numeric) / (abs(gradient[i]) + abs(numeric) + floor)
        layer = int(np.searchsorted(starts, i, side="right")) - 1
        errors[layer] = max(errors[layer], float(error) if np.isfinite(error) else np.inf)
    return GradientCheck(max(errors), tuple(errors), len(chosen))


def _of_mlp(model, X, y, sample_weight):
    """(kernels, network, parameters, checked rows, penalties)."""
    rows = model._samples(X, y, sample_weight)
    if model._state is None:
        model.build(rows[0].shape[1])
    return model._backend.module, model.network, model.parameters, rows, model._penalty._replace(alpha=model.alpha)


def _of_estimator(model, X, y, sample_weight):
    check_is_fitted(model)
    model = copy(model)  # which notes what the rows mean
    rows = as_network_sees(model, in_dtype(model, validated(model, X, y, sample_weight)))
    kernels, penalties = registry.choose(model.backend).module, penalty_of(model)._replace(alpha=float(model.alpha))
    return kernels, model._net.network, model._net.current_parameters(), rows, penalties
