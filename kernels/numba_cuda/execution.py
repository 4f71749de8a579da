"""Launches: what a call of the contract needs on the device, kept from call to call, and the way there and back.

The host's parameters and slots change only once a call has succeeded.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import cuda

from fastmlp.kernels.numba_cuda import data, devices
from fastmlp.kernels.numba_cuda.choice import WIDE, prediction_launch, training_launch
from fastmlp.kernels.numba_cuda.passes import passes_for
from fastmlp.kernels.numba_cuda.steps import steps_for
from fastmlp.kernels.optimizers import OPTIMIZERS


class Trainer:
    """Steps of one network, optimizer and batch size, and their arrays. ``optimizer`` "": gradients."""

    def __init__(self, network, optimizer, features, dtype, batch_size):
        self.how = training_launch(network, features, optimizer, dtype, batch_size, devices.current())
        self.batch_size, self.dtype = batch_size, dtype
        self.n_slots = len(OPTIMIZERS[optimizer].slots) if optimizer else 0
        self.lock, self.stream, n = threading.Lock(), cuda.stream(), network.n_parameters
        needs_gradient = not optimizer or features.clipped or self.how.way == WIDE
        self.parameters, self.slots, self.gradient = (
            cuda.device_array(max(size, 1), dtype) for size in (n, n * self.n_slots, n * needs_gradient)
        )
        self.steps = steps_for(self.how, optimizer, features, dtype)

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
        stream = self.stream
        self.parameters.copy_to_device(parameters, stream)
        if self.n_slots:
            self.slots.copy_to_device(slots.reshape(-1), stream)
        extras, options, loss_options = map(data.constant, (extras, options, loss_options))
        results = cuda.to_device(results, stream)
        done = 0
        for X, y, sample_weight, order in data.blocks_of_rows(*rows, self.batch_size, stream):
            n_batches = -(-order.size // self.batch_size)
            self.steps.queue(
                stream, X, y, sample_weight, order, rates[done : done + n_batches], self.batch_size, self.parameters,
                self.slots, self.gradient, results, extras, options, loss_options, alpha, seed, step,
            )  # fmt: skip
            done += n_batches
        return results


trainer_for = lru_cache(maxsize=16)(Trainer)


class Predictor:
    """Outputs of one network."""

    def __init__(self, network, features, dtype, n_rows):
        self.how = prediction_launch(network, features, dtype, n_rows, devices.current())
        self.passes, self.lock, self.stream = passes_for(self.how, dtype), threading.Lock(), cuda.stream()

    def run(self, parameters, X, extras, seed):
        """Outputs of rows, from host or device to the host; ``seed`` is that of a random pass."""
        out = np.empty((X.shape[0], self.how.layout.network.sizes[-1]), parameters.dtype)
        height = data.block_rows(X)
        with self.lock:
            parameters, extras = cuda.to_device(parameters, self.stream), data.constant(extras)
            for start in range(0, X.shape[0], height):
                rows = data.on_device(X[start : start + height], self.stream)
                there = cuda.device_array((rows.shape[0], out.shape[1]), out.dtype)
                self.passes.queue(self.stream, rows, parameters, extras, seed, start, there)
                copy = there.copy_to_host(stream=self.stream)
                self.stream.synchronize()
                out[start : start + height] = copy
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
