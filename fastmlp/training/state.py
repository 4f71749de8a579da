"""TrainingState: everything needed to resume training, also from a file."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Optimizer, aligned_copy, new_slots
from fastmlp.validation.checks import check_integer, check_real
from fastmlp.validation.entries import annotations_of, check_entries, checked_record

from .schedules import Plateau, check_schedule
from .stopping import PatienceState
from .windows import StreamPosition, checked_position

# Of the epoch in progress, if there is none.
BETWEEN_EPOCHS = {
    "order": None, "epoch_start": None, "stream": None, "position": 0, "loss_sum": 0.0, "penalty_sum": 0.0,
}  # fmt: skip


class Prepared(NamedTuple):
    """A result of ``prepare_training``, and the arguments that it was made for: values, and arrays that it changes."""

    key: tuple[Any, ...]
    arrays: tuple[np.ndarray, np.ndarray]
    train: Callable[..., tuple[float, float, int]]

    def is_for(self, key, arrays):
        return arrays[0] is self.arrays[0] and arrays[1] is self.arrays[1] and key == self.key


@dataclass
class TrainingState:
    """State of training, from which it can be resumed with bit-identical results.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        Flat vector (kernels/spec.py).
    slots : ndarray of shape (n_slots, n_parameters)
        State of the optimizer, such as Adam's moments.
    optimizer : Optimizer or None
    step, epoch : int
        Numbers of completed steps and epochs.
    order : ndarray of int or None
        Sample order of the epoch in progress, or of its window of a stream; None between epochs.
    epoch_start : ndarray or None
        Parameters at the start of the epoch in progress; None between epochs.
    position : int
        Number of samples of ``order`` used so far.
    loss_sum, penalty_sum : float
        Sums over the samples used in the epoch so far.
    stream : StreamPosition or None
        The window that ``order`` belongs to, in an epoch over blocks.
    seed : int
        Seed of dropout and noise.
    schedule_start : int
        Epoch at which the learning rate schedule started.
    plateau : Plateau
        State of the schedule 'reduce_on_plateau'.
    stopping : PatienceState or None
        State of early stopping, until a fit with ``patience`` has ended normally.
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
    stopping: PatienceState | None = None
    stream: StreamPosition | None = None
    # No fields, so that copies and files leave them out: what forward and apply of an MLP keep for the next call.
    last_pass = None
    prepared_update = None
    # For other threads: parameters to read while these are rewritten, and the number of times that writing has begun.
    readable = None
    n_writes = 0

    @classmethod
    def start(cls, parameters, optimizer, seed=0):
        """The state before the first step."""
        return cls(parameters, new_slots(optimizer.name, parameters.size, parameters.dtype), optimizer, seed=seed)

    @classmethod
    def without_optimizer(cls, parameters):
        """The state for a full-batch solver, which has no slots."""
        return cls(parameters, np.empty((0, parameters.size), parameters.dtype), None)

    def take_prepared(self, problem, batch_size):
        """The kept Prepared if its arguments are equal, otherwise a new one. Only the caller has it for now."""
        key, arrays = (problem, self.optimizer, batch_size), (self.parameters, self.slots)
        prepared = vars(self).pop("_prepared", None)  # atomic
        if prepared is None or not prepared.is_for(key, arrays):
            kernels, network, penalty, noise = problem
            train = kernels.prepare_training(network, self.optimizer, *arrays, batch_size, penalty, noise)
            prepared = Prepared(key, arrays, train)
        return prepared

    def keep_prepared(self, prepared):
        """Keep a Prepared for calls with equal arguments."""
        self._prepared = prepared

    def to_dict(self):
        """State for a model file. Raises ValueError if the parameters are not finite."""
        check_finite(self.parameters)
        return self.__getstate__()

    @classmethod
    def from_dict(cls, saved, network, dtype):
        """Create a state from the result of ``to_dict``. Raises ValueError if it does not fit the network."""
        optimizer = Optimizer(*saved["optimizer"])
        check_entries(optimizer._asdict(), annotations_of(Optimizer) | {"schedule": Any})
        if optimizer.schedule is not None:
            optimizer = optimizer._replace(schedule=check_schedule(optimizer.schedule))
        rule = OPTIMIZERS[optimizer.name]
        stopping = saved.get("stopping")
        read = {
            "optimizer": optimizer,
            "plateau": checked_record(Plateau(*saved["plateau"])),
            "stopping": None if stopping is None else checked_record(PatienceState(*stopping)),
            "stream": checked_position(saved.get("stream")),  # missing in files of earlier versions
        }
        state = checked_record(cls(**{**saved, **read}))
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
            if state.epoch_start is None:
                raise ValueError("there is no epoch_start of the epoch in progress")
        best = None if state.stopping is None else state.stopping.best_parameters
        for name, found in (("epoch_start", state.epoch_start), ("the best parameters", best)):
            if found is not None and (found.shape != (n,) or found.dtype != dtype):
                raise ValueError(f"{name} are {found.dtype} of shape {found.shape}")
        check_real("learning_rate", optimizer.learning_rate, 0, open_low=True)
        for name, value in zip(rule.options, optimizer.options, strict=True):
            check_real(name, value, 0, math.inf if name == "epsilon" else 1)  # scikit-learn allows a momentum of 1
        for name in ("weight_decay", "clip_norm", "clip_value", "max_norm"):
            check_real(name, getattr(optimizer, name), 0)
        check_layer_rates(optimizer, network.activations)
        check_real("a plateau's factor", state.plateau.factor, 0, 1)
        for name in ("loss_sum", "penalty_sum"):  # the compiled engine requires floats
            setattr(state, name, check_real(name, getattr(state, name), -math.inf))
        for name, most in (
            ("step", 2**53),
            ("epoch", 2**53),
            ("schedule_start", state.epoch),
            ("seed", 2**63 - 1),
            ("position", n_rows),
        ):
            if check_integer(name, getattr(state, name), 0) > most:
                raise ValueError(f"{name} is {getattr(state, name)}, more than {most}")
        # The kernels use these indices without bounds checks; the order of a window of a stream is made anew.
        if n_rows and state.stream is None:
            is_permutation = np.array_equal(np.sort(state.order), np.arange(n_rows))
            if state.order.dtype != np.int64 or not is_permutation:
                raise ValueError("order is not a permutation of the samples")
        state.parameters, state.slots = aligned_copy(state.parameters), aligned_copy(state.slots)
        return state

    def __getstate__(self):
        state = {one.name: getattr(self, one.name) for one in fields(self)}  # without what calls keep for later ones
        if self.stream is not None and self.stream.order is None:  # an epoch that cannot be continued
            state |= BETWEEN_EPOCHS
        return state

    def __setstate__(self, state):
        """Restore from pickle, aligning the slots unless they lie in a read-only memory map, which stays shared."""
        vars(self).update(state)
        self.slots = self.slots if not self.slots.flags.writeable else aligned_copy(self.slots)

    def make_writable(self):
        """Copy what training changes in place and lies in a read-only memory map (joblib.load with mmap_mode)."""
        if not self.parameters.flags.writeable:
            self.parameters = aligned_copy(self.parameters)
        if not self.slots.flags.writeable:
            self.slots = aligned_copy(self.slots)

    def keep_start(self):
        """Keep the parameters at the start of an epoch, in which they will change."""
        self.epoch_start = self.parameters.copy()
        self.n_writes += 1

    @contextmanager
    def rewriting(self):
        """Context manager: the block changes the parameters outside of an epoch."""
        self.readable = self.parameters.copy()
        self.n_writes += 1
        try:
            yield
        finally:
            self.readable = None

    def seen_by_others(self):
        """Parameters for another thread: a copy, or those before the epoch or the change that is being made."""
        while True:
            n_writes = self.n_writes
            for kept in (self.readable, self.epoch_start):
                if kept is not None:
                    return kept
            between = self.parameters.copy()
            if self.n_writes == n_writes:  # no writing has begun; what is kept is set before the number changes
                return between

    def with_parameters(self, parameters):
        """A state between epochs with other parameters, for predictions."""
        return replace(self, parameters=parameters, **BETWEEN_EPOCHS)

    def reset_optimizer(self):
        self.slots[...] = 0
        self.step = 0

    def is_in_epoch_of(self, n_samples):
        """Whether an epoch over that many samples in memory is in progress."""
        return self.order is not None and self.stream is None and len(self.order) == n_samples

    def samples_done(self):
        """Number of samples of the epoch in progress that have been used."""
        return self.position if self.stream is None else self.stream.n_before + self.position

    def drop_epoch_in_progress(self):
        vars(self).update(BETWEEN_EPOCHS)


def check_finite(parameters):
    """Raise ValueError if parameters are not finite, as model files require."""
    n_bad = parameters.size - np.count_nonzero(np.isfinite(parameters))
    if n_bad:
        raise ValueError(
            f"{n_bad} of {parameters.size} parameters are NaN or infinite, but model files require finite parameters. "
            "Use pickle or joblib to store the model as it is."
        )
    return parameters


def check_layer_rates(optimizer, layers):
    """Raise ValueError unless ``layer_rates`` is empty or has one rate per layer."""
    n_layers = len(layers)
    if len(optimizer.layer_rates) not in (0, n_layers):
        raise ValueError(f"layer_rates must have {n_layers} numbers, one per layer, got {optimizer.layer_rates}.")
