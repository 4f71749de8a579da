"""Looking inside: are the gradients right, which layers learn, which units are dead?"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from .checks import check_integer, check_real
from .lbfgs import loss_and_gradient_in_blocks


def note(history, name, value, missing=math.nan):
    """Append to a curve what an epoch gave; ``missing`` stands for earlier epochs in which nobody asked for it."""
    curve = history.setdefault(name, [])
    if name != "loss":
        curve += [missing] * (len(history["loss"]) - 1 - len(curve))
    curve.append(value)


def curves(history):
    """The part of a history that has one number for each epoch."""
    return {name: values for name, values in history.items() if values and isinstance(values[-1], float)}


def layer_norms(network, vector):
    """Norm of a flat vector's part of each layer: weights, biases and slopes."""
    starts = [block.start for block in network.blocks]
    return tuple(float(np.linalg.norm(part.astype(np.float64))) for part in np.split(vector, starts[1:]))


def dead_units(model, X):
    """How many units of each hidden layer give 0 for every row of X: they have no gradient there.

    Parameters
    ----------
    model : MLP with weights
    X : array-like of shape (n_samples, n_inputs)

    Returns
    -------
    tuple of int
    """
    return _dead_units(model.layer_outputs(X))


def _dead_units(outputs):
    return tuple(int((layer == 0).all(axis=0).sum()) for layer in outputs[:-1])


class Monitor:
    """Notes in a model's history, epoch by epoch, what ``monitor`` of its fit promises."""

    def __init__(self, model, X, y, sample_weight):
        self._model, self._data = model, (X, y, sample_weight)
        state = model._state
        goes_on = state.order is not None and len(state.order) == X.shape[0] and model.optimizer != "lbfgs"
        self._before = (state.epoch_start if goes_on else state.parameters).copy()

    def note(self):
        model, (X, y, sample_weight) = self._model, self._data
        backend, network, parameters = model._backend.module, model.network, model.parameters
        gradient = loss_and_gradient_in_blocks(
            backend, network, parameters, X, y, sample_weight, model.alpha, penalty=model._penalty
        )[1]
        for name, values in (
            ("gradient_norm", layer_norms(network, gradient)),
            ("update_norm", layer_norms(network, parameters - self._before)),
            ("dead_units", tuple(map(float, _dead_units(model._layer_outputs(X))))),
        ):
            note(model.history, name, values, missing=(math.nan,) * len(values))
        self._before = parameters.copy()


class GradientCheck(NamedTuple):
    """Largest relative error of a model's gradient, that of each layer, and how many parameters were looked at.

    The relative error of a parameter is |g - numeric| / (|g| + |numeric| + the mean size of all): below 1e-6 a gradient
    is right, above 1e-3 a formula is wrong; in between there may be corners (ReLU) near by. NaN counts as infinite.
    """

    largest: float
    by_layer: tuple[float, ...]
    n_checked: int


def check_gradients(model, X, y, sample_weight=None, *, step=1e-5, n_parameters=500):
    """Compare the gradient of a model with central differences of its loss, in float64, penalties included.

    Meant for activations and losses of one's own. Dropout and noise are left out.

    Parameters
    ----------
    model : MLP
        Its weights are drawn if it has none.
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
    X, y, sample_weight = model._rows(X.toarray() if issparse(X) else X, y, sample_weight)
    if model._state is None:
        model.build(X.shape[1])
    network, parameters = model.network._replace(bfloat16=False), model.parameters.astype(np.float64)
    X = X.astype(np.float64)
    y = y.astype(np.float64)

    def loss_and_gradient(at):
        data_loss, penalty, gradient = model._backend.module.loss_and_gradient(
            network, at, X, y, None if sample_weight is None else sample_weight.astype(np.float64), model.alpha,
            model._penalty,
        )  # fmt: skip
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
