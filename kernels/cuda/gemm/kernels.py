"""Kernels between the products of a step: inputs of a batch, outputs of a layer, and the way back through it.

Threads share numbers in their order in memory, so that neighbours load side by side; ``rows`` is the number of rows of
the batch, and what else there is to know of it is in ``state`` and ``numbers``, see gemm/control.py. In mode bfloat16
each kernel also writes what the next product reads into ``halves``.
"""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import from_bfloat16, to_bfloat16
from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.cuda.simt.backward import settler
from fastmlp.kernels.cuda.simt.block_sums import WARP, block_sum
from fastmlp.kernels.cuda.simt.forward import disturbed_inputs, finisher

from .control import FIRST, NOW, PLACE, SEED, TOTAL

THREADS = 256
COLUMN_THREADS = 1024  # warps share the rows of 32 columns
PADDED = WARP + 1


@cache
def inputs_kernel(layout, dtype):
    """gather(X, work, halves, order, state, extras, rows): the inputs, with noise where that is asked for."""
    disturb, start, width = disturbed_inputs(layout, dtype), layout.inputs, layout.network.sizes[0]
    half, stride, bfloat16 = layout.half_outputs[0], layout.strides[0], layout.bfloat16
    disturbed, gathered, raw = layout.disturbed, layout.features.learning, layout.raw_inputs

    @cuda.jit(launch_bounds=THREADS)
    def gather(X, work, halves, order, state, extras, rows):
        t, n, place = cuda.grid(1), cuda.gridsize(1), state[PLACE]
        if disturbed:
            disturb(t, n, state[FIRST], rows, place, X, order, work, extras, state[SEED], state[NOW])
        for item in range(t, rows * width, n):
            r, j = item // width, item % width
            x = work[start + item] if disturbed else X[order[place + r] if gathered else place + r, j]
            if raw and not disturbed:
                work[start + item] = x
            if bfloat16:
                halves[half + r * stride + j] = to_bfloat16(x)

    return gather


@cache
def outputs_kernel(layout, level, dtype):
    """finish(P, work, halves, order, state, extras, rows): outputs of a hidden layer, in the place of x W."""
    finish_one, block, outputs = finisher(layout, level, dtype), layout.blocks[level], layout.outputs[level + 1]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    half, stride, bfloat16 = layout.half_outputs[level + 1], layout.strides[level + 1], layout.bfloat16

    @cuda.jit(launch_bounds=THREADS)
    def finish(P, work, halves, order, state, extras, rows):
        first, place, seed, now = state[FIRST], state[PLACE], state[SEED], state[NOW]
        for item in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
            r, j = item // width, item % width
            z = work[outputs + item] + P[bias + j]
            finish_one(r, j, z, first, place, work, order, P, work, extras, seed, now)
            if bfloat16:
                halves[half + r * stride + j] = to_bfloat16(work[outputs + item])

    return finish


@cache
def errors_kernel(layout, level, dtype):
    """settle(sample_weight, work, halves, order, state, numbers, extras, sums, at, rows): dLoss/dz of a hidden layer,
    in the place of what came down to it through weights. Its activity penalty goes to ``sums`` from ``at`` on."""
    width, deltas, active = layout.blocks[level].fan_out, layout.deltas[level], layout.features.activity
    one = settler(layout, level, dtype)
    half, stride, bfloat16 = layout.half_deltas[level], layout.half_stride(width), layout.bfloat16
    add = device(lambda item, error, work: error)
    for upper, weighted in layout.skips_from(level):
        add = add if weighted else _one_more(add, layout.deltas[upper])

    @cuda.jit(launch_bounds=THREADS)
    def settle(sample_weight, work, halves, order, state, numbers, extras, sums, at, rows):
        penalty, place, total = 0.0, state[PLACE], numbers[TOTAL]
        for item in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
            e = add(item, work[deltas + item], work)
            penalty += one(item, e, place + item // width, order, sample_weight, total, work, extras)
            if bfloat16:
                halves[half + item // width * stride + item % width] = to_bfloat16(work[deltas + item])
        if active:
            penalty = block_sum(penalty)
            if cuda.threadIdx.x == 0:
                sums[at + cuda.blockIdx.x] = penalty

    return settle


def _one_more(add, deltas):
    return device(lambda item, error, work: add(item, error, work) + work[deltas + item])


@cache
def columns_kernel(dtype, halves):
    """add_columns(source, start, stride, rows, width, to, at): to[at + j] is the sum of column j of a matrix, whose
    numbers are bfloat16 if it is of ``halves``. Blocks of COLUMN_THREADS take 32 columns each."""
    T, kind = dtype.type, str(dtype)

    @cuda.jit(launch_bounds=COLUMN_THREADS)
    def add_columns(source, start, stride, rows, width, to, at):
        parts = cuda.shared.array((WARP, PADDED), kind)
        warp, lane = cuda.threadIdx.x // WARP, cuda.threadIdx.x % WARP
        n_warps, j = cuda.blockDim.x // WARP, cuda.blockIdx.x * WARP + cuda.threadIdx.x % WARP
        total = T(0)
        if j < width:
            for r in range(warp, rows, n_warps):
                x = source[start + r * stride + j]
                total += from_bfloat16(x) if halves else x
        parts[warp, lane] = total
        cuda.syncthreads()
        if warp == 0 and j < width:
            total = T(0)
            for other in range(n_warps):
                total += parts[other, lane]
            to[at + j] = total

    return add_columns


@cuda.jit(launch_bounds=THREADS)
def add_all(source, width, to, at):
    """to[at] is the sum of ``width`` numbers: one block."""
    total = 0.0
    for j in range(cuda.threadIdx.x, width, cuda.blockDim.x):
        total += source[j]
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        to[at] = total
