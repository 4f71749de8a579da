"""Layer, a dense layer of an MLP, and the validation of lists of layers."""

from dataclasses import dataclass

from fastmlp.docstrings import with_names
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import Skip
from fastmlp.typing import ActivationSpec
from fastmlp.validation.arrays import is_listing
from fastmlp.validation.checks import check_flags, check_integer, check_real

from .activations import check_activation


@with_names(ACTIVATIONS=ACTIVATIONS)
@dataclass(frozen=True)
class Layer:
    """Dense layer of an MLP.

    Parameters
    ----------
    units : int
        Number of units.
    activation : {ACTIVATIONS} or (function, derivative), default='relu'
        Formulas: ``help(fastmlp.kernels.rules.activations)``. 'softmax' is for the output layer. A custom activation is
        a pair of scalar functions of the pre-activation z, which Numba compiles, so that they run at full speed on the
        backends 'cython' and 'numba'. Captured variables are frozen at compile time. The functions must not raise.
    dropout : float in [0, 1), default=0
        Fraction of the outputs dropped in each training step. The remaining outputs are scaled by 1 / (1 - dropout), so
        that predictions use the expected activations (Srivastava et al. 2014). Not allowed in the last layer.
    skip : int, default=0
        With k > 1, the layer also receives the outputs of the layer k below it (skip connection, He et al. 2015); 0 is
        no skip connection.
    skip_weights : bool, default=True
        Whether the skip connection has trainable weights, stored in the last rows of W. Otherwise the outputs are added
        to z, and both layers must have the same number of units.

    Raises
    ------
    ValueError
        If a value is out of range, or the activation is unknown.
    """

    units: int
    activation: ActivationSpec = "relu"
    dropout: float = 0.0
    skip: int = 0
    skip_weights: bool = True

    def __post_init__(self):
        (skip_weights,) = check_flags(skip_weights=self.skip_weights)
        checked = {
            "units": check_integer("units of a layer", self.units, 1),
            "activation": check_activation(self.activation),
            "dropout": check_real("dropout", self.dropout, 0, 1, open_high=True),
            "skip": check_integer("skip", self.skip, 0),
            "skip_weights": skip_weights,
        }
        if checked["skip"] == 1:
            raise ValueError("skip must be 0 or an integer of at least 2, got 1, which is the layer directly below.")
        for key, value in checked.items():
            object.__setattr__(self, key, value)


def checked_layers(layers):
    """Validate the ``layers`` of an MLP. Returns a list of Layer."""
    if not is_listing(layers):
        raise ValueError(f"layers must be a list of Layer or of pairs (units, activation), got {layers!r}.")
    layers = [layer if isinstance(layer, Layer) else _layer_of(layer) for layer in layers]
    if not layers:
        raise ValueError("layers must have at least one layer, the output layer, got an empty list.")
    for number, layer in enumerate(layers, 1):
        if layer.skip > number:
            raise ValueError(f"skip of layer {number} must be 0 or between 2 and {number}, got {layer.skip}.")
    if layers[-1].dropout:
        raise ValueError(
            f"dropout of the last layer must be 0, because its outputs are the predictions, got {layers[-1].dropout}."
        )
    return layers


def _layer_of(given):
    """A Layer from a tuple of the first of its fields, such as (units, activation)."""
    if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= 5:
        raise ValueError(f"a layer must be a Layer or a pair (units, activation), got {given!r}.")
    return Layer(*given)


def skips_of(layers, n_inputs):
    """The Skip (or None) of each layer, or () if no layer has one. Raises ValueError if numbers of units differ."""
    sizes = [n_inputs, *(layer.units for layer in layers)]
    skips = []
    for number, layer in enumerate(layers, 1):
        source = number - layer.skip
        if layer.skip and not layer.skip_weights and sizes[source] != layer.units:
            raise ValueError(
                f"layer {number} has {layer.units} units, but its skip connection comes from {sizes[source]} units: "
                "use skip_weights=True, or equal numbers of units."
            )
        skips.append(Skip(source, layer.skip_weights) if layer.skip else None)
    return tuple(skips) if any(skips) else ()
