"""LayeredNetwork: the settings and weights of an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike

from fastmlp.backends import registry
from fastmlp.distributed.data_parallel import DataParallel, check_communicator
from fastmlp.io.model_files import Savable
from fastmlp.kernels.inputs import column_views
from fastmlp.kernels.spec import Network, Penalty, layer_views, new_slots, slope_views
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.training.full_batch import check_alpha, is_bayes, is_full_batch
from fastmlp.training.problem import Problem, noise_for
from fastmlp.training.schedules import Plateau
from fastmlp.training.squared_errors import Evidence, check_lm_loss
from fastmlp.training.state import TrainingState, check_layer_rates
from fastmlp.typing import (
    Backend,
    FloatArray,
    InitSpec,
    InputSpec,
    LayerSpec,
    LossSpec,
    MatmulPrecision,
    NDArray,
    OptimizerSpec,
    RandomState,
)
from fastmlp.validation.checks import check_dtype, check_integer, check_n_jobs, check_network, check_real, check_seed
from fastmlp.validation.missing import check_missing_targets
from fastmlp.validation.sklearn_compat import check_feature_names

from .activations import name_of
from .backend_choice import compile_custom_functions
from .exclusive import RunningFit, UsedByThreads, being_fitted, is_being_fitted, one_at_a_time, with_attributes
from .initializers import check_init, initial_parameters
from .inputs import check_inputs, draw_input_parameters, inputs_of, summary
from .layer import Layer, checked_layers, skips_of
from .losses import check_loss
from .optimizers import Optimizer, check_optimizer
from .precision import (
    HIGHEST,
    check_precision,
    check_precision_of_backend,
    check_precision_of_dtype,
    check_precision_of_optimizer,
)
from .saving import model_of, reconnect, state_of

STAGE = "inputs and input_scale"  # in error messages


class LayeredNetwork(HasPredictionNetwork, UsedByThreads, Savable):
    """Base class of MLP with its settings and weights; MLP documents the parameters and attributes."""

    feature_names_in_: NDArray
    _backend: Any
    _matmul_precision: MatmulPrecision
    _last_problem: tuple[tuple, Problem] | None = None
    _network: Network

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        loss: LossSpec = "squared_error",
        optimizer: OptimizerSpec = "adam",
        *,
        alpha: float | str = 0.0,
        l1: float = 0.0,
        activity_l1: float = 0.0,
        activity_l2: float = 0.0,
        input_dropout: float = 0.0,
        input_noise: float = 0.0,
        init: InitSpec = "glorot_uniform",
        dtype: DTypeLike = "float32",
        matmul_precision: MatmulPrecision = "highest",
        backend: Backend = "auto",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        missing_targets: Literal["raise", "ignore"] = "raise",
        inputs: Sequence[InputSpec] | None = None,
        input_scale: float | None = None,
        communicator: Any = None,
    ) -> None:
        self.layers = layers
        self.loss, self._loss_options = check_loss(loss)
        activations = [layer.activation for layer in self.layers]
        check_network(activations, self.loss, self.layers[-1].units, self._loss_options)
        self.missing_targets = check_missing_targets(missing_targets, self.loss)
        self.dtype, self._matmul_precision = check_dtype(dtype), HIGHEST
        self._state: Any = None  # a TrainingState, once there are weights
        self._inputs, self._input_scale = check_inputs(inputs), input_scale
        if input_scale is not None:
            self._input_scale = check_real("input_scale", input_scale, 0, open_low=True)
        self._input_dropout = check_real("input_dropout", input_dropout, 0, 1, open_high=True)
        self._input_noise = check_real("input_noise", input_noise, 0)
        penalties = {"l1": l1, "activity_l1": activity_l1, "activity_l2": activity_l2}
        self._penalty = Penalty(**{name: check_real(name, value, 0) for name, value in penalties.items()})
        self._alpha, self._evidence = 0.0, Evidence()
        self.optimizer = optimizer
        self.alpha = alpha
        self.init = check_init(init)
        self.backend = backend
        self.matmul_precision = matmul_precision
        self.n_jobs, self.communicator = check_n_jobs(n_jobs), communicator
        # None: a separate generator, seeded from NumPy's global one, so that a resumed fit draws the same numbers.
        seed = np.random.randint(2**31) if random_state is None else random_state
        self._random_state = check_seed(seed)
        self.history: dict[str, list] = {"loss": []}
        self.interrupted, self.diverged, self.best_epoch = False, False, None

    @property
    def layers(self) -> list[Layer]:
        """The hidden layers and the output layer. After a change, ``build`` draws new weights."""
        return self._layers

    @layers.setter
    def layers(self, given: Sequence[LayerSpec]) -> None:
        if is_being_fitted(self):
            raise being_fitted(self)
        self._layers = checked_layers(given)

    @property
    def backend(self) -> str:
        """Name of the compute backend. It can be changed between fits."""
        return self._backend.name

    @backend.setter
    def backend(self, name: str) -> None:
        if isinstance(name, str) and name == registry.GPU and self._is_staged():
            raise ValueError(f"backend 'cuda' is not available with {STAGE}: use 'auto', 'cython', 'numba' or 'numpy'.")
        found = registry.choose(name)
        check_precision_of_backend(self._matmul_precision, found.kernels)
        if self._state is not None:
            compile_custom_functions(found.kernels, self._network, self._state.parameters)
        self._requested_backend, self._backend = name, found
        self._used_kernels = ""  # a description of those of the last fit, for a backend with a choice

    @property
    def backend_(self) -> str:
        """Name of the compute backend, the attribute name of the estimators."""
        return self.backend

    @property
    def backend_reason_(self) -> str:
        return "; ".join(filter(None, (self._backend.reason, self._used_kernels)))

    @property
    def communicator(self) -> DataParallel | None:
        """The processes that train the model together. It can be changed between fits."""
        return self._communicator

    @communicator.setter
    def communicator(self, given: Any) -> None:
        self._communicator = check_communicator(given)

    @property
    def matmul_precision(self) -> MatmulPrecision:
        """The precision of matrix products. It can be changed between fits."""
        return self._matmul_precision

    @matmul_precision.setter
    def matmul_precision(self, given: MatmulPrecision) -> None:
        check_precision(given)
        check_precision_of_dtype(given, self.dtype)
        check_precision_of_optimizer(given, self.optimizer, "optimizer")
        check_precision_of_backend(given, self._backend.kernels)
        self._matmul_precision = given
        if self._state is not None:
            self._network = self._network._replace(matmul_precision=given)

    @property
    def input_dropout(self) -> float:
        return self._input_dropout

    @property
    def input_noise(self) -> float:
        return self._input_noise

    @property
    def inputs(self) -> list[InputSpec] | None:
        """What becomes of each column of X before the first layer; None: the columns are its inputs."""
        return None if self._inputs is None else list(self._inputs)

    @property
    def input_scale(self) -> float | None:
        """Multiple of the learning rate with which the factors of the inputs are trained, or None."""
        return self._input_scale

    @property
    def input_parameters(self) -> list[dict[str, FloatArray]]:
        found = self.network.inputs
        return [{} for _ in range(self.network.n_columns)] if found is None else column_views(found, self.parameters)[0]

    @property
    def input_factors(self) -> FloatArray | None:
        found = self.network.inputs
        return None if found is None else column_views(found, self.parameters)[1]

    def _is_staged(self):
        """Whether an input stage comes before the first layer."""
        return self._inputs is not None or self._input_scale is not None

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
    def alpha(self) -> float | str:
        """The penalty on the weights, or 'bayes'. It can be changed between fits."""
        return self._alpha

    @alpha.setter
    def alpha(self, given: float | str) -> None:
        self._alpha = check_alpha(given, self.optimizer, "optimizer")

    @property
    def alpha_(self) -> float:
        return self._evidence.alpha if is_bayes(self._alpha) else self._alpha

    @property
    def effective_parameters_(self) -> float | None:
        return self._evidence.effective_parameters

    @property
    def optimizer(self) -> Optimizer | str:
        """The Optimizer, 'lbfgs' or 'lm'. It can be changed between fits; its state is kept if the name is the same."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, given: OptimizerSpec) -> None:
        given = check_optimizer(given)
        full_batch = is_full_batch(given)
        if full_batch and self._is_noisy():
            raise ValueError(
                f"optimizer {given!r} requires a deterministic loss, but the model has dropout or noise: set them to "
                "0, or use another optimizer."
            )
        check_precision_of_optimizer(self._matmul_precision, given, "optimizer")
        if given == "lm" and self._is_staged():
            raise ValueError(f"optimizer 'lm' is not available with {STAGE}: use 'lbfgs' or 'adam'.")
        if given == "lm":
            check_lm_loss("optimizer 'lm'", self.loss, self._penalty)
        check_alpha(self._alpha, given, "optimizer")
        if not full_batch:
            check_layer_rates(given, self.layers)
        if self._state is not None and not full_batch:
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

    def _need_weights(self):
        if self._state is None:
            raise ValueError("this MLP has no weights yet: call fit or build(n_inputs) first.")

    def _network_for(self, n_inputs):
        n_inputs = check_integer("n_inputs", n_inputs, 1)
        inputs = inputs_of(self._inputs, self._input_scale, n_inputs)
        width = n_inputs if inputs is None else inputs.width
        sizes = (width, *(layer.units for layer in self.layers))
        activations = tuple(layer.activation for layer in self.layers)
        skips = skips_of(self.layers, width)
        check_network(activations, self.loss, sizes[-1], self._loss_options)  # layers may have been changed
        return Network(sizes, activations, self.loss, self._loss_options, skips, self._matmul_precision, inputs)

    def _problem(self):
        """The Problem passed to the trainer; the last one is kept, because short calls ask for it again and again."""
        made_from = self._backend.kernels, self._network, tuple(self.layers), self.alpha_, self._state.seed
        if self._last_problem is None or self._last_problem[0] != made_from:
            penalty, noise = self._penalty._replace(alpha=self.alpha_), self._noise(self._state.seed)
            self._last_problem = made_from, Problem(self._backend.kernels, self._network, penalty, noise)
        return self._last_problem[1]

    def _is_noisy(self):
        return self._noise(0) is not None

    def _noise(self, seed):
        """The Noise of training, or None if training is deterministic."""
        dropout = [layer.dropout for layer in self.layers]
        activations = [layer.activation for layer in self.layers]
        return noise_for(activations, seed, self._input_dropout, self._input_noise, dropout)

    @one_at_a_time
    def build(self, n_inputs: int) -> Self:
        """Draw initial weights, as ``fit`` does if the model has none.

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
            If ``n_inputs`` is not a positive integer or does not fit ``inputs``, ``init`` and the skip connections.
        RuntimeError
            If a fit of this model is running.
        """
        self._draw_weights(n_inputs)
        return self

    def _draw_weights(self, n_inputs):
        """Set the network and the state before the first step."""
        network = self._network_for(n_inputs)
        parameters = initial_parameters(network, self.init, network.activations, self._random_state, self.dtype)
        if network.inputs is not None:
            draw_input_parameters(self._inputs, network.inputs, self._random_state, parameters)
        optimizer = (check_optimizer("sgd") if is_full_batch(self.optimizer) else self.optimizer).for_kernels()
        compile_custom_functions(self._backend.kernels, network, parameters)
        seed = int(self._random_state.randint(2**63 - 1, dtype=np.int64)) if self._is_noisy() else 0
        state = TrainingState.start(parameters, optimizer, seed)
        vars(self).update(_network=network, _state=state)  # at once, for other threads

    def check_feature_names(self, X: Any) -> None:
        """Compare the column names of X with ``feature_names_in_``, with scikit-learn's errors and warnings."""
        named = hasattr(self, "feature_names_in_")
        if named or (type(X) is not np.ndarray and self._is_trained()):
            check_feature_names(self, X, reset=False)

    def _is_trained(self):
        return self._state is not None and (self._state.epoch > 0 or self._state.order is not None)

    def _during_fit(self, fit: RunningFit) -> Self:
        """This model with the weights from the end of an epoch, or from before the fit."""
        attributes = vars(self).copy()
        if (state := attributes["_state"]) is not None:
            attributes["_state"] = state.with_parameters(state.seen_by_others())
        return with_attributes(type(self), attributes)

    def saved_state(self) -> dict[str, Any]:
        """The state of this model as stored in a model file, a dict."""
        return state_of(self)

    @classmethod
    def from_saved_state(cls, saved: dict[str, Any]) -> Self:
        """Create a model from the result of ``saved_state``; the backend is 'auto' if the saved one is unavailable."""
        return model_of(cls, saved)

    def __getstate__(self):
        """State for pickle, without the backend, which is looked up again when loading."""
        with self._unchanging():
            return {name: value for name, value in vars(self).items() if name not in ("_backend", "_last_problem")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._state = copy(self._state)  # copy.copy shares it with the original, which trains on its own
        self.history = {name: list(curve) for name, curve in self.history.items()}
        reconnect(self)

    def __repr__(self):
        layers = ", ".join(f"{layer.units} {name_of(layer.activation)}" for layer in self.layers)
        name = self.optimizer if is_full_batch(self.optimizer) else self.optimizer.name
        inputs = "" if self._inputs is None else f"inputs={summary(self._inputs)}, "
        return (
            f"MLP([{layers}], {name_of(self.loss)!r}, {name!r}, {inputs}epoch={self.epoch}, backend={self.backend!r})"
        )
