"""Kernels over all parameters: updates from a gradient in memory, and copies of parameters in bfloat16."""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import from_bfloat16, to_bfloat16
from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.simt.block_sums import block_sum
from fastmlp.kernels.cuda.simt.parameters import limit_weight_norms
from fastmlp.kernels.cuda.simt.update import clipper, penalizer, update_function
from fastmlp.kernels.engine.partition import CLIP_NORM, COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS, MAX_NORM
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from .control import CORRECTION, HAS_WEIGHT, L1, L2, RATE
from .kernels import THREADS
from .layout import BIAS_PARTS

UPDATE_THREADS = 256
MIN_BLOCKS = {4: 3, 8: 2}  # per multiprocessor, by the dtype's itemsize
GROUP = 4  # parameters per thread and iteration, to keep many loads in flight


def layer_finder(layout):
    """locate(p) -> (layer, whether a weight) of a parameter."""
    locate = device(lambda p: (0, False))
    for level, block in enumerate(layout.blocks):
        locate = _with_layer(locate, level, block.start, block.start + block.fan_in * block.fan_out)
    return locate


def _with_layer(locate, level, start, bias):
    @device
    def extended(p):
        return (level, p < bias) if p >= start else locate(p)

    return extended


def bf16_writer(layout):
    """write_copies(p, value, bf16): write the bfloat16 copies of a parameter that products read."""
    write_copies = device(lambda p, value, bf16: None)
    for level in range(len(layout.blocks) if layout.bfloat16 else 0):
        write_copies = _with_layer_copy(write_copies, layout, level)
    return write_copies


