"""Launches: what a call of the contract needs on the device, kept from call to call, and the way there and back.

The host's parameters and slots change only once a call has succeeded.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import cuda

from fastmlp.kernels.numba_cuda import data, devices
from fastmlp.kernels.numba_cuda.choice import prediction_launch, training_launch
from fastmlp.kernels.numba_cuda.launching import Prepared
from fastmlp.kernels.numba_cuda.prediction import prediction_kernel
from fastmlp.kernels.numba_cuda.training_kernel import BLOCK, TILES, training_kernel
from fastmlp.kernels.optimizers import OPTIMIZERS

STEPS_PER_LAUNCH = 4096


class Trainer:
    """Kernel and working memory for steps of one network, optimizer and batch size. ``optimizer`` "": gradients."""

    def __init__(self, network, optimizer, features, dtype, batch_size):
        self.n_slots = len(OPTIMIZERS[optimizer].slots) if optimizer else 0
        self.how = training_launch(network, features, self.n_slots, dtype, batch_size, devices.current())
        layout, blocks, n = self.how.layout, self.how.blocks, network.n_parameters
        kernel = training_kernel(layout, optimizer, dtype, self.how.way, self.how.on_chip, self.how.threads)
        self.kernel = Prepared(kernel, self.how.threads, self.how.shared_bytes, blocks, self.how.way != BLOCK)
        self.batch_size, self.dtype, self.weighted = batch_size, dtype, features.weighted
        self.lock, self.stream = threading.Lock(), cuda.stream()
        n_work = 0 if self.how.on_chip else (layout.size + n) * blocks if self.how.way == TILES else layout.size
        keeps = not optimizer or features.clipped
        self.parameters, self.slots, self.gradient = (self._empty(k) for k in (n, n * self.n_slots, n * keeps))
        self.transposed, self.work = self._empty(layout.n_flipped), self._empty(n_work)
        self.partial = self._empty(n * blocks if self.how.way == TILES else 0)

    def _empty(self, size, dtype=None):
        return cuda.device_array(max(size, 1), dtype or self.dtype)

    def run(
        self, parameters, slots, gradient, step, rows, rates, extras, options, loss_options, alpha, seed, results
    ):  # fmt: skip
        """Steps over ``rows``, a tuple (X, y, sample_weight, order); returns ``results`` with what they added.

        Parameters and slots change, or ``gradient`` where that is asked for, all at once in the end.
        """
        with self.lock:
            there = self.queue(
                parameters, slots, step, rows, rates, extras, options, loss_options, alpha, seed, results
            )
            changed = [(self.gradient, gradient)] if gradient is not None else [
                (self.parameters, parameters), (self.slots, slots)
            ]  # fmt: skip
            copies = [source.copy_to_host(stream=self.stream) for source, _ in (*changed, (there, None))]
            self.stream.synchronize()
            for copy, (_, to) in zip(copies, changed):
                to.reshape(-1)[...] = copy[: to.size]
            return copies[-1]

    def queue(self, parameters, slots, step, rows, rates, extras, options, loss_options, alpha, seed, results):
        """Copies and launches, for none of which the host waits; the results on the device."""
        stream, how, batch = self.stream, self.how, self.batch_size
        self.parameters.copy_to_device(parameters, stream)
        if self.n_slots:
            self.slots.copy_to_device(slots.reshape(-1), stream)
        extras, options, loss_options = map(data.constant, (extras, options, loss_options))
        results = cuda.to_device(results, stream)
        done = 0
        for X, y, sample_weight, order in data.blocks_of_rows(*rows, batch, stream):
            n_batches = -(-order.size // batch)
            steps = min(STEPS_PER_LAUNCH, n_batches)
            corrections, sums = self._empty(steps, "float64"), self._empty((2 * steps + 1) * how.blocks, "float64")
            for first in range(0, n_batches, steps):
                part = slice(first * batch, (first + steps) * batch)
                here = slice(done + first, done + min(first + steps, n_batches))
                self.kernel(
                    stream, X, y, sample_weight, order if steps == n_batches else order[part],
                    data.constant(rates[here]), corrections, self.parameters, self.slots, self.gradient,
                    self.transposed, self.work, self.partial, sums, results, extras, options, loss_options, alpha,
                    seed, step, batch,
                )  # fmt: skip
            done += n_batches
        return results


trainer_for = lru_cache(maxsize=16)(Trainer)


class Predictor:
    """Kernel and working memory for outputs of one network."""

    def __init__(self, network, features, dtype, n_rows):
        self.how = prediction_launch(network, features, dtype, n_rows, devices.current())
        kernel = prediction_kernel(self.how.layout, dtype, self.how.on_chip, self.how.threads)
        self.kernel = Prepared(kernel, self.how.threads, self.how.shared_bytes, self.how.blocks, False)
        n_work = 1 if self.how.on_chip else self.how.layout.size * self.how.blocks
        self.work, self.nothing = cuda.device_array(n_work, dtype), cuda.to_device(np.zeros(1, np.int64))
        self.lock, self.stream = threading.Lock(), cuda.stream()

    def run(self, parameters, X, extras, seed):
        """Outputs of rows, from host or device to the host; ``seed`` is that of a random pass."""
        out = np.empty((X.shape[0], self.how.layout.network.sizes[-1]), parameters.dtype)
        height = data.block_rows(X)
        with self.lock:
            parameters, extras = cuda.to_device(parameters, self.stream), data.constant(extras)
            for start in range(0, X.shape[0], height):
                rows = data.on_device(X[start : start + height], self.stream)
                there = cuda.device_array((rows.shape[0], out.shape[1]), out.dtype)
                self.kernel(self.stream, rows, parameters, self.work, self.nothing, extras, seed, start, there)
                out[start : start + height] = there.copy_to_host(stream=self.stream)
                self.stream.synchronize()
        return out


predictor_for = lru_cache(maxsize=16)(Predictor)


def attempt(work):
    """``work()``, once more without the memory that is kept from call to call where there was too little.

    Raises
    ------
    DeviceError
        If the GPU fails.
    """
    try:
        with devices.guarded():
            return work()
    except devices.OutOfDeviceMemory:
        forget()
        with devices.guarded():
            return work()
    except devices.DeviceError:
        forget()
        raise


def forget():
    """Give back all that is kept on the device."""
    for kept in (trainer_for, predictor_for, data.constant_of, data.nothing):
        kept.cache_clear()
