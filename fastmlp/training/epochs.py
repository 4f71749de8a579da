"""Base class of epochs of stochastic gradient descent.

Python code runs between chunks of steps (training/chunking.py), for Ctrl-C and progress bars, but not between steps.
"""

import math
import time
from abc import ABC, abstractmethod

import numpy as np
from scipy.sparse import issparse

from fastmlp.backends.device_arrays import is_on_gpu
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import Batches, SparseRows
from fastmlp.prediction.predict import DENSE_BLOCK_BYTES, predict_rows, reported_loss, take_rows
from fastmlp.prediction.sparse import sparse_rows

from .chunking import CHUNK_SECONDS, ChunkSize
from .durations import seconds_since
from .outcomes import Diverged, Interrupted
from .problem import Problem, Samples
from .schedules import factors
from .state import TrainingState

LARGE_STEP_FLOPS = 6e10  # a step above this takes more than about 0.1 s on two cores
FIRST_CHUNK_FLOPS = 1e8  # before the speed is known: tens of milliseconds on any machine
LARGE_WEIGHT = 10.0  # outputs are checked for overflow if a parameter is larger
CHECKED_SAMPLES = 256
BOUNDED_GROWTH = frozenset(ACTIVATIONS) - {"exp"}  # outputs grow no faster than inputs; unknown for custom functions