def _with_layer_copy(write_copies, layout, level):
    block, bf16_at, fused = layout.blocks[level], layout.bf16_weights[level], layout.may_fuse(level)
    start, width, bias = block.start, block.fan_out, block.start + block.fan_in * block.fan_out
    stride = layout.bf16_stride(width)
    biases = bf16_at + block.fan_in * stride

    @device
    def extended(p, value, bf16):
        if p < start:
            write_copies(p, value, bf16)
        elif p < bias:
            bf16[bf16_at + (p - start) // width * stride + (p - start) % width] = to_bfloat16(value)
        elif fused:  # as three numbers that add up to it
            for part in range(BIAS_PARTS):
                part_value = to_bfloat16(value)
                bf16[biases + part * stride + p - bias] = part_value
                value -= from_bfloat16(part_value)

    return extended


def _group_update(layout, optimizer, dtype, complete):
    """update_group(first, stride, P, slots, gradient, bf16, factor, l2, l1, rate, correction, extras, options).

    Update GROUP parameters, ``stride`` apart, and return their penalty. All are loaded before any is stored. The
    gradient is multiplied by ``factor``; with ``complete`` it already includes penalties and decay.
    """
    update_parameter, penalized = update_function(optimizer, dtype), penalizer(dtype)
    write_copies, locate = bf16_writer(layout), layer_finder(layout)
    n, has_copies = layout.network.n_parameters, layout.bfloat16 and not layout.features.limited
    T, n_slots = dtype.type, len(OPTIMIZERS[optimizer].slots)
    SLOTS = max(n_slots, 1) * GROUP

    @device
    def update_group(first, stride, P, slots, gradient, bf16, factor, l2, l1, rate, correction, extras, options):
        w, g, slot_values = cuda.local.array(GROUP, T), cuda.local.array(GROUP, T), cuda.local.array(SLOTS, T)
        for i in range(GROUP):
            p = first + i * stride
            if p < n:
                w[i], g[i] = P[p], gradient[p]
                for slot in range(n_slots):
                    slot_values[slot * GROUP + i] = slots[slot * n + p]
        penalty = 0.0
        for i in range(GROUP):
            p = first + i * stride
            if p < n:
                level, decays = locate(p)
                g_i = g[i] * factor
                if decays and not complete:
                    more, g_i = penalized(g_i, w[i], l2, l1, extras[COUPLED_DECAY])
                    penalty += more
                factor_of_layer = extras[LAYERS + level * LAYER_EXTRAS + FACTOR]
                new = update_parameter(
                    i, g_i, decays, factor_of_layer, rate, correction, w, slot_values, GROUP, extras, options
                )
                P[p] = new
                for slot in range(n_slots):
                    slots[slot * n + p] = slot_values[slot * GROUP + i]
                if has_copies:
                    write_copies(p, new, bf16)
        return penalty

    return update_group


@cache
def update_kernel(layout, optimizer, dtype):
    """update(P, slots, gradient, bf16, control, scalars, sums, at, extras, options): a step, with the penalty of
    each block written to ``sums`` from element ``at``.

    If only the gradient is needed (``optimizer`` ""), or it is clipped, penalties and coupled decay are added to it in
    place and nothing is updated.
    """
    if not optimizer or layout.features.clipped:
        return _completing_kernel(layout, dtype)
    n_parameters, T = layout.network.n_parameters, dtype.type
    update_group = _group_update(layout, optimizer, dtype, complete=False)

    @cuda.jit(launch_bounds=(UPDATE_THREADS, MIN_BLOCKS[dtype.itemsize]))
    def update(P, slots, gradient, bf16, control, scalars, sums, at, extras, options):
        penalty, stride, n = 0.0, cuda.gridsize(1), n_parameters if control[HAS_WEIGHT] > 0 else 0
        rate, correction, l2, l1 = scalars[RATE], scalars[CORRECTION], scalars[L2], scalars[L1]
        for p in range(cuda.grid(1), n, GROUP * stride):
            penalty += update_group(
                p, stride, P, slots, gradient, bf16, T(1), l2, l1, rate, correction, extras, options
            )
        penalty = block_sum(penalty)
        if cuda.threadIdx.x == 0:
            sums[at + cuda.blockIdx.x] = penalty

    return update


def _completing_kernel(layout, dtype):
    """Complete the gradient with penalties and coupled decay; the arguments are those of ``update_kernel``."""
    n_parameters, locate, penalized = layout.network.n_parameters, layer_finder(layout), penalizer(dtype)

    @cuda.jit(launch_bounds=UPDATE_THREADS)
    def complete(P, slots, gradient, bf16, control, scalars, sums, at, extras, options):
        penalty, n = 0.0, n_parameters if control[HAS_WEIGHT] > 0 else 0
        l2, l1 = scalars[L2], scalars[L1]
        for p in range(cuda.grid(1), n, cuda.gridsize(1)):
            if locate(p)[1]:
                more, gradient[p] = penalized(gradient[p], P[p], l2, l1, extras[COUPLED_DECAY])
                penalty += more
        penalty = block_sum(penalty)
        if cuda.threadIdx.x == 0:
            sums[at + cuda.blockIdx.x] = penalty

    return complete


@cuda.jit(launch_bounds=THREADS)
def sum_squares(gradient, squares):
    """Write the sum of squares of each block."""
    total = 0.0
    for p in range(cuda.grid(1), gradient.size, cuda.gridsize(1)):
        total += float(gradient[p]) * float(gradient[p])
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        squares[cuda.blockIdx.x] = total


@cache
def clipped_update_kernel(layout, optimizer, dtype):
    """update(P, slots, gradient, bf16, control, scalars, squares, extras, options): a step with a clipped gradient."""
    scale_of, n_parameters = clipper(dtype), layout.network.n_parameters
    update_group = _group_update(layout, optimizer, dtype, complete=True)

    @cuda.jit(launch_bounds=(UPDATE_THREADS, MIN_BLOCKS[dtype.itemsize]))
    def update(P, slots, gradient, bf16, control, scalars, squares, extras, options):
        total = 0.0
        for block in range(cuda.threadIdx.x, squares.size, cuda.blockDim.x):
            total += squares[block]
        scale, n = scale_of(block_sum(total), extras[CLIP_NORM]), n_parameters if control[HAS_WEIGHT] > 0 else 0
        rate, correction, stride = scalars[RATE], scalars[CORRECTION], cuda.gridsize(1)
        for p in range(cuda.grid(1), n, GROUP * stride):
            update_group(p, stride, P, slots, gradient, bf16, scale, 0.0, 0.0, rate, correction, extras, options)

    return update


@cache
def limit_kernel(layout, dtype):
    """limit(P, control, extras): scale down the weights into each unit to the maximal norm."""
    limit_norms = limit_weight_norms(layout, dtype)

    @cuda.jit(launch_bounds=THREADS)
    def limit(P, control, extras):
        if control[HAS_WEIGHT] > 0:
            limit_norms(cuda.grid(1), cuda.gridsize(1), P, P, extras[MAX_NORM])

    return limit


@cache
def bf16_copies_kernel(layout):
    """copy_to_bf16(P, bf16): write the bfloat16 copies of all parameters that products read."""
    write_copies, n_parameters = bf16_writer(layout), layout.network.n_parameters

    @cuda.jit(launch_bounds=THREADS)
    def copy_to_bf16(P, bf16):
        for p in range(cuda.grid(1), n_parameters, cuda.gridsize(1)):
            write_copies(p, P[p], bf16)

    return copy_to_bf16
