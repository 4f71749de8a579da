"""Predictor: a network with parameters on a backend."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import sparray, spmatrix

from fastmlp.backends.threads import ThreadLimit
from fastmlp.kernels.spec import Network, Noise
from fastmlp.typing import FloatArray
from fastmlp.validation.arrays import CSR, is_clean_csr, is_float_matrix

from .predict import layer_outputs, mc_outputs, predict_rows, reported_loss

Matrix: TypeAlias = np.ndarray | spmatrix | sparray


class Predictor(NamedTuple):
    """Predictions and losses of a trained network, for MLP and the estimators. X and y must be validated already."""

    kernels: ModuleType
    network: Network
    parameters: np.ndarray
    n_jobs: int | None = None

    def _limit(self):
        return ThreadLimit(self.n_jobs, self.kernels)

    def outputs(self, X: Matrix) -> FloatArray:
        """Outputs of shape (n_samples, n_outputs)."""
        with self._limit():
            return predict_rows(*self[:3], X)

    def outputs_if_valid(self, X: Any) -> FloatArray | None:
        """Outputs for a NumPy matrix or CSR matrix of finite floats; None for anything else, which needs validation.

        Arrays are checked on their way through the kernels.
        """
        n_columns = self.network.n_columns
        if type(X) in CSR:
            is_valid = X.shape[1:] == (n_columns,) and is_clean_csr(X, self.parameters.dtype)
            return self.outputs(X) if is_valid else None
        if not is_float_matrix(X, n_columns):
            return None
        if X.dtype != self.parameters.dtype:
            with np.errstate(over="ignore"):  # infinity is not finite
                X = X.astype(self.parameters.dtype)
        with self._limit():
            return self.kernels.forward(self.network, self.parameters, np.ascontiguousarray(X), True)

    def loss(self, samples: Any, outputs: FloatArray | None = None) -> float:
        """The reported loss of Samples, without penalties. Pass ``outputs`` if they have been computed already."""
        outputs = self.outputs(samples.X) if outputs is None else outputs
        y, weight = (None if given is None else given.astype(outputs.dtype, copy=False) for given in samples[1:])
        with self._limit():
            return reported_loss(self.network, self.kernels.loss_of_outputs(self.network, outputs, y, weight), 0.0)

    def layer_outputs(self, X: Matrix) -> list[FloatArray]:
        """Outputs of every layer, including hidden layers: a list of arrays of shape (n_samples, units)."""
        with self._limit():
            return layer_outputs(*self[:3], X)

    def mc_outputs(
        self, X: Matrix, noise: Noise | None, mc_samples: int, transform: Callable = lambda output: output
    ) -> tuple[FloatArray, FloatArray]:
        """(mean, standard deviation) of the transformed outputs over ``mc_samples`` stochastic passes."""
        with self._limit():
            return mc_outputs(*self[:3], X, noise, mc_samples, transform)

    def row_predictor(self) -> Callable[[FloatArray], FloatArray]:
        """A function that takes one sample and returns its outputs."""
        return self.kernels.row_predictor(self.network, self.parameters)