class BaseEpochs(ABC):
    """Base class of epochs of gradient descent steps. Subclasses provide the samples of an epoch.

    Parameters
    ----------
    problem : Problem
    state : TrainingState
        Parameters and optimizer state, changed in place.
    batch_size : int
    interruption : Interruption or None
        Checked between chunks.
    on_samples : callable or None
        ``on_samples(n)`` is called after each chunk of n samples.
    """

    def __init__(self, problem: Problem, state: TrainingState, batch_size, *, interruption=None, on_samples=None):
        self.problem, self.network, self.state, self.batch_size = problem, problem.network, state, batch_size
        self.interruption, self.on_samples = interruption, on_samples
        self.samples: Samples | None = None
        self._held: tuple | None = None
        network = problem.network
        self._may_overflow = not BOUNDED_GROWTH.issuperset(network.activations)
        self.seconds = 0.0  # spent in native calls
        self.n_done = self.n_samples = 0  # samples in total, and in the last epoch
        self._flops_per_sample = 6 * state.parameters.size
        self._chunk_size = ChunkSize(FIRST_CHUNK_FLOPS // (self._flops_per_sample * batch_size))

    def _set_samples(self, samples: Samples):
        """Set the samples that ``state.order`` indexes."""
        self.samples, (kernels, network, _, noise) = samples, self.problem
        X, *others = samples
        if issparse(X):
            X = sparse_rows(kernels, network, X, self.state.parameters.dtype, noise)
        self._held = None if X is None else kernels.hold(X, *others)
        self._flops_per_sample, self._max_batches = 6 * self.state.parameters.size, math.inf
        if isinstance(X, SparseRows):
            unused = network.n_columns - X.n_nonzeros / len(X)  # inputs of a sample
            self._flops_per_sample -= 6 * unused * network.sizes[1]
        elif X is None:
            n_bytes = samples.X.shape[1] * samples.X.dtype.itemsize
            self._max_batches = DENSE_BLOCK_BYTES // (n_bytes * self.batch_size)

    def _is_sparse(self):
        """Whether the kernels take the samples as SparseRows."""
        return self._held is not None and type(self._held[0]) is SparseRows

    def _drop_samples(self):
        """Release the samples and their device copies."""
        self.samples = self._held = None

    def _run_steps(self):
        """Make steps over the remaining samples of ``state.order``."""
        state = self.state
        if state.position < len(state.order):  # not of an epoch that was saved after its last step
            self._run_chunk()
        while state.position < len(state.order) and math.isfinite(state.loss_sum + state.penalty_sum):
            self._stop_if_interrupted()
            self._run_chunk()
        self._stop_if_diverged()

    def _end_epoch(self, n_samples):
        """Finish an epoch of ``n_samples`` samples. Returns its loss."""
        state = self.state
        self.n_samples = n_samples
        loss = reported_loss(self.network, state.loss_sum / n_samples, state.penalty_sum / n_samples)
        state.epoch += 1
        state.drop_epoch_in_progress()
        schedule = state.optimizer.schedule
        if schedule is not None and schedule.name == "reduce_on_plateau":
            state.plateau = state.plateau.after(loss, *schedule.options)
        return loss

    def _stop_if_interrupted(self):
        if self.interruption is not None and self.interruption.requested:
            self._stop_if_diverged()
            raise Interrupted

    def _stop_if_diverged(self):
        """If loss, weights or outputs are not finite, restore the weights of the last epoch and raise Diverged."""
        state = self.state
        if math.isfinite(state.loss_sum + state.penalty_sum) and self._outputs_are_finite():
            return
        if state.epoch_start is not None:
            state.parameters[...] = state.epoch_start
        state.reset_optimizer()
        state.drop_epoch_in_progress()
        raise Diverged

    def _outputs_are_finite(self):
        """Whether the parameters are finite and, if some are large, the outputs for the first samples too.

        The loss of a step belongs to the weights before it, so it does not show whether the last step diverged.
        """
        parameters = self.state.parameters
        largest = max(np.maximum.reduce(parameters), -np.minimum.reduce(parameters))  # NaN if one is
        if self.samples is None or not math.isfinite(largest) or (largest <= LARGE_WEIGHT and not self._may_overflow):
            return math.isfinite(largest)
        X = self.samples.X[:CHECKED_SAMPLES]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return bool(np.isfinite(predict_rows(self.problem.kernels, self.network, parameters, X)).all())

    @abstractmethod
    def run(self, most=1):
        """Run up to ``most`` epochs. Yields lists of their losses."""

    @abstractmethod
    def _progress(self):
        """(samples of this epoch that are done, all samples of the epoch)"""

    def _rates(self, n_rows, n_epochs=1):
        """Learning rates of the batches of a chunk or of several epochs, or None without a schedule."""
        starts = np.arange(0, n_rows, self.batch_size)
        return self._rates_between(starts, np.minimum(starts + self.batch_size, n_rows), n_epochs)

    def _rates_between(self, starts, stops, n_epochs=1):
        """Learning rates of batches that start and stop at these places of the samples to come, as ``_rates``."""
        state = self.state
        schedule = state.optimizer.schedule
        if schedule is None:
            return None
        begun, (done, total) = state.epoch - state.schedule_start + np.arange(n_epochs), self._progress()
        progress = [np.add.outer(begun, (done + places) / total).ravel() for places in (starts, stops)]
        return state.optimizer.learning_rate * factors(schedule, state.plateau, *progress)

    def _splits_steps(self):
        """Whether a step is long, but no more than a gradient and an update, and no GPU makes it."""
        if self._flops_per_sample * self.batch_size <= LARGE_STEP_FLOPS:
            return False
        optimizer = self.state.optimizer
        bounds = optimizer.weight_decay, optimizer.clip_norm, optimizer.clip_value, optimizer.max_norm
        on_host = self._held is None or not is_on_gpu(self._held[0])
        plain = self.problem.noise is None and self.problem.network.inputs is None
        return on_host and plain and not any(bounds) and not optimizer.layer_rates

    def _run_large_step(self):
        """Make one long step: sum gradients over blocks of samples, so that Ctrl-C can interrupt it, then update."""
        state, samples, begun = self.state, self.samples, time.perf_counter()
        kernels, network, of_block, _ = self.problem
        dtype = state.parameters.dtype
        rows = state.order[state.position : state.position + self.batch_size]
        weight = np.ones(len(rows), samples.y.dtype) if samples.weight is None else samples.weight[rows]
        total = float(weight.sum(dtype=np.float64))
        if total > 0:
            block = max(1, int(LARGE_STEP_FLOPS / 4 / self._flops_per_sample))
            gradient, data_loss, penalty = np.zeros_like(state.parameters), 0.0, 0.0
            for start in range(0, len(rows), block):
                self._stop_if_interrupted()
                part = rows[start : start + block]
                share = float(weight[start : start + block].sum(dtype=np.float64)) / total
                if share == 0:
                    continue
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    X = sparse_rows(kernels, network, samples.X[part], dtype) if self._is_sparse() else None
                    X = take_rows(samples.X, part) if X is None else X
                    loss, more, slope = kernels.loss_and_gradient(
                        network, state.parameters, X, samples.y[part], weight[start : start + block], of_block
                    )  # fmt: skip
                    gradient += slope * gradient.dtype.type(share)
                data_loss, penalty = data_loss + share * loss, penalty + share * more
                of_block = of_block.of_activity()  # weight penalties are added to one block only
            state.step += 1
            rates = self._rates(len(rows))
            optimizer = state.optimizer if rates is None else state.optimizer._replace(learning_rate=float(rates[0]))
            kernels.update(optimizer, state.parameters, gradient, state.slots, state.step)
            state.loss_sum += len(rows) * data_loss
            state.penalty_sum += len(rows) * penalty
        self._count(len(rows), seconds_since(begun))

    def _count(self, n_samples, seconds):
        self.state.position += n_samples
        self.seconds += seconds
        self.n_done += n_samples
        if self.on_samples is not None:
            self.on_samples(n_samples)

    def _run_chunk(self):
        if self._splits_steps():
            self._run_large_step()
            return
        state, samples = self.state, self.samples
        n_rows = self.batch_size * int(max(1, min(self._chunk_size.batches, self._max_batches, len(state.order))))
        rows = state.order[state.position : state.position + n_rows]
        if self._held is None:
            weight = None if samples.weight is None else samples.weight[rows]
            X, y, order = take_rows(samples.X, rows), samples.y[rows], np.arange(len(rows))
        else:
            (X, y, weight), order = self._held, rows
        start = time.perf_counter()
        prepared = state.take_prepared(self.problem, self.batch_size)
        state.loss_sum, state.penalty_sum, n_steps = prepared.train(
            Batches(X, y, order, self.batch_size, weight), state.step, self._rates(len(rows)),
            (state.loss_sum, state.penalty_sum),
        )  # fmt: skip
        state.keep_prepared(prepared)
        seconds = seconds_since(start)
        state.step += n_steps
        # The first chunk may include compilation; if an epoch is one short chunk, its size need not be adapted.
        if self.n_done and (len(rows) < len(state.order) or seconds > CHUNK_SECONDS):
            self._chunk_size.update(len(rows) / self.batch_size, seconds)
        self._count(len(rows), seconds)
