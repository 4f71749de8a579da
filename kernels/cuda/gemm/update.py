"""Kernels over all parameters: from a gradient in memory to new parameters, and to their bfloat16 copies."""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import from_bfloat16, to_bfloat16
from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.cuda.simt.block_sums import block_sum
from fastmlp.kernels.cuda.simt.parameters import limit_norms
from fastmlp.kernels.cuda.simt.update import clipper, learner, penalizer
from fastmlp.kernels.engine.partition import CLIP_NORM, COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS, MAX_NORM
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from .control import CORRECTION, COUNTS, L1, L2, RATE
from .kernels import THREADS
from .layout import BIAS_PARTS

UPDATE_THREADS = 256
UPDATE_BLOCKS = {4: 3, 8: 2}  # of a multiprocessor at least, by the size of numbers
GROUP = 4  # parameters that a thread takes at a time: many loads must be under way


def finder(layout):
    """where(p) -> (layer of weights, whether a weight) of a parameter."""
    where = device(lambda p: (0, False))
    for level, block in enumerate(layout.blocks):
        where = _one_more_layer(where, level, block.start, block.start + block.fan_in * block.fan_out)
    return where


def _one_more_layer(where, level, start, bias):
    @device
    def among_more(p):
        return (level, p < bias) if p >= start else where(p)

    return among_more


def rounder(layout):
    """put(p, value, halves): the copies of a parameter that products in bfloat16 read."""
    put = device(lambda p, value, halves: None)
    for level in range(len(layout.blocks) if layout.bfloat16 else 0):
        put = _one_more_copy(put, layout, level)
    return put


