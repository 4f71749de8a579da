"""A fitted model as its predictions need it, for what writes it down elsewhere: export/onnx.py and its neighbours."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import _check_feature_names, _get_feature_names, check_is_fitted

from fastmlp.estimators.base import BaseMLP
from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.spec import Network, layer_views, slope_views
from fastmlp.model.activations import name_of
from fastmlp.model.layered_network import LayeredNetwork


class ExportedLayer(NamedTuple):
    """W of shape (inputs, units), b, and learned slopes (0, 1 or units of them); the name of the activation.

    ``sources`` are the layers whose outputs come in through W, one after the other, 0 being the network's inputs;
    ``added`` is one whose outputs are added to z, or None.
    """

    W: np.ndarray
    b: np.ndarray
    slopes: np.ndarray
    activation: str
    sources: tuple[int, ...]
    added: int | None


class Exported(NamedTuple):
    """A network, its parameters, and what is made of the last layer's outputs.

    ``kind``: "outputs" as they are, "numbers" of a regressor, or classes: "binary", "multiclass", "multilabel", with
    ``classes`` and, where the outputs are no probabilities, the ``targets`` (low, high) of their loss. ``inputs`` of
    the model of a table are (name, mean, std) of each.
    """

    network: Network
    parameters: np.ndarray
    kind: str
    classes: np.ndarray | None = None
    targets: tuple[float, float] | None = None
    inputs: list[tuple[str, float, float]] | None = None

    @property
    def sizes(self):
        return self.network.sizes

    @property
    def layers(self):
        """The ExportedLayers, views of the parameters."""
        arrays = *layer_views(self.network, self.parameters), slope_views(self.network, self.parameters)
        return [
            ExportedLayer(W, b, slopes, activation, *_inputs_of(self.network, number))
            for number, (W, b, slopes, activation) in enumerate(zip(*arrays, self.network.activations))
        ]

    def outputs(self, X):
        """What the last layer gives, computed in float64."""
        return numpy_reference.forward(self.network, self.parameters.astype(np.float64), np.asarray(X, np.float64))

    def __str__(self):
        return f"{'-'.join(map(str, self.sizes))} multilayer perceptron"

    def sample(self, n_rows):
        """Rows for tests: normal numbers, or such as a table may hold."""
        rows = np.random.RandomState(0).standard_normal((n_rows, self.sizes[0]))
        if self.inputs is None:
            return rows
        means, stds = np.array([[mean, std] for _, mean, std in self.inputs]).T
        return rows * stds + means


def network_and_parameters(model):
    """Of an MLP, MLPClassifier or MLPRegressor that has weights, for inputs as they are.

    Raises
    ------
    ValueError
        If it has none.
    TypeError
        For anything else.
    """
    if isinstance(model, BaseMLP):
        check_is_fitted(model)
        return model._net.with_scaling_in_weights()
    if isinstance(model, LayeredNetwork):
        return model.network, model.parameters
    raise TypeError(f"this takes fastmlp's MLP, MLPClassifier and MLPRegressor, not {type(model).__name__}.")


def check_names(model, X):
    """scikit-learn's error, or warning, where X has columns of other names than the model's inputs."""
    if isinstance(model, LayeredNetwork):
        model._check_names(X)
    elif isinstance(model, BaseMLP):
        _check_feature_names(model, X, reset=False)
    elif hasattr(model, "encoder") and _get_feature_names(X) is not None:  # the model of a table
        names = np.array([name for name, *_ in model.encoder.outputs], object)
        _check_feature_names(SimpleNamespace(feature_names_in_=names), X, reset=False)


def exported(model):
    """The Exported of an MLP, MLPClassifier or MLPRegressor, or of the model of a table that the command line has made.

    Dropout and noise are for training, and left out; so is the rounding of a model in bfloat16.

    Raises
    ------
    ValueError
        If the model has no weights yet; for weights that are not finite, activations of one's own, which only Python
        knows, and labels that are neither numbers nor booleans nor strings.
    TypeError
        For anything else than such a model.
    """
    if hasattr(model, "exported"):  # the model of a table, whose module needs pandas
        return model.exported()
    network, parameters = network_and_parameters(model)
    own = [activation for activation in network.activations if not isinstance(activation, str)]
    if own:
        raise ValueError(f"{name_of(own[0])} is an activation of one's own: it cannot be exported.")
    if not np.isfinite(parameters).all():
        raise ValueError("the model has weights that are not finite: there is nothing to export.")
    network, parameters = network._replace(bfloat16=False), parameters.copy()
    if not hasattr(model, "classes_"):
        return Exported(network, parameters, "numbers" if isinstance(model, BaseMLP) else "outputs")
    if model.classes_.dtype.kind not in "biufU" and not all(isinstance(label, str) for label in model.classes_):
        raise ValueError(f"labels must be numbers, booleans or strings to be exported, not {model.classes_.dtype}.")
    kind = "multilabel" if model._label_type.startswith("multilabel") else model._label_type
    return Exported(network, parameters, kind, model.classes_, model._targets)


def _inputs_of(network, number):
    skip = network.skips[number] if network.skips else None
    if skip is None:
        return (number,), None
    return ((number, skip.source), None) if skip.weighted else ((number,), skip.source)
