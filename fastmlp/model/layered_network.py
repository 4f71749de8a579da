"""LayeredNetwork: the architecture, settings and training state of an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils import check_array, check_random_state

from fastmlp.backends import registry
from fastmlp.backends.device_arrays import check_device_rows, is_on_gpu
from fastmlp.kernels.device_errors import DeviceError
from fastmlp.kernels.spec import Network, Penalty, layer_views, loss_row, new_slots, slope_views
from fastmlp.prediction.network import HasPredictionNetwork, PredictionNetwork
from fastmlp.training.class_weight import weigh_classes
from fastmlp.training.problem import Problem, Samples, noise_for
from fastmlp.training.schedules import Plateau
from fastmlp.training.state import TrainingState, check_layer_rates
from fastmlp.typing import Backend, FloatArray, InitSpec, LayerSpec, LossSpec, NDArray, OptimizerSpec, RandomState
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import (
    check_dtype,
    check_integer,
    check_network,
    check_real,
    check_sum_of_weights,
    check_targets,
    check_weights,
)
from fastmlp.validation.sklearn_compat import check_feature_names

from .activations import name_of
from .initializers import check_init, initial_parameters
from .layer import checked_layers, skips_of
from .losses import check_loss
from .optimizers import Optimizer, check_optimizer


def compile_custom_functions(kernels, network, parameters):
    """Compile custom activations and losses. Raises ValueError if that fails, before the model is changed."""
    custom = [choice for choice in (*network.activations, network.loss) if not isinstance(choice, str)]
    if not custom:
        return
    row = np.zeros((1, network.sizes[0]), parameters.dtype)
    try:
        kernels.loss_and_gradient(network, parameters, row, np.zeros((1, network.sizes[-1]), parameters.dtype))
    except (ValueError, ImportError, DeviceError):
        raise
    except Exception as error:  # compilers raise many kinds of errors
        names = ", ".join(dict.fromkeys(map(name_of, custom)))
        why = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"Numba cannot compile {names}: use only numbers and functions of the module math in custom functions "
            f"({type(error).__name__}: {why[0]})"
        ) from error


def choose_backend(work, parameters):
    """The backend that 'auto' chooses for some Work; no GPU if custom functions cannot be compiled for it."""
    found = registry.choose("auto", work)
    if found.name in registry.ON_CPU:
        return found
    try:
        compile_custom_functions(found.kernels, work.network, parameters)
    except ValueError as error:
        found = registry.choose("auto")
        return found._replace(reason=f"{found.reason}; the GPU cannot be used: {error}")
    return found


class LayeredNetwork(HasPredictionNetwork):
    """Base class of MLP, which documents the parameters and attributes."""

    feature_names_in_: NDArray
    _backend: Any
    _network: Network

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        loss: LossSpec = "squared_error",
        optimizer: OptimizerSpec = "adam",
        *,
        alpha: float = 0.0,
        l1: float = 0.0,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
        init: InitSpec = "glorot_uniform",
        dtype: DTypeLike = "float32",
        backend: Backend = "auto",
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.layers = checked_layers(layers)
        self.loss, self._loss_options = check_loss(loss)
        check_network([layer.activation for layer in self.layers], self.loss, self.layers[-1].units)
        self._bfloat16 = isinstance(dtype, str) and dtype == "bfloat16"
        self.dtype = check_dtype("float32" if self._bfloat16 else dtype)
        self._state: Any = None  # a TrainingState, once there are weights
        self._input_dropout = check_real("input_dropout", input_dropout, 0, 1, open_high=True)
        self._input_noise = check_real("input_noise", input_noise, 0)
        self.optimizer = optimizer
        self.alpha = check_real("alpha", alpha, 0)
        penalties = {"l1": l1, "activity_l1": activity_l1, "activity_l2": activity_l2}
        self._penalty = Penalty(**{name: check_real(name, value, 0) for name, value in penalties.items()})
        self.init = check_init(init)
        self.backend = backend
        if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0):
            raise ValueError(f"n_jobs must be None, or an integer other than 0 (-1: all cores), got {n_jobs!r}.")
        self.n_jobs = n_jobs
        # None: a separate generator, seeded from NumPy's global one, so that a resumed fit draws the same numbers.
        seed = np.random.randint(2**31) if random_state is None else random_state
        self._random_state = check_random_state(seed)
        self.history: dict[str, list] = {"loss": []}
        self.interrupted, self.diverged, self.best_epoch = False, False, None

    @property
    def backend(self) -> str:
        """Name of the compute backend. It can be changed between fits."""
        return self._backend.name

    @backend.setter
    def backend(self, name: str) -> None:
        requested = registry.GPU if self._bfloat16 and name == "auto" else name
        try:
            found = registry.choose(requested)
        except ImportError as error:
            if not self._bfloat16:
                raise
            raise ImportError(
                f"dtype 'bfloat16' requires a GPU: {registry.why_not(requested)}. Use dtype='float32', or "
                "backend='numpy', which is slow."
            ) from error
        if self._bfloat16 and "bfloat16" not in found.kernels.DTYPES:
            raise ValueError(f"dtype 'bfloat16' requires backend 'cuda' or 'numpy' (slow), got {found.name!r}.")
        if self._state is not None:
            compile_custom_functions(found.kernels, self._network, self._state.parameters)
        self._requested_backend, self._backend = requested, found
        self._used_kernels = ""  # a description of those of the last fit, for a backend with a choice

    @property
    def backend_(self) -> str:
        """Name of the compute backend, the attribute name of the estimators."""
        return self.backend

    @property
    def backend_reason_(self) -> str:
        return "; ".join(filter(None, (self._backend.reason, self._used_kernels)))

    @property
    def input_dropout(self) -> float:
        return self._input_dropout

    @property
    def input_noise(self) -> float:
        return self._input_noise

    @property
    def epoch(self) -> int:
        return 0 if self._state is None else self._state.epoch

    @property
    def network(self) -> Network:
        """The Network record that is passed to the kernels: sizes, activations, skip connections and loss."""
        self._need_weights()
        return self._network

    @property
    def parameters(self) -> FloatArray:
        self._need_weights()
        return self._state.parameters

    @property
    def weights(self) -> tuple[FloatArray, ...]:
        return tuple(layer_views(self.network, self.parameters)[0])

    @property
    def biases(self) -> tuple[FloatArray, ...]:
        return tuple(layer_views(self.network, self.parameters)[1])

    @property
    def slopes(self) -> tuple[FloatArray, ...]:
        return tuple(slope_views(self.network, self.parameters))

    @property
    def optimizer(self) -> Optimizer | Literal["lbfgs"]:
        """The Optimizer, or 'lbfgs'. It can be changed between fits; its state is kept if the name is the same."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, given: OptimizerSpec) -> None:
        given = check_optimizer(given)
        if given == "lbfgs" and self._is_noisy():
            raise ValueError(
                "optimizer 'lbfgs' requires a deterministic loss, but the model has dropout or noise: set them to 0, "
                "or use another optimizer."
            )
        if given == "lbfgs" and self._bfloat16:
            raise ValueError(
                "optimizer 'lbfgs' computes in float64 and does not support dtype 'bfloat16': use dtype='float32' or "
                "'float64'."
            )
        if given != "lbfgs":
            check_layer_rates(given, self.layers)
        if self._state is not None and given != "lbfgs":
            if given.name != self._state.optimizer.name:
                self._state.slots = new_slots(given.name, self.n_parameters, self.dtype)
                self._state.step = 0
            if given.schedule != self._state.optimizer.schedule:
                self._state.schedule_start, self._state.plateau = self._state.epoch, Plateau()
            self._state.optimizer = given.for_kernels()
        self._optimizer = given

    @property
    def n_parameters(self) -> int:
        return self.parameters.size

    def prediction_network(self) -> PredictionNetwork:
        """The PredictionNetwork, with a view of the parameters."""
        return PredictionNetwork(self.network, self.parameters, "outputs")

    def _need_weights(self):
        if self._state is None:
            raise ValueError("this MLP has no weights yet: call fit or build(n_inputs) first.")

    def _network_for(self, n_inputs):
        n_inputs = check_integer("n_inputs", n_inputs, 1)
        sizes = (n_inputs, *(layer.units for layer in self.layers))
        activations = tuple(layer.activation for layer in self.layers)
        skips = skips_of(self.layers, n_inputs)
        return Network(sizes, activations, self.loss, self._loss_options, skips, self._bfloat16)

    def _problem(self):
        """The Problem passed to the trainer."""
        noise = self._noise(self._state.seed)
        return Problem(self._backend.kernels, self._network, self._penalty._replace(alpha=self.alpha), noise)

    def _is_noisy(self):
        return self._noise(0) is not None

    def _noise(self, seed):
        """The Noise of training, or None if training is deterministic."""
        dropout = [layer.dropout for layer in self.layers]
        activations = [layer.activation for layer in self.layers]
        return noise_for(activations, seed, self._input_dropout, self._input_noise, dropout)

    def build(self, n_inputs: int) -> Self:
        """Draw initial weights; ``fit`` calls this if the model has none.

        Parameters
        ----------
        n_inputs : int
            Number of columns of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``n_inputs`` is not a positive integer or does not fit ``init`` and the skip connections.
        """
        network = self._network_for(n_inputs)
        parameters = initial_parameters(network, self.init, network.activations, self._random_state, self.dtype)
        optimizer = (check_optimizer("sgd") if self.optimizer == "lbfgs" else self.optimizer).for_kernels()
        compile_custom_functions(self._backend.kernels, network, parameters)
        seed = int(self._random_state.randint(2**63 - 1, dtype=np.int64)) if self._is_noisy() else 0
        self._network, self._state = network, TrainingState.start(parameters, optimizer, seed)
        return self

    def _inputs(self, X):
        X = self._checked_inputs(X)
        if self._state is not None and X.shape[1] != self.network.sizes[0]:
            raise ValueError(f"X has {X.shape[1]} columns, but the network has {self.network.sizes[0]} inputs.")
        return X

    @contextmanager
    def _names_from(self, X):
        """Set ``feature_names_in_`` from X unless the model has been trained; it is removed after an error."""
        fresh = not (self._is_trained() or hasattr(self, "feature_names_in_"))
        if fresh:
            check_feature_names(self, X, reset=True)
        try:
            yield
        except BaseException:
            if fresh:
                vars(self).pop("feature_names_in_", None)
            raise

    def check_feature_names(self, X: Any) -> None:
        """Compare the column names of X with ``feature_names_in_``, with scikit-learn's errors and warnings."""
        named = hasattr(self, "feature_names_in_")
        if named or (type(X) is not np.ndarray and self._is_trained()):
            check_feature_names(self, X, reset=False)

    def _is_trained(self):
        return self._state is not None and (self._state.epoch > 0 or self._state.order is not None)

    def _checked_inputs(self, X):
        self.check_feature_names(X)
        if is_on_gpu(X) and self._backend.kernels.DEVICE:
            return check_device_rows(X, self.dtype)
        X = as_numbers(X, "X")
        with np.errstate(over="ignore"):  # check_array rejects values that overflow to infinity
            return check_array(X, accept_sparse="csr", dtype=self.dtype, order="C", input_name="X")

    def _is_classifier(self):
        """Whether the loss is a classification loss."""
        return loss_row(self.loss).link in ("softmax", "logistic", "step")

    def _samples(self, X, y, sample_weight, class_weight=None, in_parts=False):
        """Validated Samples in the model's dtype; ``in_parts``: whether they are a part of the training data."""
        X = self._inputs(X)
        y = check_targets(y, self.loss, self.layers[-1].units, X, self.dtype)
        sample_weight = check_weights(sample_weight, X, self.dtype, in_parts)
        if class_weight is not None:
            link, n_outputs = loss_row(self.loss).link, self.layers[-1].units
            if not self._is_classifier():
                raise ValueError(f"class_weight requires a classification loss, got {name_of(self.loss)!r}.")
            classes = np.arange(max(n_outputs, 2))
            one_label = link == "softmax" or n_outputs == 1
            hits = y if link == "softmax" else y > 0.5
            sample_weight = weigh_classes(class_weight, classes, hits, one_label, sample_weight, in_parts)
            with np.errstate(over="ignore"):  # the check below rejects infinite weights
                sample_weight = sample_weight.astype(self.dtype)
            check_sum_of_weights(sample_weight, in_parts)
        return Samples(X, y, sample_weight)