def _one_more_copy(put, layout, level):
    block, half, fused = layout.blocks[level], layout.half_weights[level], layout.may_fuse(level)
    start, width, bias = block.start, block.fan_out, block.start + block.fan_in * block.fan_out
    stride = layout.half_stride(width)
    biases = half + block.fan_in * stride

    @device
    def among_more(p, value, halves):
        if p < start:
            put(p, value, halves)
        elif p < bias:
            halves[half + (p - start) // width * stride + (p - start) % width] = to_bfloat16(value)
        elif fused:  # three numbers that add up to it
            for part in range(BIAS_PARTS):
                most = to_bfloat16(value)
                halves[biases + part * stride + p - bias] = most
                value -= from_bfloat16(most)

    return among_more


def _updater(layout, optimizer, dtype, kept):
    """change(first, stride, P, slots, gradient, halves, factor, l2, l1, rate, correction, extras, options) -> penalty.

    The update of GROUP parameters, ``stride`` apart, all of which are loaded before one is stored. The gradient is
    multiplied by ``factor``; where it was ``kept``, it is complete already.
    """
    learn, put, where, penalized = learner(optimizer, dtype), rounder(layout), finder(layout), penalizer(dtype)
    n, copies = layout.network.n_parameters, layout.bfloat16 and not layout.features.limited
    T, n_slots = dtype.type, len(OPTIMIZERS[optimizer].slots)
    SLOTS = max(n_slots, 1) * GROUP

    @device
    def change(first, stride, P, slots, gradient, halves, factor, l2, l1, rate, correction, extras, options):
        w, g, state = cuda.local.array(GROUP, T), cuda.local.array(GROUP, T), cuda.local.array(SLOTS, T)
        for i in range(GROUP):
            p = first + i * stride
            if p < n:
                w[i], g[i] = P[p], gradient[p]
                for slot in range(n_slots):
                    state[slot * GROUP + i] = slots[slot * n + p]
        penalty = 0.0
        for i in range(GROUP):
            p = first + i * stride
            if p < n:
                level, decays = where(p)
                slope = g[i] * factor
                if decays and not kept:
                    more, slope = penalized(slope, w[i], l2, l1, extras[COUPLED_DECAY])
                    penalty += more
                of_layer = extras[LAYERS + level * LAYER_EXTRAS + FACTOR]
                new = learn(i, slope, decays, of_layer, rate, correction, w, state, GROUP, extras, options)
                P[p] = new
                for slot in range(n_slots):
                    slots[slot * n + p] = state[slot * GROUP + i]
                if copies:
                    put(p, new, halves)
        return penalty

    return change


@cache
def update_kernel(layout, optimizer, dtype):
    """update(P, slots, gradient, halves, state, numbers, sums, at, extras, options): a step, its penalty to ``sums``
    from ``at`` on. A gradient that is asked for ("" for an optimizer) or clipped is only completed, in its place."""
    if not optimizer or layout.features.clipped:
        return _completing_kernel(layout, dtype)
    n_parameters, change, T = layout.network.n_parameters, _updater(layout, optimizer, dtype, False), dtype.type

    @cuda.jit(launch_bounds=(UPDATE_THREADS, UPDATE_BLOCKS[dtype.itemsize]))
    def update(P, slots, gradient, halves, state, numbers, sums, at, extras, options):
        penalty, stride, n = 0.0, cuda.gridsize(1), n_parameters if state[COUNTS] > 0 else 0
        rate, correction, l2, l1 = numbers[RATE], numbers[CORRECTION], numbers[L2], numbers[L1]
        for p in range(cuda.grid(1), n, GROUP * stride):
            penalty += change(p, stride, P, slots, gradient, halves, T(1), l2, l1, rate, correction, extras, options)
        penalty = block_sum(penalty)
        if cuda.threadIdx.x == 0:
            sums[at + cuda.blockIdx.x] = penalty

    return update


def _completing_kernel(layout, dtype):
    """The same up to the gradient of the loss, penalties and coupled decay included."""
    n_parameters, where, penalized = layout.network.n_parameters, finder(layout), penalizer(dtype)

    @cuda.jit(launch_bounds=UPDATE_THREADS)
    def complete(P, slots, gradient, halves, state, numbers, sums, at, extras, options):
        penalty, n = 0.0, n_parameters if state[COUNTS] > 0 else 0
        l2, l1 = numbers[L2], numbers[L1]
        for p in range(cuda.grid(1), n, cuda.gridsize(1)):
            if where(p)[1]:
                more, gradient[p] = penalized(gradient[p], P[p], l2, l1, extras[COUPLED_DECAY])
                penalty += more
        penalty = block_sum(penalty)
        if cuda.threadIdx.x == 0:
            sums[at + cuda.blockIdx.x] = penalty

    return complete


@cuda.jit(launch_bounds=THREADS)
def add_squares(gradient, squares):
    """A sum of squares for each block."""
    total = 0.0
    for p in range(cuda.grid(1), gradient.size, cuda.gridsize(1)):
        total += float(gradient[p]) * float(gradient[p])
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        squares[cuda.blockIdx.x] = total


@cache
def clipped_update_kernel(layout, optimizer, dtype):
    """update(P, slots, gradient, halves, state, numbers, squares, extras, options), with a norm that is bounded."""
    scale_of, n_parameters, change = (
        clipper(dtype),
        layout.network.n_parameters,
        _updater(layout, optimizer, dtype, True),
    )

    @cuda.jit(launch_bounds=(UPDATE_THREADS, UPDATE_BLOCKS[dtype.itemsize]))
    def update(P, slots, gradient, halves, state, numbers, squares, extras, options):
        total = 0.0
        for block in range(cuda.threadIdx.x, squares.size, cuda.blockDim.x):
            total += squares[block]
        scale, n = scale_of(block_sum(total), extras[CLIP_NORM]), n_parameters if state[COUNTS] > 0 else 0
        rate, correction, stride = numbers[RATE], numbers[CORRECTION], cuda.gridsize(1)
        for p in range(cuda.grid(1), n, GROUP * stride):
            change(p, stride, P, slots, gradient, halves, scale, 0.0, 0.0, rate, correction, extras, options)

    return update


@cache
def limit_kernel(layout, dtype):
    """limit(P, state, extras): norms of the weights into each unit are bounded."""
    limit_all = limit_norms(layout, dtype)

    @cuda.jit(launch_bounds=THREADS)
    def limit(P, state, extras):
        if state[COUNTS] > 0:
            limit_all(cuda.grid(1), cuda.gridsize(1), P, P, extras[MAX_NORM])

    return limit


@cache
def halve_kernel(layout):
    """halve(P, halves): copies of all parameters that products in bfloat16 read."""
    put, n_parameters = rounder(layout), layout.network.n_parameters

    @cuda.jit(launch_bounds=THREADS)
    def halve(P, halves):
        for p in range(cuda.grid(1), n_parameters, cuda.gridsize(1)):
            put(p, P[p], halves)

    return halve
