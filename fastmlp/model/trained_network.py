"""Prediction, evaluation, saving and loading of an MLP."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Self, overload

import numpy as np
from sklearn.metrics import r2_score

from fastmlp.backends import registry
from fastmlp.docstrings import MC_SAMPLES, with_texts
from fastmlp.io.model_files import Savable
from fastmlp.kernels.spec import Penalty, aligned_copy, loss_row
from fastmlp.prediction.predictor import Predictor
from fastmlp.training.state import TrainingState
from fastmlp.typing import ArrayLike, FloatArray, MatrixLike
from fastmlp.validation.checks import check_integer

from .activations import name_of
from .layered_network import LayeredNetwork


def check_history(value):
    """Convert a value of ``history``, a number or one number per layer, to float."""
    return tuple(map(float, value)) if isinstance(value, tuple) else float(value)


def check_saved_names(names, n_inputs):
    """Return feature names read from a file. Raises ValueError unless they are strings, one per input."""
    if names.shape != (n_inputs,) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature names are {names!r} for {n_inputs} inputs")
    return names


class TrainedNetwork(LayeredNetwork, Savable):
    """Base class of MLP with everything that needs weights; MLP adds training."""

    def _weights_to_read(self):
        """The parameters, or their values at the start of the epoch while another thread fits the model."""
        state, fit = self._state, vars(self).get("_running_fit")
        if fit is None or fit.thread == threading.get_ident():
            return state.parameters
        while True:
            if (start := state.epoch_start) is not None:
                return start
            epoch, between = state.epoch, state.parameters.copy()
            if state.epoch_start is None and state.epoch == epoch:  # no step was made in the meantime
                return between

    def _predictor(self):
        return Predictor(self._backend.kernels, self._network, self._weights_to_read(), self.n_jobs)

    @overload
    def predict(self, X: MatrixLike, mc_samples: None = None) -> FloatArray: ...

    @overload
    def predict(self, X: MatrixLike, mc_samples: int) -> tuple[FloatArray, FloatArray]: ...

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
        X = self._inputs(X)
        if mc_samples is None:
            return self._predictor().outputs(X)
        return self._predictor().mc_outputs(X, self._noise(self._state.seed), mc_samples)

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
        X = self._inputs(X)
        return self._predictor().layer_outputs(X)

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

    def evaluate(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> dict[str, float]:
        """Compute the loss and the accuracy or R^2 on a data set.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        dict
            'loss', without penalties, and 'accuracy' for classification losses or 'r2' for regression losses.
        """
        self._need_weights()
        samples = self._samples(X, y, sample_weight)
        predictor = self._predictor()
        output, loss = predictor.outputs(samples.X), predictor.loss(samples)
        metric = "accuracy" if self._is_classifier() else "r2"
        return {"loss": loss, metric: self._accuracy_or_r2(output, samples.y, samples.weight)}

    def _accuracy_or_r2(self, output, y, sample_weight):
        if not self._is_classifier():
            finite = np.isfinite(output).all()
            return float(r2_score(y, output, sample_weight=sample_weight)) if finite else math.nan
        if loss_row(self.loss).link == "softmax":
            hits = output.argmax(axis=1) == y.argmax(axis=1)
        else:
            hits = ((output > 0.5) == (y > 0.5)).all(axis=1)
        return float(np.average(hits, weights=sample_weight))

    def saved_state(self) -> dict[str, Any]:
        """The state of this model as stored in a model file, a dict."""
        return {
            "layers": self.layers,
            "loss": (self.loss, self._loss_options),
            "optimizer": self.optimizer,
            "alpha": self.alpha,
            "penalty": self._penalty[:3],  # without alpha
            "input_dropout": self.input_dropout,
            "input_noise": self.input_noise,
            "init": self.init,
            "dtype": "bfloat16" if self._bfloat16 else str(self.dtype),
            "backend": self._requested_backend,
            "n_jobs": self.n_jobs,
            "random_state": self._random_state,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "feature_names_in_": getattr(self, "feature_names_in_", None),
            "n_inputs": None if self._state is None else self._network.sizes[0],
            "training": None if self._state is None else self._state.to_dict(),
        }

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create a model from the result of ``saved_state``; the backend is 'auto' if the saved one is unavailable."""
        same = ("alpha", "input_dropout", "input_noise", "init", "n_jobs", "random_state")
        backend: Any = saved["backend"]
        dtype = saved["dtype"]
        if not registry.works(backend):
            backend, dtype = "auto", "float32" if dtype == "bfloat16" else dtype
        model = cls(
            saved["layers"], saved["loss"], saved["optimizer"], backend=backend, dtype=dtype,
            **dict(zip(Penalty._fields, saved["penalty"])), **{name: saved[name] for name in same},
        )  # fmt: skip
        if saved["n_inputs"] is not None:
            model._network = model._network_for(saved["n_inputs"])
            model._state = TrainingState.from_dict(saved["training"], model._network, model.dtype)
        names = saved.get("feature_names_in_")  # missing in files of earlier versions
        if names is not None:
            model.feature_names_in_ = check_saved_names(names, saved["n_inputs"])
        model.history = {"loss": []} | {
            name: [check_history(value) for value in curve] for name, curve in saved["history"].items()
        }
        if saved.get("best_epoch") is not None:
            model.best_epoch = check_integer("best_epoch", saved["best_epoch"], 1)
        return model

    def __getstate__(self):
        """State for pickle, without the backend, which is looked up again when loading, and without a running fit."""
        return {name: value for name, value in vars(self).items() if name not in ("_backend", "_running_fit")}

    def __setstate__(self, state):
        vars(self).update(state)
        works = registry.works(self._requested_backend)
        self._backend, self._used_kernels = registry.choose(self._requested_backend if works else "auto"), ""
        if not works and self._bfloat16:
            self._bfloat16 = False
            if self._state is not None:
                self._network = self._network._replace(bfloat16=False)
        if self._state is not None:
            self._state.parameters = aligned_copy(self._state.parameters)

    def __repr__(self):
        layers = ", ".join(f"{layer.units} {name_of(layer.activation)}" for layer in self.layers)
        name = self.optimizer if self.optimizer == "lbfgs" else self.optimizer.name
        return f"MLP([{layers}], {name_of(self.loss)!r}, {name!r}, epoch={self.epoch}, backend={self.backend!r})"
