"""What is trained: a network on a backend, with its penalties and its noise, and the samples of a fit."""

from types import ModuleType
from typing import NamedTuple

import numpy as np
from scipy.sparse import sparray, spmatrix

from fastmlp.kernels.spec import NO_PENALTY, Network, Noise, Penalty, activation_row


class Problem(NamedTuple):
    """What a backend needs for a step of training, apart from parameters and samples.

    ``noise`` is dropout and noise, or None.
    """

    kernels: ModuleType
    network: Network
    penalty: Penalty = NO_PENALTY
    noise: Noise | None = None


class Samples(NamedTuple):
    """Checked data: X of shape (n_samples, n_inputs), C-contiguous or CSR, y of shape (n_samples, n_outputs), weights.

    All are in the dtype of the parameters.
    """

    X: np.ndarray | spmatrix | sparray
    y: np.ndarray
    weight: np.ndarray | None = None


def noise_for(activations, seed, input_dropout=0.0, input_std=0.0, dropout=()):
    """The Noise of training, or None if nothing is random."""
    noisy = any(activation_row(activation).deviation is not None for activation in activations)
    if not (noisy or input_dropout or input_std or any(dropout)):
        return None
    return Noise(seed, input_dropout, input_std, tuple(dropout))
