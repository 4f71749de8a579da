"""Derivatives of a network's outputs with respect to its inputs."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array

from fastmlp.kernels.reference.forward_pass import ForwardPass
from fastmlp.kernels.reference.input_stage import errors_of_columns
from fastmlp.kernels.reference.jacobian import output_errors
from fastmlp.prediction.network import HasPredictionNetwork, prediction_network_of
from fastmlp.typing import ArrayLike, FloatArray
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import check_integer

BLOCK_NUMBERS = 2**22  # derivatives computed at a time


def jacobian(model: HasPredictionNetwork, X: ArrayLike) -> FloatArray:
    """Compute the Jacobian of the outputs with respect to the inputs, for each sample.

    Outputs are those of the last layer: predicted values, or probabilities (for two classes that of the second).
    Dropout and noise are switched off. The Jacobian is computed in NumPy, by backpropagation from each output.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        A model with weights.
    X : array-like of shape (n_samples, n_inputs)

    Returns
    -------
    ndarray of shape (n_samples, n_outputs, n_inputs)
        In the dtype of the weights.

    Raises
    ------
    ValueError
        If X has the wrong number of columns, NaN or infinity, or if the model has no weights.
    """
    return _derivatives(model, X, None)


def _derivatives(model, X, output):
    """Derivatives of one output, or of all if ``output`` is None."""
    network, parameters, *_ = prediction_network_of(model)
    model.check_feature_names(X)
    X = check_array(as_numbers(X, "X"), dtype=parameters.dtype, input_name="X")
    if X.shape[1] != network.n_columns:
        raise ValueError(f"X has {X.shape[1]} columns, but the network has {network.n_columns} inputs.")
    network = network.without_rounding()
    first = np.eye(network.sizes[-1], dtype=parameters.dtype)
    first = first if output is None else first[output : output + 1]
    found = np.empty((len(X), len(first), X.shape[1]), parameters.dtype)
    height = max(1, BLOCK_NUMBERS // (len(first) * max(network.sizes)))
    for start in range(0, len(X), height):
        found[start : start + height] = _of_rows(network, parameters, X[start : start + height], first)
    return found


def input_gradient(model: HasPredictionNetwork, X: ArrayLike, output: int | None = None) -> FloatArray:
    """Compute the gradient of one output with respect to the inputs, for each sample.

    Parameters
    ----------
    model, X
        As for ``jacobian``.
    output : int, default=None
        Index of the output. None is allowed if the network has only one.

    Returns
    -------
    ndarray of shape (n_samples, n_inputs)

    Raises
    ------
    ValueError
        If ``output`` is out of range, or None although the network has several outputs.
    """
    n_outputs = prediction_network_of(model).sizes[-1]
    if output is None and n_outputs > 1:
        raise ValueError(
            f"the network has {n_outputs} outputs: pass output=0 to {n_outputs - 1}, or use jacobian for all of them."
        )
    number = check_integer("output", 0 if output is None else output, 0)
    if number >= n_outputs:
        raise ValueError(f"output must be below {n_outputs}, the number of outputs, got {output}.")
    return _derivatives(model, X, number)[:, 0]


def _of_rows(network, parameters, X, first):
    """Derivatives for a block of samples; ``first`` is that of the chosen outputs with respect to the last layer's."""
    errors, _ = output_errors(network, parameters, ForwardPass(network, parameters, X, None, 0), first)
    if network.inputs is None:
        return errors[0]
    return errors_of_columns(network.inputs, parameters, X, errors[0])
