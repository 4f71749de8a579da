"""Records for training: Problem (backend, network, penalties and noise) and Samples."""

from types import ModuleType
from typing import NamedTuple

import numpy as np
from scipy.sparse import sparray, spmatrix

from fastmlp.kernels.spec import NO_PENALTY, Network, Noise, Penalty, activation_row


class Problem(NamedTuple):
    """Everything that a training step needs, except parameters and samples.

    Attributes
    ----------
    kernels : module
        Those of the backend.
    network : Network
    penalty : Penalty
    noise : Noise or None
        Dropout and noise.
    """

    kernels: ModuleType
    network: Network
    penalty: Penalty = NO_PENALTY
    noise: Noise | None = None


class Samples(NamedTuple):
    """Validated training data in the dtype of the parameters.

    Attributes
    ----------
    X : C-contiguous array or CSR matrix of shape (n_samples, n_inputs)
    y : ndarray of shape (n_samples, n_outputs)
    weight : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
    """

    X: np.ndarray | spmatrix | sparray
    y: np.ndarray
    weight: np.ndarray | None = None


def noise_for(activations, seed, input_dropout=0.0, input_std=0.0, dropout=()):
    """The Noise of training, or None if training is deterministic."""
    noisy = any(activation_row(activation).std is not None for activation in activations)
    if not (noisy or input_dropout or input_std or any(dropout)):
        return None
    return Noise(seed, input_dropout, input_std, tuple(dropout))
