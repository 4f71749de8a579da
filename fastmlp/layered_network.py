"""What an MLP is: layers, loss and optimizer, and the weights and training state that belong to them."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array, check_random_state

from fastmlp.kernels.network import Network, layer_views, new_slots

from . import backends
from .checks import (
    check_integer,
    check_layer,
    check_network,
    check_optimizer,
    check_real,
    check_targets,
    check_weights,
)
from .initialization import glorot_uniform
from .training import TrainingState


class Layer(NamedTuple):
    """A dense layer: its number of units and the name of their activation (a row of the table ACTIVATIONS)."""

    units: int
    activation: str = "relu"


class LayeredNetwork:
    """Base of MLP, which documents the parameters and attributes."""

    def __init__(self, layers, loss="squared_error", optimizer="adam", *, alpha=0.0, dtype="float32", backend="auto",
                 n_jobs=None, random_state=None):  # fmt: skip
        self.layers = [Layer(*check_layer(layer)) for layer in layers]
        if not self.layers:
            raise ValueError("layers must hold at least the output layer.")
        check_network([layer.activation for layer in self.layers], loss, self.layers[-1].units)
        if dtype is None or np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
        self.loss = loss
        self._state = None
        self.optimizer = optimizer
        self.alpha = check_real("alpha", alpha, 0)
        self.dtype = np.dtype(dtype)
        self._asked_backend = backend
        self._backend = backends.choose(backend)
        if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
            raise ValueError(f"n_jobs must be None, a positive integer, or -1 for all cores, got {n_jobs!r}.")
        self.n_jobs = n_jobs
        # None: a generator of its own, seeded from NumPy's, so that a resumed fit draws what it would have drawn.
        seed = np.random.randint(2**31) if random_state is None else random_state
        self._random_state = check_random_state(seed)
        self.history = {"loss": []}
        self.interrupted = False

    @property
    def backend(self):
        return self._backend.name

    @property
    def backend_reason_(self):
        return self._backend.reason

    @property
    def epoch(self):
        return 0 if self._state is None else self._state.epoch

    @property
    def network(self):
        """Sizes, activations and loss as the kernels see them."""
        self._need_weights()
        return self._network

    @property
    def parameters(self):
        self._need_weights()
        return self._state.parameters

    @property
    def weights(self):
        return tuple(layer_views(self.network, self.parameters)[0])

    @property
    def biases(self):
        return tuple(layer_views(self.network, self.parameters)[1])

    @property
    def optimizer(self):
        """An Optimizer, or 'lbfgs'. A new one may be set between fits; with the same name its state is kept."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, given):
        self._optimizer = check_optimizer(given)
        if self._state is None or self._optimizer == "lbfgs":
            return
        if self._optimizer.name != self._state.optimizer.name:
            self._state.slots = new_slots(self._optimizer.name, self.n_parameters, self.dtype)
            self._state.step = 0
        self._state.optimizer = self._optimizer

    @property
    def n_parameters(self):
        return self.parameters.size

    def _need_weights(self):
        if self._state is None:
            raise ValueError("this MLP has no weights yet: call fit, or build(n_inputs).")

    def _network_for(self, n_inputs):
        sizes = (check_integer("n_inputs", n_inputs, 1), *(layer.units for layer in self.layers))
        return Network(sizes, tuple(layer.activation for layer in self.layers), self.loss)

    def build(self, n_inputs):
        """Draw initial weights for inputs of that many columns. ``fit`` does it where it has not been done."""
        self._network = self._network_for(n_inputs)
        parameters = glorot_uniform(self._network, self._network.activations, self._random_state, self.dtype)
        optimizer = check_optimizer("sgd") if self.optimizer == "lbfgs" else self.optimizer
        self._state = TrainingState.start(parameters, optimizer)
        return self

    def _inputs(self, X):
        with np.errstate(over="ignore"):  # a value too large for float32 is refused as infinite
            X = check_array(X, accept_sparse="csr", dtype=self.dtype, order="C", input_name="X")
        if self._state is not None and X.shape[1] != self.network.sizes[0]:
            raise ValueError(f"X has {X.shape[1]} columns, but the network has {self.network.sizes[0]} inputs.")
        return X

    def _rows(self, X, y, sample_weight):
        """Checked (X, y, weights) in the model's dtype."""
        X = self._inputs(X)
        y = check_targets(y, self.loss, self.layers[-1].units, X, self.dtype)
        return X, y, check_weights(sample_weight, X, self.dtype)
