"""Launches: what a call of the contract needs on the device, kept from call to call, and the way there and back.

The host's parameters and slots change only once a call has succeeded.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import cuda

from fastmlp.kernels.numba_cuda import devices
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

    def run(self, parameters, slots, step, blocks_of_rows, rates, extras, options, loss_options, alpha, seed, results):
        """Steps over blocks of (X, y, sample_weight, order), all of which are on the device; ``results`` change."""
        stream, how, batch = self.stream, self.how, self.batch_size
        self.parameters.copy_to_device(parameters, stream)
        if self.n_slots:
            self.slots.copy_to_device(slots.reshape(-1), stream)
        extras, options, loss_options, results_there = (
            cuda.to_device(array if array.size else np.zeros(1), stream)
            for array in (extras, np.array(options), np.array(loss_options), results)
        )
        done = 0
        for X, y, sample_weight, order in blocks_of_rows:
            n_batches = -(-order.size // batch)
            rates_there = cuda.to_device(rates[done : done + n_batches], stream)
            done += n_batches
            steps = min(STEPS_PER_LAUNCH, n_batches)
            corrections, sums = (
                self._empty(steps, "float64"),
                self._empty((2 * steps + 1) * how.blocks, "float64"),
            )
            for first in range(0, n_batches, steps):
                self.kernel(stream, X, y, sample_weight,
                    order[first * batch : (first + steps) * batch], rates_there[first : first + steps], corrections,
                    self.parameters, self.slots, self.gradient, self.transposed, self.work, self.partial, sums,
                    results_there, extras, options, loss_options, float(alpha), seed, step, batch,
                )  # fmt: skip
        return results_there

    def bring_back(self, results, *pairs):
        """Copy device arrays to host arrays, once all of them have arrived; ``results`` come too."""
        copies = [source.copy_to_host(stream=self.stream) for source, _ in (*pairs, (results, None))]
        self.stream.synchronize()
        for copy, (_, to) in zip(copies, pairs):
            to.reshape(-1)[...] = copy[: to.size]
        return copies[-1]


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

    def run(self, parameters, X, extras, seed, number):
        """Outputs of device rows, the first of which is row ``number``, on the device."""
        out = cuda.device_array((X.shape[0], self.how.layout.network.sizes[-1]), parameters.dtype)
        self.kernel(self.stream, X, parameters,
            self.work, self.nothing, extras, seed, number, out,
        )  # fmt: skip
        return out


predictor_for = lru_cache(maxsize=16)(Predictor)
