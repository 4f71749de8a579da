"""What a network does once it has weights: predict, evaluate, show its layers, go to files and come back."""

import math
import threading

import numpy as np
from sklearn.metrics import r2_score

from fastmlp.backends import registry
from fastmlp.io.model_files import Savable
from fastmlp.kernels.spec import Penalty, aligned_copy, loss_row
from fastmlp.prediction.predictor import Predictor
from fastmlp.training.state import TrainingState
from fastmlp.validation.checks import check_integer

from .activations import name_of
from .layered_network import LayeredNetwork


def check_history(value):
    """A number of a curve, or one for each layer."""
    return tuple(map(float, value)) if isinstance(value, tuple) else float(value)


def check_saved_names(names, n_inputs):
    """The names of a file, if they are texts, one for each input; else a ValueError."""
    if names.shape != (n_inputs,) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"names of inputs are {names!r} for {n_inputs} inputs")
    return names


class TrainedNetwork(LayeredNetwork, Savable):
    """Base of MLP, which adds how weights are learned."""

    def _weights_to_read(self):
        """The parameters; while another thread fits the model those that its epoch began with, which do not change."""
        state, fit = self._state, vars(self).get("_running_fit")
        if fit is None or fit.thread == threading.get_ident():
            return state.parameters
        while True:
            if (start := state.epoch_start) is not None:
                return start
            epoch, between = state.epoch, state.parameters.copy()
            if state.epoch_start is None and state.epoch == epoch:  # no step was made meanwhile
                return between

    def _predictor(self):
        return Predictor(self._backend.module, self._network, self._weights_to_read(), self.n_jobs)

    def predict(self, X, mc_samples=None):
        """Outputs of the network, shape (n_samples, n_outputs): probabilities, means or values.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_inputs)
        mc_samples : int or None, default=None
            With a number, the mean and the standard deviation over that many passes with dropout and noise as in
            training (Gal & Ghahramani 2016), a pair of arrays. The same call gives the same numbers.
        """
        self._need_weights()
        X = self._inputs(X)
        if mc_samples is not None and not self._is_noisy():
            raise ValueError("mc_samples needs a model with dropout or noise: every pass would give the same.")
        if mc_samples is None:
            return self._predictor().outputs(X)
        check_integer("mc_samples", mc_samples, 2)
        return self._predictor().samples(X, self._noise(self._state.seed), mc_samples)

    def layer_outputs(self, X):
        """Outputs of every layer, hidden ones included: a list of arrays of shape (n_samples, units)."""
        self._need_weights()
        X = self._inputs(X)
        return self._predictor().layer_outputs(X)

    def compile_predict(self):
        """A function for one row at a time, without validation, in less than a microsecond for a small network.

        Returns
        -------
        callable
            From an array of n_inputs numbers in the model's dtype to the outputs, shape (n_outputs,). It knows the
            weights as they are now and gives the same array each time: copy what you keep, and take one per thread.
            The GIL is released while it computes.
        """
        self._need_weights()
        return self._predictor().row_predictor()

    def evaluate(self, X, y, sample_weight=None):
        """{'loss': without penalty, 'accuracy': share of rows} for cross-entropies, else {'loss', 'r2'}."""
        self._need_weights()
        samples = self._samples(X, y, sample_weight)
        predictor = self._predictor()
        output, loss = predictor.outputs(samples.X), predictor.loss(samples)
        metric = "accuracy" if self._decides() else "r2"
        return {"loss": loss, metric: self._accuracy_or_r2(output, samples.y, samples.weight)}

    def _accuracy_or_r2(self, output, y, sample_weight):
        if not self._decides():
            finite = np.isfinite(output).all()
            return float(r2_score(y, output, sample_weight=sample_weight)) if finite else math.nan
        if loss_row(self.loss).link == "softmax":
            hits = output.argmax(axis=1) == y.argmax(axis=1)
        else:
            hits = ((output > 0.5) == (y > 0.5)).all(axis=1)
        return float(np.average(hits, weights=sample_weight))

    def saved_state(self):
        """What a model file holds of this model."""
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
            "backend": self._asked_backend,
            "n_jobs": self.n_jobs,
            "random_state": self._random_state,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "feature_names_in_": getattr(self, "feature_names_in_", None),
            "n_inputs": None if self._state is None else self._network.sizes[0],
            "training": None if self._state is None else self._state.to_dict(),
        }

    @classmethod
    def from_saved_state(cls, saved):
        """The model of ``saved_state``, on another backend where the one asked for does not work on this machine."""
        same = ("alpha", "input_dropout", "input_noise", "init", "n_jobs", "random_state")
        backend, dtype = saved["backend"], saved["dtype"]
        if not registry.works(backend):
            backend, dtype = "auto", "float32" if dtype == "bfloat16" else dtype
        model = cls(
            saved["layers"], saved["loss"], saved["optimizer"], backend=backend, dtype=dtype,
            **dict(zip(Penalty._fields, saved["penalty"])), **{name: saved[name] for name in same},
        )  # fmt: skip
        if saved["n_inputs"] is not None:
            model._network = model._network_for(saved["n_inputs"])
            model._state = TrainingState.from_dict(saved["training"], model._network, model.dtype)
        names = saved.get("feature_names_in_")  # files of earlier versions have none
        if names is not None:
            model.feature_names_in_ = check_saved_names(names, saved["n_inputs"])
        model.history = {"loss": []} | {
            name: [check_history(value) for value in curve] for name, curve in saved["history"].items()
        }
        if saved.get("best_epoch") is not None:
            model.best_epoch = check_integer("best_epoch", saved["best_epoch"], 1)
        return model

    def __getstate__(self):
        """All but the backend's module, which is looked up again where the pickle is read, and the fit under way."""
        return {name: value for name, value in vars(self).items() if name not in ("_backend", "_running_fit")}

    def __setstate__(self, state):
        vars(self).update(state)
        works = registry.works(self._asked_backend)
        self._backend, self._kernels = registry.choose(self._asked_backend if works else "auto"), ""
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
