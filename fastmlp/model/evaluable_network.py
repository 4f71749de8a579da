"""EvaluableNetwork: predictions and scores of an MLP."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

from scipy.sparse import issparse

from fastmlp.docstrings import MC_SAMPLES, with_texts
from fastmlp.kernels.spec import loss_row
from fastmlp.prediction.network import PredictionNetwork
from fastmlp.prediction.predictor import Predictor
from fastmlp.typing import ArrayLike, FloatArray, MatrixLike

from .exclusive import reads
from .layered_network import LayeredNetwork
from .samples import checked_inputs, checked_samples
from .validation import accuracy_or_r2


class EvaluableNetwork(LayeredNetwork):
    """Base class of MLP that predicts."""

    @reads
    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork, with a copy of the parameters."""
        return PredictionNetwork(self.network, self.parameters.copy(), "outputs")

    def _predictor(self):
        return Predictor(self._backend.kernels, self._network, self._state.parameters, self.n_jobs)

    @overload
    def predict(self, X: MatrixLike, mc_samples: None = None) -> FloatArray: ...

    @overload
    def predict(self, X: MatrixLike, mc_samples: int) -> tuple[FloatArray, FloatArray]: ...

    @reads
    @with_texts(MC_SAMPLES=MC_SAMPLES)
    def predict(self, X: MatrixLike, mc_samples: int | None = None) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict network outputs: values, or probabilities for classification losses.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        {MC_SAMPLES}

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            With ``mc_samples``, a pair of such arrays: mean and standard deviation over the passes.

        Raises
        ------
        ValueError
            If X is invalid, the model has no weights, or ``mc_samples`` is given for a model without dropout and noise.
        """
        self._need_weights()
        if mc_samples is None:
            return self._outputs(X)
        X = checked_inputs(self, X)
        return self._predictor().mc_outputs(X, self._noise(self._state.seed), mc_samples)

    def _outputs(self, X):
        """Outputs for X as a user passes it."""
        predictor = self._predictor()
        if not hasattr(self, "feature_names_in_") and not (self._is_staged() and issparse(X)):
            output = predictor.outputs_if_valid(X)
            if output is not None:
                return output
        return predictor.outputs(checked_inputs(self, X))

    @reads
    def layer_outputs(self, X: MatrixLike) -> list[FloatArray]:
        """Compute the outputs of every layer, including hidden layers.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)

        Returns
        -------
        list of ndarrays of shape (n_samples, units)
        """
        self._need_weights()
        X = checked_inputs(self, X)
        return self._predictor().layer_outputs(X)

    @reads
    def compile_predict(self) -> Callable[[FloatArray], FloatArray]:
        """Compile a function that predicts a single sample in less than a microsecond for a small network.

        Returns
        -------
        callable
            Takes an array of shape (n_inputs,) in the model's dtype and returns the outputs, an array of shape
            (n_outputs,). Inputs are not validated. The weights are fixed at the time of this call. Every call returns
            the same array: copy it to keep it, and use one function per thread. The GIL is released during the
            computation.
        """
        self._need_weights()
        return self._predictor().row_predictor()

    @reads
    def evaluate(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> dict[str, float]:
        """Compute the loss and the accuracy or R^2 on a data set.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        dict
            'loss', without penalties, and 'accuracy' for classification losses or 'r2' for regression losses.
        """
        self._need_weights()
        samples = checked_samples(self, X, y, sample_weight)
        predictor = self._predictor()
        output = predictor.outputs(samples.X)
        loss = predictor.loss(samples, output)
        metric = "accuracy" if self._is_classifier() else "r2"
        return {"loss": loss, metric: accuracy_or_r2(self, output, samples.y, samples.weight)}

    def _is_classifier(self):
        """Whether the loss is a classification loss."""
        return loss_row(self.loss).link in ("softmax", "logistic", "step")
