"""Epochs of stochastic gradient descent: what a training run knows, and how it goes on from there.

Python is entered between chunks of about CHUNK_SECONDS, for Ctrl-C and progress; never between steps.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse

from fastmlp.kernels.network import Network, Optimizer, aligned_copy, new_slots
from fastmlp.kernels.rules import LOSSES, OPTIMIZERS

from .checks import check_integer, check_real

CHUNK_SECONDS = 0.1
LARGE_STEP_FLOPS = 6e10  # tenths of a second on two cores
FIRST_CHUNK_FLOPS = 1e8  # before a speed is known: tens of milliseconds on any machine
DENSE_BLOCK_BYTES = 2**25  # sparse rows are made dense in blocks of this size


class Diverged(ArithmeticError):
    """The loss or a parameter stopped being finite; the parameters are those of the last good epoch."""


class Interrupted(Exception):
    """Ctrl-C: the state is where the last chunk left it."""


@dataclass
class TrainingState:
    """All that a run needs to go on, bit for bit, as if it had never stopped.

    ``parameters`` and each row of ``slots`` are flat vectors (kernels/network.py). Within an epoch ``order`` holds its
    rows, of which ``position`` are used; ``loss_sum`` and ``penalty_sum`` belong to those, and ``epoch_start`` holds
    the parameters before it. Between epochs both are None.
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

    @classmethod
    def start(cls, parameters, optimizer):
        """A run that has not made a step."""
        return cls(parameters, new_slots(optimizer.name, parameters.size, parameters.dtype), optimizer)

    def to_dict(self):
        """For a model file."""
        return {**vars(self), "optimizer": tuple(self.optimizer)}

    @classmethod
    def from_dict(cls, saved, network, dtype):
        """The state that ``to_dict`` gave; ValueError where it does not fit the network."""
        state = cls(**{**saved, "optimizer": Optimizer(*saved["optimizer"])})
        rule = OPTIMIZERS[state.optimizer.name]
        n = network.n_parameters
        for name, found, shape in (
            ("parameters", state.parameters, (n,)),
            ("slots", state.slots, (len(rule.slots), n)),
        ):
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(f"{name} are {found.dtype} of shape {found.shape}, not {dtype} of shape {shape}")
        n_rows = 0
        if state.order is not None:
            n_rows = len(state.order)
            if state.epoch_start.shape != (n,) or state.epoch_start.dtype != dtype:
                raise ValueError(f"epoch_start is {state.epoch_start.dtype} of shape {state.epoch_start.shape}")
        check_real("learning_rate", state.optimizer.learning_rate, 0, open_low=True)
        for name, value in zip(rule.options, state.optimizer.options, strict=True):
            check_real(name, value, 0, math.inf if name == "epsilon" else 1)
        for name in ("loss_sum", "penalty_sum"):
            check_real(name, getattr(state, name), -math.inf)
        for name, most in (("step", 2**53), ("epoch", 2**53), ("position", n_rows)):
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


def reported_loss(network, data_loss, penalty):
    """A kernel's data loss (summed over outputs) and penalty as one number, averaged where the loss's row says so."""
    return data_loss / (network.sizes[-1] if LOSSES[network.loss].averaged else 1) + penalty


def take_rows(X, rows):
    """Rows of a dense or CSR matrix as a dense block in C order."""
    return X[rows].toarray() if issparse(X) else X[rows]


