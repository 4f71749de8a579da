"""Operations on all parameters: transposing weights, limiting norms, updating from a clipped gradient."""

from math import sqrt

from numba import cuda

from fastmlp.kernels.cuda.composition import device, sum_of
from fastmlp.kernels.engine.partition import CLIP_NORM

from . import gradient_consumers
from .block_sums import block_sum
from .update import clipper


def transpose_weights(layout):
    """transpose(t, n, P, transposed): write the transposed weights of all layers but the first."""

    def of_layer(level):
        block, transposed_at = layout.blocks[level], layout.transposed_at[level]
        start, fan_in, fan_out = block.start, block.fan_in, block.fan_out

        @device
        def transpose(t, n, P, transposed):
            for item in range(t, fan_in * fan_out, n):
                transposed[transposed_at + item % fan_out * fan_in + item // fan_out] = P[start + item]
            return 0.0

        return transpose

    return sum_of([of_layer(level) for level in range(1, len(layout.blocks))])


def limit_weight_norms(layout, dtype):
    """limit(t, n, P, transposed, bound): scale down the weights into each unit to a norm of at most ``bound``."""
    T = dtype.type

    def of_layer(level):
        block, transposed_at = layout.blocks[level], layout.transposed_at[level]
        start, fan_in, fan_out = block.start, block.fan_in, block.fan_out

        @device
        def limit(t, n, P, transposed, bound):
            for j in range(t, fan_out, n):
                squares = T(0)
                for k in range(fan_in):
                    squares += P[start + k * fan_out + j] * P[start + k * fan_out + j]
                norm = sqrt(float(squares))
                if norm > bound:
                    scale = T(bound / norm)
                    for k in range(fan_in):
                        P[start + k * fan_out + j] *= scale
                        if transposed_at >= 0:
                            transposed[transposed_at + j * fan_in + k] *= scale
            return 0.0

        return limit

    return sum_of([of_layer(level) for level in range(len(layout.blocks))])


def clipped_update_pass(layout, optimizer, dtype, barrier):
    """finish(...): clip the norm of the stored gradient, then update the parameters."""
    if not optimizer:
        return device(lambda *given: None)
    levels, n_parameters = range(len(layout.blocks)), layout.network.n_parameters

    @device
    def fetch(p, stored):
        gradient, scale = stored
        return gradient[p] * scale

    consumers = [gradient_consumers.apply_stored(layout, level, optimizer, dtype) for level in levels]
    scale_of = clipper(dtype)
    update = sum_of([gradient_consumers.each_parameter(layout, i, fetch, consumers[i]) for i in levels])

    @device
    def finish(t, n, sums, gradient, extras, given):
        squares = 0.0
        for p in range(t, n_parameters, n):
            squares += float(gradient[p]) * float(gradient[p])
        squares = block_sum(squares)
        if cuda.threadIdx.x == 0:
            sums[cuda.blockIdx.x] = squares
        barrier()
        squares = 0.0
        for block in range(cuda.gridDim.x):
            squares += sums[block]
        update(t, n, (gradient, scale_of(squares, extras[CLIP_NORM])), *given)

    return finish
