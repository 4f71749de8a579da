"""Checks that a model can be written in another format."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.ensemble import MLPEnsemble
from fastmlp.estimators.linear import OneLayerClassifier
from fastmlp.model.activations import name_of
from fastmlp.prediction.network import prediction_network_of


def exportable(model):
    """The PredictionNetwork of a model for export, with its own copy of the parameters.

    The rounding of a ``matmul_precision`` other than 'highest' is left out.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, or a model of the command line
        Fitted.

    Raises
    ------
    ValueError
        If the model is not fitted, has weights that are not finite or a custom activation, or if its labels
        are not numbers, booleans or strings.
    TypeError
        For any other object.
    """
    return checked(prediction_network_of(model))


def exportables(model):
    """The PredictionNetworks whose mean is the prediction: those of an ensemble's members, or that of a model.

    ``Perceptron`` and ``Adaline`` have one of kind 'scores', whose outputs are those of ``decision_function``.
    """
    if isinstance(model, MLPEnsemble):
        check_is_fitted(model)
        return [exportable(member) for member in model.members_]
    if isinstance(model, OneLayerClassifier):
        check_is_fitted(model)
        found = model.model_.prediction_network()
        network = found.network._replace(activations=("identity",))
        return [checked(found._replace(network=network, kind="scores", classes=model.classes_))]
    return [exportable(model)]


def checked(found):
    custom = [activation for activation in found.network.activations if not isinstance(activation, str)]
    if custom:
        raise ValueError(f"custom activation {name_of(custom[0])!r} cannot be exported: only built-in ones can.")
    if not np.isfinite(found.parameters).all():
        raise ValueError("the model cannot be exported: some of its weights are NaN or infinite.")
    labels = found.classes
    if labels is not None and labels.dtype.kind not in "biufU" and not all(isinstance(label, str) for label in labels):
        raise ValueError(f"labels must be numbers, booleans or strings to be exported, not {labels.dtype}.")
    return found._replace(network=found.network.without_rounding(), parameters=found.parameters.copy())
