"""Weight initialization: a table of distributions. Biases start at 0 unless the entry says otherwise."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from fastmlp.kernels.spec import aligned_zeros, layer_views, slope_views
from fastmlp.validation.checks import check_memory, check_real, known

SMALL = 0.05  # default scale of 'uniform' (half the range) and 'normal' (standard deviation)
LARGEST_SCALE = 1e30  # float32 weights stay finite
PRELU_SLOPE = 0.25  # He et al. 2015


def zeros(random, shape, fan_in, fan_out, gain):
    """w = 0, for linear models only: hidden units would all stay identical."""
    return np.zeros(shape)


def uniform(random, shape, fan_in, fan_out, gain):
    """w uniform in +-scale, by default 0.05 (Mitchell 1997, section 4.5)."""
    return random.uniform(-gain, gain, shape)


def normal(random, shape, fan_in, fan_out, gain):
    """w normal with standard deviation scale, by default 0.05."""
    return random.normal(0, gain, shape)


def glorot_uniform(random, shape, fan_in, fan_out, gain):
    """w uniform in +-sqrt(6 / (fan_in + fan_out)), with 2 instead of 6 for logistic units (Glorot & Bengio 2010)."""
    bound = math.sqrt(gain / (fan_in + fan_out))
    return random.uniform(-bound, bound, shape)


def glorot_normal(random, shape, fan_in, fan_out, gain):
    """w normal with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    return random.normal(0, math.sqrt(2 / (fan_in + fan_out)), shape)


def he_uniform(random, shape, fan_in, fan_out, gain):
    """w uniform in +-sqrt(6 / fan_in) (He et al. 2015)."""
    bound = math.sqrt(6 / fan_in)
    return random.uniform(-bound, bound, shape)


def he_normal(random, shape, fan_in, fan_out, gain):
    """w normal with variance 2 / fan_in (He et al. 2015)."""
    return random.normal(0, math.sqrt(2 / fan_in), shape)


def lecun_uniform(random, shape, fan_in, fan_out, gain):
    """w uniform in +-sqrt(3 / fan_in) (LeCun et al. 1998)."""
    bound = math.sqrt(3 / fan_in)
    return random.uniform(-bound, bound, shape)


def lecun_normal(random, shape, fan_in, fan_out, gain):
    """w normal with variance 1 / fan_in (LeCun et al. 1998), recommended for SELU."""
    return random.normal(0, math.sqrt(1 / fan_in), shape)


class Initializer(NamedTuple):
    """An entry of the table INITIALIZERS.

    Attributes
    ----------
    function : callable
        ``function(random, shape, fan_in, fan_out, gain)`` returns an array of that shape.
    biases : bool
        Whether biases are drawn like weights.
    scaled : bool
        Whether a scale may be given.
    """

    function: Callable
    biases: bool = False
    scaled: bool = False


INITIALIZERS = {
    "zeros": Initializer(zeros),
    "uniform": Initializer(uniform, biases=True, scaled=True),
    "normal": Initializer(normal, scaled=True),
    "glorot_uniform": Initializer(glorot_uniform, biases=True),
    "glorot_normal": Initializer(glorot_normal),
    "he_uniform": Initializer(he_uniform),
    "he_normal": Initializer(he_normal),
    "lecun_uniform": Initializer(lecun_uniform),
    "lecun_normal": Initializer(lecun_normal),
}


def check_init(given):
    """Validate ``init``: a name in INITIALIZERS, (name, scale), or a sequence of arrays (W, b), one pair per layer."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        name, scale = given
        if not INITIALIZERS[known("init", name, INITIALIZERS)].scaled:
            scaled = [key for key, row in INITIALIZERS.items() if row.scaled]
            raise ValueError(f"init {name!r} takes no scale: pass only the name, or use {' or '.join(scaled)}.")
        return name, check_real("scale of init", scale, 0, LARGEST_SCALE, open_low=True)
    if isinstance(given, str) or not isinstance(given, (tuple, list)):
        return known("init", given, INITIALIZERS)
    if not given or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in given):
        raise ValueError(f"init must be a name, (name, scale), or a list of (W, b), one pair per layer, got {given!r}.")
    return given


def initial_parameters(network, init, activations, random_state, dtype):
    """Draw initial parameters, a flat vector of shape (n_parameters,).

    Parameters
    ----------
    network : Network
    init : str, (str, scale) or sequence of (W, b)
        As returned by ``check_init``.
    activations : sequence of str
        Activation of each layer, for the gain of Glorot's uniform distribution.
    random_state : RandomState
        Numbers are drawn layer by layer, weights before biases, in float64. 'glorot_uniform' draws the same numbers as
        scikit-learn.
    dtype : dtype
    """
    check_memory(network.n_parameters, dtype)
    parameters = aligned_zeros(network.n_parameters, dtype)
    for slopes in slope_views(network, parameters):
        slopes[:] = PRELU_SLOPE
    layers = list(zip(*layer_views(network, parameters)))
    if not isinstance(init, str) and not isinstance(init[0], str):
        return _copy_arrays(parameters, layers, init)
    name, scale = (init, SMALL) if isinstance(init, str) else init
    row = INITIALIZERS[name]
    for (W, b), activation in zip(layers, activations):
        gain = scale if row.scaled else 2.0 if activation == "logistic" else 6.0
        W[...] = row.function(random_state, W.shape, *W.shape, gain)
        if row.biases:
            b[...] = row.function(random_state, b.shape, *W.shape, gain)
    return parameters


def _copy_arrays(parameters, layers, arrays):
    """Copy the arrays (W, b) of a user into ``parameters``. Raises ValueError if shapes do not match."""
    shapes = [(W.shape, b.shape) for W, b in layers]
    found = [tuple(map(np.shape, pair)) for pair in arrays]
    if found != shapes:
        raise ValueError(f"init must be a list of (W, b) of shapes {shapes}, got {found}.")
    for (W, b), (given_W, given_b) in zip(layers, arrays):
        W[...], b[...] = check_array(given_W, dtype=W.dtype), check_array(given_b, dtype=W.dtype, ensure_2d=False)
    return parameters
