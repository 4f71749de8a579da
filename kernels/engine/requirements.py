"""Options of a call in addition to its network, in the form that the compiled backends take."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Optimizer, activation_row

from . import partition

NO_OPTIMIZER = Optimizer("", 0.0)


class Requirements(NamedTuple):
    """Options of a call for which a plan reserves memory.

    ``noisy``: training noise of activations; ``inputs``: noise or dropout on the inputs; ``dropped``: whether each
    layer has dropout; ``activity``: activity penalties; ``by_matrix``: options that need whole gradients or matrices,
    such as bounds on norms; ``sparse``: X is SparseRows.
    """

    noisy: bool = False
    inputs: bool = False
    dropped: tuple[bool, ...] = ()
    activity: bool = False
    by_matrix: bool = False
    sparse: bool = False


NO_REQUIREMENTS = Requirements()


class Constants(NamedTuple):
    """Constants as a float64 array that is never written, and its address (cached, because the lookup is slow)."""

    array: np.ndarray
    address: int


@lru_cache(maxsize=64)
def constants(values):
    """Constants of a tuple of numbers, or of tuples with a number for each output, stored output by output."""
    array = np.array(values, np.float64).T.flatten()
    return Constants(array, array.ctypes.data)


class Extras(NamedTuple):
    """Options of a call as an array in the order of engine/partition.py, and its address.

    ``plain``: engine/online.py supports all of them.
    """

    array: np.ndarray
    address: int
    requirements: Requirements
    plain: bool


def extras_of(network, optimizer, penalty, noise):
    """The Extras of a call; ``alpha`` is not among them."""
    # The cache key leaves out learning rate, alpha and seed, which change often and do not matter here.
    bounds = optimizer.weight_decay, optimizer.clip_norm, optimizer.clip_value, optimizer.max_norm
    return _extras(
        network, optimizer.name, bounds, optimizer.layer_rates, penalty[:-1], None if noise is None else noise[1:]
    )


@lru_cache(maxsize=64)
def _extras(network, optimizer, bounds, layer_rates, penalty, noise):
    n_layers = len(network.activations)
    weight_decay, clip_norm, clip_value, max_norm = bounds
    _, activity_l1, activity_l2 = penalty
    input_dropout, input_std, dropout = (0.0, 0.0, ()) if noise is None else noise
    decoupled = optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].decoupled
    extras = np.zeros(partition.LAYERS + partition.LAYER_EXTRAS * n_layers)
    extras[[partition.LASSO, partition.ACTIVITY_L1, partition.ACTIVITY_L2]] = penalty
    extras[partition.DECOUPLED_DECAY if decoupled else partition.COUPLED_DECAY] = weight_decay
    extras[[partition.CLIP_NORM, partition.CLIP_VALUE, partition.MAX_NORM]] = clip_norm, clip_value, max_norm
    extras[[partition.INPUT_DROPOUT, partition.INPUT_STD]] = input_dropout, input_std
    by_layer = extras[partition.LAYERS :].reshape(n_layers, partition.LAYER_EXTRAS)
    by_layer[: len(dropout), partition.DROPOUT] = dropout
    by_layer[:, partition.FACTOR] = layer_rates or 1.0
    requirements = Requirements(
        noisy=noise is not None and any(activation_row(name).std is not None for name in network.activations),
        inputs=input_dropout > 0 or input_std > 0,
        dropped=tuple(rate > 0 for rate in dropout) if any(dropout) else (),
        activity=activity_l1 > 0 or activity_l2 > 0,
        by_matrix=clip_norm > 0 or max_norm > 0,
    )
    plain = (
        requirements == NO_REQUIREMENTS and not network.skips and not layer_rates and network.inputs is None
        and not extras[: partition.LAYERS].any()
        and not any(activation_row(name).of_input for name in network.activations)
    )  # fmt: skip
    return Extras(extras, extras.ctypes.data, requirements, plain)
