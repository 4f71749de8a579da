"""PredictionNetwork: the part of a fitted model that its predictions need, for exports and input gradients."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from fastmlp.kernels.inputs import EMBEDDING, ONE_HOT, PIECEWISE_LINEAR
from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.spec import Network, layer_views, slope_views


class PredictionLayer(NamedTuple):
    """W of shape (inputs, units), b, the trainable slopes (0, 1 or one per unit), and the activation.

    ``sources`` are the layers whose outputs, concatenated, are multiplied by W; 0 is the network's input. ``added`` is
    a layer whose outputs are added to z, or None.
    """

    W: np.ndarray
    b: np.ndarray
    slopes: np.ndarray
    activation: str
    sources: tuple[int, ...]
    added: int | None


class PredictionNetwork(NamedTuple):
    """A network, its parameters, and the meaning of its outputs. Dropout and noise belong to training.

    Attributes
    ----------
    network : Network
        For unscaled inputs and outputs: any scaling is folded into the parameters.
    parameters : ndarray
        The flat vector.
    kind : {'outputs', 'numbers', 'binary', 'multiclass', 'multilabel'}
        Raw outputs of an MLP, predictions of a regressor, or the type of a classifier's labels.
    classes : ndarray or None
    targets : (low, high) or None
        Targets for False and True, if outputs are not probabilities.
    inputs : list of (name, mean, standard deviation), or None
        Columns of a table, after encoding.
    """

    network: Network
    parameters: np.ndarray
    kind: str
    classes: np.ndarray | None = None
    targets: tuple[float, float] | None = None
    inputs: list[tuple[str, float, float]] | None = None

    @property
    def sizes(self):
        """Numbers of units of all layers, starting with the inputs."""
        return self.network.sizes

    @property
    def layers(self):
        """List of PredictionLayer, with views of the parameters."""
        arrays = *layer_views(self.network, self.parameters), slope_views(self.network, self.parameters)
        return [
            PredictionLayer(W, b, slopes, activation, *_inputs_of(self.network, number))
            for number, (W, b, slopes, activation) in enumerate(zip(*arrays, self.network.activations))
        ]

    def outputs(self, X):
        """Outputs of the last layer, computed in float64."""
        return numpy_reference.forward(self.network, self.parameters.astype(np.float64), np.asarray(X, np.float64))

    def __str__(self):
        return f"{'-'.join(map(str, self.sizes))} multilayer perceptron"

    def sample(self, n_samples):
        """Random inputs for tests: codes, and standard normal numbers or ones with a table's means and deviations."""
        random_state = np.random.RandomState(0)
        samples = random_state.standard_normal((n_samples, self.network.n_columns))
        for number, column in enumerate(self.network.inputs.columns if self.network.inputs else ()):
            if column.kind in (ONE_HOT, EMBEDDING):
                samples[:, number] = random_state.randint(-1, column.n, n_samples)
            elif column.kind == PIECEWISE_LINEAR:
                samples[:, number] = random_state.uniform(column.edges[0], column.edges[-1], n_samples)
        if self.inputs is None:
            return samples
        means, stds = np.array([[mean, std] for _, mean, std in self.inputs]).T
        return samples * stds + means


class HasPredictionNetwork(ABC):
    """Interface of models that can be exported and differentiated: MLP, the estimators, and models of tables."""

    @abstractmethod
    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork. Its parameters may be a view. Raises ValueError if the model is not fitted."""

    @abstractmethod
    def check_feature_names(self, X: Any) -> None:
        """Compare the column names of X with those of the model, with scikit-learn's errors and warnings."""


def prediction_network_of(model):
    """The PredictionNetwork of a model.

    Raises
    ------
    ValueError
        If the model is not fitted.
    TypeError
        If it is not an MLP, MLPClassifier, MLPRegressor or a model of a table.
    """
    if not isinstance(model, HasPredictionNetwork):
        raise TypeError(f"model must be an MLP, MLPClassifier or MLPRegressor, got {type(model).__name__}.")
    return model.prediction_network()


def _inputs_of(network, number):
    """(sources, added) of a layer."""
    skip = network.skips[number] if network.skips else None
    if skip is None:
        return (number,), None
    return ((number, skip.source), None) if skip.weighted else ((number,), skip.source)
