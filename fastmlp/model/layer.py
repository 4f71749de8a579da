"""Layer: one dense layer of a network, and the checks on a list of them."""

from dataclasses import dataclass

from fastmlp.kernels.rules import Activation
from fastmlp.kernels.spec import Skip
from fastmlp.validation.arrays import is_listing
from fastmlp.validation.checks import check_flags, check_integer, check_real

from .activations import check_activation


@dataclass(frozen=True)
class Layer:
    """A dense layer.

    Parameters
    ----------
    units : int
    activation : str or (function, derivative), default='relu'
        A name of the table ACTIVATIONS (``help(fastmlp.kernels.rules.activations)``), or a custom activation: two plain
        functions of the pre-activation z, a number. Numba compiles them, at full speed on the backends 'cython' and
        'numba'; captured variables are frozen at the first use, and the functions must not raise.
    dropout : float in [0, 1), default=0
        Share of the outputs that training drops in each step; the others are scaled up by 1 / (1 - dropout), so that
        predictions are made with the expected activations (Srivastava et al. 2014). Not for the last layer.
    skip : int, default=0
        With k > 1 the layer also takes the outputs of the layer k below it, a skip connection past the layers between
        (He et al. 2015); 0 means none.
    skip_weights : bool, default=True
        Whether the skip connection has weights of its own, in the last rows of W. Otherwise its values are added to z,
        and both layers must have the same number of units.

    Raises
    ------
    ValueError
        For a value out of range, or an unknown activation.
    """

    units: int
    activation: str | Activation = "relu"
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
            raise ValueError("skip must be 0 or an integer of at least 2, got 1: 1 is the layer just below.")
        for key, value in checked.items():
            object.__setattr__(self, key, value)


def checked_layers(layers):
    """A list of Layer from the ``layers`` of an MLP."""
    if not is_listing(layers):
        raise ValueError(f"layers must be a list of Layer(units, activation) or such pairs, got {layers!r}.")
    layers = [layer if isinstance(layer, Layer) else _layer_of(layer) for layer in layers]
    if not layers:
        raise ValueError("layers must hold at least the output layer.")
    for number, layer in enumerate(layers, 1):
        if layer.skip > number:
            raise ValueError(f"skip of layer {number} must be 0 or between 2 and {number}, got {layer.skip}.")
    if layers[-1].dropout:
        raise ValueError("the last layer can have no dropout: its outputs are the predictions.")
    return layers


def _layer_of(given):
    """A Layer from a pair, or from the tuple of all its fields."""
    if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= 5:
        raise ValueError(f"a layer must be Layer(units, activation) or such a pair, got {given!r}.")
    return Layer(*given)


def skips_of(layers, n_inputs):
    """The Skip of each layer of weights, or () where there is none; ValueError where units do not fit."""
    sizes = [n_inputs, *(layer.units for layer in layers)]
    skips = []
    for number, layer in enumerate(layers, 1):
        source = number - layer.skip
        if layer.skip and not layer.skip_weights and sizes[source] != layer.units:
            raise ValueError(
                f"layer {number} has {layer.units} units and its skip comes from {sizes[source]}: without weights both "
                "must be the same."
            )
        skips.append(Skip(source, layer.skip_weights) if layer.skip else None)
    return tuple(skips) if any(skips) else ()
