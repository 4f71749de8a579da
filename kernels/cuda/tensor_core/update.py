"""What the whole grid does between steps: gradients of blocks added up, parameters updated, their bf16 copies made.

A parameter's gradient is summed by four lanes, a quarter of the blocks each, and then over the four: always in the
same order.
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
from fastmlp.kernels.cuda.intrinsics import cp_async16, fresh, soff
from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES
from fastmlp.kernels.cuda.simt.network import total_of
from fastmlp.kernels.cuda.simt.update import learner, penalizer
from fastmlp.kernels.engine.partition import COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS

from .layers import in_turn, inlined

PER_WARP = 8  # parameters that a warp sums at a time: 32 bytes of each block's gradients


def copier(plan):
    """copy(t, n, P, copies): the padded bf16 copies of all weights, zeros included."""
    zero = np.uint16(0)

    def of_layer(layer):
        block, height, width, at = plan.blocks[layer], plan.widths[layer], plan.widths[layer + 1], plan.copies[layer]
        start, fan_in, fan_out = block.start, block.fan_in, block.fan_out

        @device
        def copy(t, n, P, copies):
            for item in range(t, height * width, n):
                row, j = item // width, item % width
                inside = row < fan_in and j < fan_out
                copies[at + item] = to_bfloat16(P[start + row * fan_out + j]) if inside else zero

        return copy

    return in_turn([of_layer(layer) for layer in range(plan.n_layers)])


def loader(plan, dtype):
    """load(t, chip, biases, P, copies): weights and biases into shared memory, by the ``threads`` of a block."""
    threads, zero = plan.threads, dtype.type(0)

    def of_layer(layer):
        block, height, width, at = plan.blocks[layer], plan.widths[layer], plan.widths[layer + 1], plan.copies[layer]
        weights, stride, bias = plan.weights[layer], plan.strides[layer + 1], plan.biases[layer]
        first, fan_out, chunks = block.start + block.fan_in * block.fan_out, block.fan_out, width // 8

        @inlined
        def load(t, chip, biases, P, copies):
            t, chip = fresh(t), fresh(chip)
            for item in range(t, height * chunks, threads):
                row, chunk = item // chunks, item % chunks
                cp_async16(soff(chip, weights + row * stride + chunk * 8), copies, at + item * 8)
            for j in range(t, width, threads):
                biases[bias + j] = P[first + j] if j < fan_out else zero

        return load

    return in_turn([of_layer(layer) for layer in plan.layers])


def gradient_sink(plan, optimizer, dtype, clipped):
    """finish(...) -> the thread's part of the penalty: what becomes of each parameter's summed gradient."""
    n_parameters, penalized = plan.n_parameters, penalizer(dtype)
    kept = clipped or not optimizer

    def of_layer(layer):
        write = None if kept else writer(plan, layer, optimizer, dtype)
        n_weights, start = plan.blocks[layer].fan_in * plan.blocks[layer].fan_out, plan.blocks[layer].start

        @device
        def keep(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
            gradient[start + i] = g

        put = keep if kept else write
        count = n_weights + plan.blocks[layer].fan_out

        @device
        def finish(t, n, partial, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
            t, penalty = fresh(t), 0.0
            lane = t % 32
            quarter, blocks = lane // PER_WARP, cuda.gridDim.x
            for first in range(t // 32 * PER_WARP, count, n // 32 * PER_WARP):
                i = first + lane % PER_WARP
                p = start + min(i, count - 1)
                g = dtype_zero
                for block in range(quarter, blocks, 4):
                    g += partial[block * n_parameters + p]
                g += cuda.shfl_xor_sync(ALL_LANES, g, PER_WARP)
                g += cuda.shfl_xor_sync(ALL_LANES, g, 2 * PER_WARP)
                if quarter == 0 and i < count:
                    if i < n_weights:
                        more, g = penalized(g, P[p], l2, l1, extras[COUPLED_DECAY])
                        penalty += more
                    put(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options)
            return penalty

        dtype_zero = dtype.type(0)
        return finish

    return total_of([of_layer(layer) for layer in range(plan.n_layers)])


def writer(plan, layer, optimizer, dtype):
    """write(i, g, ...): the update of number i of a layer's parameters, and its copy."""
    block, n_parameters, learn = plan.blocks[layer], plan.n_parameters, learner(optimizer, dtype)
    start, fan_out, n_weights = block.start, block.fan_out, block.fan_in * block.fan_out
    at, width, factor_at = plan.copies[layer], plan.widths[layer + 1], LAYERS + layer * LAYER_EXTRAS + FACTOR

    @device
    def write(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
        is_weight = i < n_weights
        new = learn(
            start + i, g, is_weight, extras[factor_at], rate, correction, P, slots, n_parameters, extras, options
        )
        if is_weight:
            copies[at + i // fan_out * width + i % fan_out] = to_bfloat16(new)

    return write


def scaled_update(plan, optimizer, dtype):
    """update(t, n, scale, ...): all updates from a gradient that was kept, times ``scale``."""

    def of_layer(layer):
        write, block = writer(plan, layer, optimizer, dtype), plan.blocks[layer]
        start, count = block.start, (block.fan_in + 1) * block.fan_out

        @device
        def update(t, n, scale, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
            t = fresh(t)
            for i in range(t, count, n):
                g = gradient[start + i] * scale
                write(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options)

        return update

    return in_turn([of_layer(layer) for layer in range(plan.n_layers)])
