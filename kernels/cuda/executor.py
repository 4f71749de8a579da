"""Launches: what a call of the contract needs on the device, kept from call to call, and the way there and back.

The host's parameters and slots change only once a call has succeeded.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import device_to_host

from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from . import data, devices
from .dispatch import WIDE, prediction_launch, training_launch
from .prediction_ways import passes_for
from .training_ways import steps_for
from .transfers import Parcel, Room


class Trainer:
    """Steps of one network, optimizer and batch size, and their arrays. ``optimizer`` "": gradients."""

    def __init__(self, network, optimizer, features, dtype, batch_size):
        self.how = training_launch(network, features, optimizer, dtype, batch_size, devices.current())
        self.batch_size, self.lock, self.stream = batch_size, threading.Lock(), cuda.stream()
        self.n_slots, n = len(OPTIMIZERS[optimizer].slots) if optimizer else 0, network.n_parameters
        needs_gradient = not optimizer or features.clipped or self.how.way == WIDE
        self.parcel = Parcel({
            "parameters": (n, dtype), "slots": (n * self.n_slots, dtype), "results": (3, np.float64),
            "gradient": (n * needs_gradient, dtype),
        })  # fmt: skip
        self.feed = data.Feed()
        self.steps = steps_for(self.how, optimizer, features, dtype)

    def run(
        self, parameters, slots, gradient, step, rows, rates, extras, options, loss_options, alpha, seed, results
    ):  # fmt: skip
        """Steps over ``rows``, a tuple (X, y, sample_weight, order); returns ``results`` with what they added.

        Parameters and slots change, or ``gradient`` where that is asked for, all at once in the end.
        """
        with self.lock:
            self.queue(parameters, slots, step, rows, rates, extras, options, loss_options, alpha, seed, results)
            first, last = ("parameters", "results") if gradient is None else ("results", "gradient")
            self.parcel.fetch(first, last, self.stream)
            self.stream.synchronize()
            here = self.parcel.here
            if gradient is not None:
                gradient[:] = here["gradient"]
            else:
                parameters[:] = here["parameters"]
                slots.reshape(-1)[:] = here["slots"][: slots.size]
            return here["results"].copy()

    def queue(self, parameters, slots, step, rows, rates, extras, options, loss_options, alpha, seed, results):
        """Copies and launches, for none of which the host waits."""
        here, there, done = self.parcel.here, self.parcel.there, 0
        here["parameters"][:], here["slots"][: slots.size], here["results"][:] = parameters, slots.reshape(-1), results
        self.parcel.send("parameters", "results", self.stream)
        extras, options, loss_options = map(data.constant, (extras, options, loss_options))
        for X, y, sample_weight, order in self.feed.blocks(*rows, self.batch_size, self.stream):
            n_batches = -(-order.size // self.batch_size)
            self.steps.queue(
                self.stream, X, y, sample_weight, order, rates[done : done + n_batches], self.batch_size,
                there["parameters"], there["slots"], there["gradient"], there["results"], extras, options,
                loss_options, alpha, seed, step,
            )  # fmt: skip
            done += n_batches


trainer_for = lru_cache(maxsize=16)(Trainer)


class Predictor:
    """Outputs of one network."""

    def __init__(self, network, features, dtype, n_rows):
        self.how = prediction_launch(network, features, dtype, n_rows, devices.current())
        self.n_outputs, self.lock, self.stream = network.sizes[-1], threading.Lock(), cuda.stream()
        self.parameters, self.passes = Room(dtype), passes_for(self.how, dtype)

    def run(self, parameters, X, extras, seed):
        """Outputs of rows, from host or device to the host; ``seed`` is that of a random pass."""
        out = np.empty((X.shape[0], self.n_outputs), parameters.dtype)
        height = data.block_rows(X)
        with self.lock:
            parameters, extras = self.parameters.copy_of(parameters, self.stream), data.constant(extras)
            for start in range(0, X.shape[0], height):
                to, rows = out[start : start + height], data.on_device(X[start : start + height], self.stream)
                there = cuda.device_array(to.shape, to.dtype)
                self.passes.queue(self.stream, rows, parameters, extras, seed, start, there)
                device_to_host(to, there, to.nbytes, self.stream)
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
        pass  # what the error holds is given back after this
    except devices.DeviceError:
        forget()
        raise
    forget()
    with devices.guarded():
        return work()


def forget():
    """Give back all that is kept on the device."""
    for kept in (trainer_for, predictor_for, data.constant_of, data.nothing):
        kept.cache_clear()
