"""Training strategies behind one method: ``queue(stream, batches, rates, state, settings)``.

It queues the training steps for Batches on the device, with the learning rates of their batches in a host array, and
changes the arrays of a State. The arrays are described in simt/training_kernel.py.
"""

import weakref

import numpy as np
from numba import cuda

from . import data
from .dispatch import BLOCK, GEMM, TENSOR_CORE, TILES
from .gemm.products import Products
from .gemm.training import GemmTraining
from .launch import PreparedKernel, grid_size, launch
from .simt.training_kernel import training_kernel
from .tensor_core.rows import CONVERTING_THREADS, convert_rows
from .tensor_core.training import tensor_core_training_kernel
from .transfers import GrowingBuffer

STEPS_PER_LAUNCH = 4096
make_products, GRAPHS = Products, True  # replaced in the simulator


def training_strategy(config, optimizer, features, dtype):
    """Return the strategy of a LaunchConfig, with its workspace."""
    if config.strategy == GEMM:
        return GemmTraining(config.layout, optimizer, dtype, make_products(), GRAPHS)
    if config.strategy == TENSOR_CORE:
        return TensorCoreTraining(config, optimizer, features)
    return SimtTraining(config, optimizer, dtype)


def empty(size, dtype):
    return cuda.device_array(max(size, 1), dtype)


def split_into_launches(order, rates, batch_size):
    """Yield (order, rates on the device, number of steps) for each launch."""
    n_batches = len(rates)
    for first in range(0, n_batches, STEPS_PER_LAUNCH):
        last = min(first + STEPS_PER_LAUNCH, n_batches)
        part = order if last - first == n_batches else order[first * batch_size : last * batch_size]
        yield part, data.constant(rates[first:last]), last - first


class SimtTraining:
    """BLOCK, GRID and TILES: float32 or float64 without tensor cores."""

    def __init__(self, config, optimizer, dtype):
        layout, n, strategy, blocks = config.layout, config.layout.network.n_parameters, config.strategy, config.blocks
        kernel = training_kernel(layout, optimizer, dtype, strategy, config.in_shared, config.threads)
        self.kernel = PreparedKernel(kernel, config.threads, config.shared_bytes, blocks, strategy != BLOCK)
        n_work = 0 if config.in_shared else (layout.size + n) * blocks if strategy == TILES else layout.size
        self.transposed, self.work = empty(layout.n_transposed, dtype), empty(n_work, dtype)
        self.partial, self.blocks = empty(n * blocks if strategy == TILES else 0, dtype), blocks
        self.corrections, self.sums = GrowingBuffer(np.float64), GrowingBuffer(np.float64)

    def queue(self, stream, batches, rates, state, settings):
        X, y, order, batch_size, weight = batches
        extras, options, loss_options, alpha, seed, step = settings
        for part, part_rates, n_steps in split_into_launches(order, rates, batch_size):
            corrections = self.corrections.reserve(n_steps)
            sums = self.sums.reserve((2 * n_steps + 1) * self.blocks)
            self.kernel(
                stream, X, y, weight, part, part_rates, corrections, state.parameters, state.slots, state.gradient,
                self.transposed, self.work, self.partial, sums, state.results, extras, options, loss_options, alpha,
                seed, step, batch_size,
            )  # fmt: skip


class BFloat16Cache:
    """X in bfloat16 as the tensor core kernels read it, converted once and kept as long as X exists."""

    def __init__(self, width):
        self.width, self.source, self.bf16 = width, lambda: None, None

    def convert(self, X, stream):
        if X is not self.source():
            self.bf16 = None  # free its memory for the next one
            bf16 = cuda.device_array((X.shape[0], self.width), np.uint16)
            blocks = grid_size(bf16.size, CONVERTING_THREADS)
            launch(convert_rows, blocks, CONVERTING_THREADS, stream, 0, X, bf16)
            self.bf16 = bf16.reshape(bf16.size).view(np.uint32)
            self.source = weakref.ref(X, self._clear)
        return self.bf16

    def _clear(self, source):
        self.bf16 = None


class TensorCoreTraining:
    """TENSOR_CORE: narrow networks in bfloat16."""

    def __init__(self, config, optimizer, features):
        segments, n = config.layout, config.layout.network.n_parameters
        kernel = tensor_core_training_kernel(segments, optimizer, features.weighted, features.clipped)
        self.kernel = PreparedKernel(kernel, config.threads, config.shared_bytes, config.blocks, True)
        self.X, self.copies = BFloat16Cache(segments.widths[0]), empty(segments.n_copy, np.uint16)
        self.segments, self.between = segments, GrowingBuffer(np.uint32)
        self.partial, self.blocks = empty(n * config.blocks, np.float32), config.blocks
        self.corrections, self.totals, self.sums = (GrowingBuffer(np.float64) for _ in range(3))

    def queue(self, stream, batches, rates, state, settings):
        X, y, order, batch_size, weight = batches
        extras, options, loss_options, alpha, _, step = settings
        X = self.X.convert(X, stream)
        between = self.between.reserve(self.segments.words_between(min(batch_size, order.size)))
        for part, part_rates, n_steps in split_into_launches(order, rates, batch_size):
            corrections, totals = self.corrections.reserve(n_steps), self.totals.reserve(n_steps)
            sums = self.sums.reserve((2 * n_steps + 1) * self.blocks)
            self.kernel(
                stream, X, y, weight, part, part_rates, corrections, totals, state.parameters, state.slots,
                state.gradient, self.copies, between, self.partial, sums, state.results, extras, options,
                loss_options, alpha, step, batch_size,
            )  # fmt: skip
