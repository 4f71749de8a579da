"""Ways to make steps, behind one method, ``queue``.

All arrays are the device's but ``rates``, the learning rates of the batches; what they hold, simt/training_kernel.py
says.
"""

import weakref

import numpy as np
from numba import cuda

from . import data
from .dispatch import BLOCK, FUSED, TILES, WIDE
from .gemm.products import Products
from .gemm.training import WideTraining
from .launch import Prepared, launch
from .primitives import blocks
from .simt.training_kernel import training_kernel
from .tensor_core.rows import CONVERTING_THREADS, convert_rows
from .tensor_core.training import fused_training_kernel
from .transfers import Room

STEPS_PER_LAUNCH = 4096
make_products, GRAPHS = Products, True  # but in a simulator


def steps_for(how, optimizer, features, dtype):
    """The way of a Launch, with its working memory."""
    if how.way == WIDE:
        return WideSteps(how, optimizer, dtype)
    return FusedSteps(how, optimizer, features) if how.way == FUSED else PersistentSteps(how, optimizer, dtype)


def empty(size, dtype):
    return cuda.device_array(max(size, 1), dtype)


def in_launches(order, rates, batch_size):
    """(order, rates on the device, number of steps) of each launch."""
    n_batches = len(rates)
    for first in range(0, n_batches, STEPS_PER_LAUNCH):
        last = min(first + STEPS_PER_LAUNCH, n_batches)
        part = order if last - first == n_batches else order[first * batch_size : last * batch_size]
        yield part, data.constant(rates[first:last]), last - first


class PersistentSteps:
    """By phases or by tiles, in float32 or float64."""

    def __init__(self, how, optimizer, dtype):
        layout, n = how.layout, how.layout.network.n_parameters
        kernel = training_kernel(layout, optimizer, dtype, how.way, how.on_chip, how.threads)
        self.kernel = Prepared(kernel, how.threads, how.shared_bytes, how.blocks, how.way != BLOCK)
        n_work = 0 if how.on_chip else (layout.size + n) * how.blocks if how.way == TILES else layout.size
        self.transposed, self.work = empty(layout.n_flipped, dtype), empty(n_work, dtype)
        self.partial, self.blocks = empty(n * how.blocks if how.way == TILES else 0, dtype), how.blocks
        self.corrections, self.sums = Room(np.float64), Room(np.float64)

    def queue(
        self, stream, X, y, sample_weight, order, rates, batch_size, parameters, slots, gradient, results, extras,
        options, loss_options, alpha, seed, step,
    ):  # fmt: skip
        for part, rates_there, n_steps in in_launches(order, rates, batch_size):
            corrections, sums = self.corrections.of(n_steps), self.sums.of((2 * n_steps + 1) * self.blocks)
            self.kernel(
                stream, X, y, sample_weight, part, rates_there, corrections, parameters, slots, gradient,
                self.transposed, self.work, self.partial, sums, results, extras, options, loss_options, alpha, seed,
                step, batch_size,
            )  # fmt: skip


class BFloat16Rows:
    """Rows as the fused kernels take them, made once for rows that stay, and no longer kept than those."""

    def __init__(self, width):
        self.width, self.source, self.halves = width, lambda: None, None

    def of(self, X, stream):
        if X is not self.source():
            self.halves = None  # room for the next
            halves = cuda.device_array((X.shape[0], self.width), np.uint16)
            launch(convert_rows, blocks(halves.size), CONVERTING_THREADS, stream, 0, X, halves)
            self.halves = halves.reshape(halves.size).view(np.uint32)
            self.source = weakref.ref(X, self._drop)
        return self.halves

    def _drop(self, source):
        self.halves = None


class FusedSteps:
    """On tensor cores, for narrow networks."""

    def __init__(self, how, optimizer, features):
        segments, n = how.layout, how.layout.network.n_parameters
        kernel = fused_training_kernel(segments, optimizer, features.weighted, features.clipped)
        self.kernel = Prepared(kernel, how.threads, how.shared_bytes, how.blocks, True)
        self.rows, self.copies = BFloat16Rows(segments.widths[0]), empty(segments.n_copy, np.uint16)
        self.segments, self.between = segments, Room(np.uint32)
        self.partial, self.blocks = empty(n * how.blocks, np.float32), how.blocks
        self.corrections, self.totals, self.sums = (Room(np.float64) for _ in range(3))

    def queue(
        self, stream, X, y, sample_weight, order, rates, batch_size, parameters, slots, gradient, results, extras,
        options, loss_options, alpha, seed, step,
    ):  # fmt: skip
        X = self.rows.of(X, stream)
        between = self.between.of(self.segments.words_between(min(batch_size, order.size)))
        for part, rates_there, n_steps in in_launches(order, rates, batch_size):
            corrections, totals = self.corrections.of(n_steps), self.totals.of(n_steps)
            sums = self.sums.of((2 * n_steps + 1) * self.blocks)
            self.kernel(
                stream, X, y, sample_weight, part, rates_there, corrections, totals, parameters, slots, gradient,
                self.copies, between, self.partial, sums, results, extras, options, loss_options, alpha, step,
                batch_size,
            )  # fmt: skip


class WideSteps:
    """Layers as products of matrices."""

    def __init__(self, how, optimizer, dtype):
        self.training = WideTraining(how.layout, optimizer, dtype, make_products(), GRAPHS)

    def queue(
        self, stream, X, y, sample_weight, order, rates, batch_size, parameters, slots, gradient, results, extras,
        options, loss_options, alpha, seed, step,
    ):  # fmt: skip
        self.training.run(
            stream, X, y, sample_weight, order, data.constant(rates), parameters, slots, gradient, results, extras,
            options, loss_options, alpha, seed, step,
        )  # fmt: skip
