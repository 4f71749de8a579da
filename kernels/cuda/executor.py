"""Training and prediction executors: compiled kernels and device buffers, cached from call to call.

The host's parameters and slots are changed only after a call has succeeded.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import device_to_host

from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from . import data, devices
from .dispatch import GEMM, prediction_config, training_config
from .prediction_strategies import prediction_strategy
from .records import State
from .training_strategies import training_strategy
from .transfers import GrowingBuffer, TransferBuffer


class TrainingExecutor:
    """Training steps for one network, optimizer and batch size. ``optimizer`` "" computes gradients only."""

    def __init__(self, network, optimizer, features, dtype, batch_size):
        self.config = training_config(network, features, optimizer, dtype, batch_size, devices.current())
        self.lock, self.stream = threading.Lock(), cuda.stream()
        self.n_slots, n = len(OPTIMIZERS[optimizer].slots) if optimizer else 0, network.n_parameters
        needs_gradient = not optimizer or features.clipped or self.config.strategy == GEMM
        self.buffer = TransferBuffer({
            "parameters": (n, dtype), "slots": (n * self.n_slots, dtype), "results": (3, np.float64),
            "gradient": (n * needs_gradient, dtype),
        })  # fmt: skip
        device = self.buffer.device
        self.state = State(device["parameters"], device["slots"], device["gradient"], device["results"])
        self.loader = data.BlockLoader()
        self.strategy = training_strategy(self.config, optimizer, features, dtype)

    def run(self, parameters, slots, gradient, batches, rates, settings, results):
        """Train on Batches; return ``results`` with the new losses, penalties and updates added.

        At the end parameters and slots are changed, or ``gradient`` if it is not None.
        """
        with self.lock:
            self.queue(parameters, slots, batches, rates, settings, results)
            first, last = ("parameters", "results") if gradient is None else ("results", "gradient")
            self.buffer.fetch(first, last, self.stream)
            self.stream.synchronize()
            host = self.buffer.host
            if gradient is not None:
                gradient[:] = host["gradient"]
            else:
                parameters[:] = host["parameters"]
                slots.reshape(-1)[:] = host["slots"][: slots.size]
            return host["results"].copy()

    def queue(self, parameters, slots, batches, rates, settings, results):
        """Queue copies and kernel launches, without waiting for the device."""
        host = self.buffer.host
        host["parameters"][:], host["slots"][: slots.size], host["results"][:] = parameters, slots.reshape(-1), results
        self.buffer.send("parameters", "results", self.stream)
        settings = settings._replace(
            extras=data.constant(settings.extras), options=data.constant(settings.options),
            loss_options=data.constant(settings.loss_options),
        )  # fmt: skip
        n_done = 0
        for block in self.loader.blocks(batches, self.stream):
            n_batches = -(-block.order.size // block.size)
            self.strategy.queue(self.stream, block, rates[n_done : n_done + n_batches], self.state, settings)
            n_done += n_batches


training_executor = lru_cache(maxsize=16)(TrainingExecutor)


class PredictionExecutor:
    """Predictions of one network, for up to ``n_rows`` rows at a time."""

    def __init__(self, network, features, dtype, n_rows):
        self.config = prediction_config(network, features, dtype, n_rows, devices.current())
        self.n_outputs, self.lock, self.stream = network.sizes[-1], threading.Lock(), cuda.stream()
        self.parameters, self.strategy = GrowingBuffer(dtype), prediction_strategy(self.config, dtype)

    def run(self, parameters, X, extras, seed):
        """Return the outputs for X (host or device) as a host array; ``seed`` is used with noise only."""
        out = np.empty((X.shape[0], self.n_outputs), parameters.dtype)
        height = data.rows_per_block(X)
        with self.lock:
            parameters, extras = self.parameters.copy_from(parameters, self.stream), data.constant(extras)
            for start in range(0, X.shape[0], height):
                block, block_out = data.to_device(X[start : start + height], self.stream), out[start : start + height]
                device_out = cuda.device_array(block_out.shape, block_out.dtype)
                self.strategy.queue(self.stream, block, parameters, extras, seed, start, device_out)
                device_to_host(block_out, device_out, block_out.nbytes, self.stream)
                self.stream.synchronize()
        return out


prediction_executor = lru_cache(maxsize=16)(PredictionExecutor)


def call_with_retry(function):
    """Call ``function()``; if the device is out of memory, release the cached buffers and call it once more.

    Raises
    ------
    DeviceError
        If the GPU fails.
    """
    try:
        with devices.driver_errors():
            return function()
    except devices.OutOfDeviceMemory:
        pass  # memory referenced by the traceback is freed only after this block
    except devices.DeviceError:
        release_cached()
        raise
    release_cached()
    with devices.driver_errors():
        return function()


def release_cached():
    """Release everything that is cached on the device."""
    for cached in (training_executor, prediction_executor, data.constant_from_bytes, data.no_weights):
        cached.cache_clear()
