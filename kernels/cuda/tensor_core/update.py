"""The update between steps, by the whole grid: sum the gradients of the blocks, update parameters and bfloat16 copies.

The gradient of a parameter is summed by four lanes, for a quarter of the blocks each, and then over the four lanes,
always in the same order.
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
from fastmlp.kernels.cuda.composition import chain, device, inlined, sum_of
from fastmlp.kernels.cuda.intrinsics import cp_async16, fresh, soff
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES
from fastmlp.kernels.cuda.simt.update import penalizer, update_function
from fastmlp.kernels.engine.partition import COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS

PER_WARP = 8  # parameters summed by a warp at a time: 32 bytes of each block's gradients


def copier(plan):
    """copy(t, n, P, copies): write the bfloat16 copies of all weights, padded with zeros."""
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

    return chain([of_layer(layer) for layer in range(plan.n_layers)], inlined)


def loader(plan, dtype):
    """load(t, smem, biases, P, copies): copy weights and biases to shared memory, by the threads of a block."""
    threads, zero = plan.threads, dtype.type(0)

    def of_layer(layer):
        block, height, width, at = plan.blocks[layer], plan.widths[layer], plan.widths[layer + 1], plan.copies[layer]
        weights, stride, bias = plan.weights[layer], plan.strides[layer + 1], plan.biases[layer]
        first, fan_out, chunks = block.start + block.fan_in * block.fan_out, block.fan_out, width // 8

        @inlined
        def load(t, smem, biases, P, copies):
            t, smem = fresh(t), fresh(smem)
            for item in range(t, height * chunks, threads):
                row, chunk = item // chunks, item % chunks
                cp_async16(soff(smem, weights + row * stride + chunk * 8), copies, at + item * 8)
            for j in range(t, width, threads):
                biases[bias + j] = P[first + j] if j < fan_out else zero

        return load

    return chain([of_layer(layer) for layer in plan.layers], inlined)


def gradient_consumer(plan, optimizer, dtype, clipped):
    """finish(...) -> the thread's part of the penalty. Sums each parameter's gradient and stores or applies it."""
    n_parameters, penalized = plan.n_parameters, penalizer(dtype)
    stores_gradient = clipped or not optimizer

    def of_layer(layer):
        write = None if stores_gradient else writer(plan, layer, optimizer, dtype)
        n_weights, start = plan.blocks[layer].fan_in * plan.blocks[layer].fan_out, plan.blocks[layer].start

        @device
        def store(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
            gradient[start + i] = g

        put = store if stores_gradient else write
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

    return sum_of([of_layer(layer) for layer in range(plan.n_layers)])


def writer(plan, layer, optimizer, dtype):
    """write(i, g, ...): update parameter i of a layer, and its copy."""
    block, n_parameters, update_parameter = plan.blocks[layer], plan.n_parameters, update_function(optimizer, dtype)
    start, fan_out, n_weights = block.start, block.fan_out, block.fan_in * block.fan_out
    at, width, factor_at = plan.copies[layer], plan.widths[layer + 1], LAYERS + layer * LAYER_EXTRAS + FACTOR

    @device
    def write(i, g, rate, correction, l2, l1, P, slots, gradient, copies, extras, options):
        is_weight = i < n_weights
        new = update_parameter(
            start + i, g, is_weight, extras[factor_at], rate, correction, P, slots, n_parameters, extras, options
        )
        if is_weight:
            copies[at + i // fan_out * width + i % fan_out] = to_bfloat16(new)

    return write


def scaled_update(plan, optimizer, dtype):
    """update(t, n, scale, ...): update all parameters from the stored gradient, times ``scale``."""

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

    return chain([of_layer(layer) for layer in range(plan.n_layers)], inlined)
