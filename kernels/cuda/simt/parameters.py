"""What a step does to all parameters at once: transposes, bounds on norms, updates from a gradient that was kept."""

from math import sqrt

from numba import cuda

from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.engine.partition import CLIP_NORM

from . import gradient_sinks
from .block_sums import block_sum
from .network import total_of
from .update import clipper


def flip_weights(layout):
    """flip(t, n, P, transposed): the transposes that errors go down through, from the parameters."""

    def of_layer(level):
        block, flipped = layout.blocks[level], layout.flipped[level]
        start, fan_in, fan_out = block.start, block.fan_in, block.fan_out

        @device
        def flip(t, n, P, transposed):
            for item in range(t, fan_in * fan_out, n):
                transposed[flipped + item % fan_out * fan_in + item // fan_out] = P[start + item]
            return 0.0

        return flip

    return total_of([of_layer(level) for level in range(1, len(layout.blocks))])


def limit_norms(layout, dtype):
    """limit(t, n, P, transposed, bound): weights into a unit scaled down to a norm of at most ``bound``."""
    T = dtype.type

    def of_layer(level):
        block, flipped = layout.blocks[level], layout.flipped[level]
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
                        if flipped >= 0:
                            transposed[flipped + j * fan_in + k] *= scale
            return 0.0

        return limit

    return total_of([of_layer(level) for level in range(len(layout.blocks))])


def update_pass(layout, optimizer, dtype, barrier):
    """finish(...) after a gradient that was kept: its norm is bounded, then the parameters change."""
    if not optimizer:
        return device(lambda *given: None)
    levels, n_parameters = range(len(layout.blocks)), layout.network.n_parameters

    @device
    def fetch(p, fetched):
        gradient, scale = fetched
        return gradient[p] * scale

    applies = [gradient_sinks.apply(layout, level, optimizer, dtype) for level in levels]
    scale_of, update = (
        clipper(dtype),
        total_of([gradient_sinks.each_parameter(layout, i, fetch, applies[i]) for i in levels]),
    )

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