class Epochs:
    """Runs epochs over fixed data, changing ``state`` in place.

    X is C-contiguous (or CSR) and y is C-contiguous of shape (rows, outputs), both, like ``sample_weight``, in the
    dtype of the parameters. ``shuffle`` makes an epoch's order of rows from the last one's (None: they stay in order);
    ``on_rows(n)`` hears of each chunk.
    """

    def __init__(self, backend, network: Network, state: TrainingState, X, y, sample_weight, *, batch_size, alpha,
                 shuffle=None, interruption=None, on_rows=None):  # fmt: skip
        self.backend, self.network, self.state = backend, network, state
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.batch_size, self.alpha = batch_size, alpha
        self.shuffle, self.interruption, self.on_rows = shuffle, interruption, on_rows
        self.seconds = 0.0  # spent in native calls
        self.rows_done = 0
        self._order = np.arange(X.shape[0])
        if state.order is not None and len(state.order) != X.shape[0]:
            state.drop_epoch_in_progress()
        self._flops_per_row = 6 * network.n_parameters
        self._batches = FIRST_CHUNK_FLOPS // (self._flops_per_row * batch_size)
        self._max_batches = math.inf
        if issparse(X):
            self._max_batches = DENSE_BLOCK_BYTES // (X.shape[1] * X.dtype.itemsize * batch_size)

    def run(self):
        """One epoch, or the rest of one that was interrupted. Returns its loss.

        Raises
        ------
        Interrupted, Diverged
        """
        state = self.state
        self._stop_if_interrupted()  # before the shuffle: it must not be done twice
        if state.order is None:
            self._order = self._order if self.shuffle is None else self.shuffle(self._order)
            state.order, state.epoch_start = self._order, state.parameters.copy()
        self._run_chunk()
        while state.position < len(state.order) and math.isfinite(state.loss_sum + state.penalty_sum):
            self._stop_if_interrupted()
            self._run_chunk()
        self._stop_if_diverged()
        n_rows = len(state.order)
        loss = reported_loss(self.network, state.loss_sum / n_rows, state.penalty_sum / n_rows)
        state.epoch += 1
        state.drop_epoch_in_progress()
        return loss

    def _stop_if_interrupted(self):
        if self.interruption is not None and self.interruption.requested:
            self._stop_if_diverged()
            raise Interrupted

    def _stop_if_diverged(self):
        """Go back to the start of an epoch whose loss or weights are no longer finite."""
        state = self.state
        if math.isfinite(state.loss_sum + state.penalty_sum) and np.isfinite(state.parameters).all():
            return
        if state.epoch_start is not None:
            state.parameters[...] = state.epoch_start
        state.reset_optimizer()
        state.drop_epoch_in_progress()
        raise Diverged

    def _run_large_step(self):
        """A step that takes too long for Ctrl-C to wait for: its rows pass in blocks, the update comes at the end."""
        state, network, begun = self.state, self.network, time.perf_counter()
        rows = state.order[state.position : state.position + self.batch_size]
        weight = np.ones(len(rows), self.y.dtype) if self.sample_weight is None else self.sample_weight[rows]
        total = float(weight.sum(dtype=np.float64))
        if total > 0:
            block = max(1, int(LARGE_STEP_FLOPS / 4 / self._flops_per_row))
            gradient, data_loss, penalty, alpha = np.zeros_like(state.parameters), 0.0, 0.0, self.alpha
            for start in range(0, len(rows), block):
                self._stop_if_interrupted()
                part = rows[start : start + block]
                share = float(weight[start : start + block].sum(dtype=np.float64)) / total
                if share == 0:
                    continue
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    loss, more, slope = self.backend.loss_and_gradient(
                        network, state.parameters, take_rows(self.X, part), self.y[part],
                        weight[start : start + block], alpha,
                    )  # fmt: skip
                    gradient += slope * gradient.dtype.type(share)
                data_loss, penalty, alpha = data_loss + share * loss, penalty + share * more, 0.0
            state.step += 1
            self.backend.update(state.optimizer, state.parameters, gradient, state.slots, state.step)
            state.loss_sum += len(rows) * data_loss
            state.penalty_sum += len(rows) * penalty
        self._note(rows, time.perf_counter() - begun)

    def _note(self, rows, seconds):
        self.state.position += len(rows)
        self.seconds += seconds
        self.rows_done += len(rows)
        if self.on_rows is not None:
            self.on_rows(len(rows))

    def _run_chunk(self):
        if self._flops_per_row * self.batch_size > LARGE_STEP_FLOPS:
            self._run_large_step()
            return
        state, weight = self.state, self.sample_weight
        n_rows = self.batch_size * int(max(1, min(self._batches, self._max_batches, len(state.order))))
        rows = state.order[state.position : state.position + n_rows]
        X, y, order = self.X, self.y, rows
        if issparse(X):
            X, y, order = take_rows(X, rows), y[rows], np.arange(len(rows))
            weight = None if weight is None else weight[rows]
        start = time.perf_counter()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # divergence is reported once, as such
            state.loss_sum, state.penalty_sum, n_steps = self.backend.train_epoch(
                self.network, state.optimizer, state.parameters, state.slots, state.step,
                X, y, order, self.batch_size, weight, self.alpha, state.loss_sum, state.penalty_sum,
            )  # fmt: skip
        seconds = time.perf_counter() - start
        state.step += n_steps
        self._batches = CHUNK_SECONDS / max(seconds, 1e-6) * len(rows) / self.batch_size
        self._note(rows, seconds)
