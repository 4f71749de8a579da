"""What a training run knows, and how it goes on from there or from a file."""

import math
from dataclasses import dataclass, field

import numpy as np

from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Optimizer, aligned_copy, new_slots
from fastmlp.validation.checks import check_integer, check_real

from .schedules import Plateau, check_schedule
from .stopping import EarlyStopping


@dataclass
class TrainingState:
    """All that a run needs to go on, bit for bit, as if it had never stopped.

    ``parameters`` and each row of ``slots`` are flat vectors (kernels/spec.py). Within an epoch ``order`` holds its
    rows, of which ``position`` are used; ``loss_sum`` and ``penalty_sum`` belong to those, and ``epoch_start`` holds
    the parameters before it. Between epochs both are None. ``seed`` is that of dropout and noise; a schedule counts its
    epochs from ``schedule_start``. ``stopping`` is there while a fit with ``patience`` has not ended: between its
    epochs, and after Ctrl-C or an error.
    """

    parameters: np.ndarray
    slots: np.ndarray
    optimizer: Optimizer
    step: int = 0
    epoch: int = 0
    order: np.ndarray | None = None
    epoch_start: np.ndarray | None = None
    position: int = 0
    loss_sum: float = 0.0
    penalty_sum: float = 0.0
    seed: int = 0
    schedule_start: int = 0
    plateau: Plateau = field(default_factory=Plateau)
    stopping: EarlyStopping | None = None

    @classmethod
    def start(cls, parameters, optimizer, seed=0):
        """A run that has not made a step."""
        return cls(parameters, new_slots(optimizer.name, parameters.size, parameters.dtype), optimizer, seed=seed)

    @classmethod
    def without_optimizer(cls, parameters):
        """The state of L-BFGS, which needs no slots."""
        return cls(parameters, np.empty((0, parameters.size), parameters.dtype), None)

    def to_dict(self):
        """For a model file; ValueError where the parameters are not finite."""
        check_finite(self.parameters)
        return vars(self)

    @classmethod
    def from_dict(cls, saved, network, dtype):
        """The state that ``to_dict`` gave; ValueError where it does not fit the network."""
        optimizer = Optimizer(*saved["optimizer"])
        if optimizer.schedule is not None:
            optimizer = optimizer._replace(schedule=check_schedule(optimizer.schedule))
        rule = OPTIMIZERS[optimizer.name]
        stopping = saved.get("stopping")
        read = {
            "optimizer": optimizer,
            "plateau": Plateau(*saved["plateau"]),
            "stopping": stopping and EarlyStopping(*stopping),
        }
        state = cls(**{**saved, **read})
        n = network.n_parameters
        for name, found, shape in (
            ("parameters", state.parameters, (n,)),
            ("slots", state.slots, (len(rule.slots), n)),
        ):
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(f"{name} are {found.dtype} of shape {found.shape}, not {dtype} of shape {shape}")
        check_finite(state.parameters)
        n_rows = 0
        if state.order is not None:
            n_rows = len(state.order)
            if state.epoch_start.shape != (n,) or state.epoch_start.dtype != dtype:
                raise ValueError(f"epoch_start is {state.epoch_start.dtype} of shape {state.epoch_start.shape}")
        best = None if state.stopping is None else state.stopping.best_parameters
        if best is not None and (best.shape != (n,) or best.dtype != dtype):
            raise ValueError(f"the best parameters are {best.dtype} of shape {best.shape}")
        check_real("learning_rate", optimizer.learning_rate, 0, open_low=True)
        for name, value in zip(rule.options, optimizer.options, strict=True):
            check_real(name, value, 0, math.inf if name == "epsilon" else 1)  # scikit-learn allows a momentum of 1
        for name in ("weight_decay", "clip_norm", "clip_value", "max_norm"):
            check_real(name, getattr(optimizer, name), 0)
        check_layer_rates(optimizer, network.activations)
        check_real("a plateau's factor", state.plateau.factor, 0, 1)
        for name in ("loss_sum", "penalty_sum"):
            check_real(name, getattr(state, name), -math.inf)
        for name, most in (
            ("step", 2**53),
            ("epoch", 2**53),
            ("schedule_start", state.epoch),
            ("seed", 2**63 - 1),
            ("position", n_rows),
        ):
            if check_integer(name, getattr(state, name), 0) > most:
                raise ValueError(f"{name} is {getattr(state, name)}, beyond {most}")
        # The kernels read rows by these numbers without looking.
        if n_rows and (state.order.dtype != np.int64 or not np.array_equal(np.sort(state.order), np.arange(n_rows))):
            raise ValueError("order is not a permutation of the rows")
        state.parameters, state.slots = aligned_copy(state.parameters), aligned_copy(state.slots)
        return state

    def __setstate__(self, state):
        """From a pickle, whose arrays start anywhere; those of a read-only memory map stay shared."""
        vars(self).update(state)
        self.slots = self.slots if not self.slots.flags.writeable else aligned_copy(self.slots)

    def reset_optimizer(self):
        self.slots[...] = 0
        self.step = 0

    def drop_epoch_in_progress(self):
        self.order = self.epoch_start = None
        self.position, self.loss_sum, self.penalty_sum = 0, 0.0, 0.0


def check_finite(parameters):
    """Refuse weights that no model file may hold."""
    n_bad = parameters.size - np.count_nonzero(np.isfinite(parameters))
    if n_bad:
        raise ValueError(
            f"{n_bad} of {parameters.size} parameters are NaN or infinite: a model file must hold finite ones only. "
            "pickle or joblib can keep the model as it is."
        )
    return parameters


def check_layer_rates(optimizer, layers):
    """Refuse rates that are not one for each layer of weights, or none."""
    n_layers = len(layers)
    if len(optimizer.layer_rates) not in (0, n_layers):
        raise ValueError(f"layer_rates must be {n_layers} numbers, one for each layer, got {optimizer.layer_rates}.")
