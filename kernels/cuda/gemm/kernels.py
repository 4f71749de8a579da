"""Kernels between the matrix products of a step: inputs of a batch, outputs and errors of hidden layers, column sums.

Neighbouring threads process neighbouring elements. ``rows`` is the number of rows of the batch; ``control`` and
``scalars`` are described in gemm/control.py. In mode bfloat16 each kernel also writes the operand of the next product
to ``bf16``.
"""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import from_bfloat16, to_bfloat16
from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.simt.backward import error_writer
from fastmlp.kernels.cuda.simt.block_sums import WARP, block_sum
from fastmlp.kernels.cuda.simt.forward import noisy_inputs, output_writer

from .control import FIRST_SAMPLE, POSITION, RANDOM_STEP, SEED, TOTAL

THREADS = 256
COLUMN_THREADS = 1024  # the warps of a block share the rows of 32 columns
PADDED = WARP + 1


@cache
def inputs_kernel(layout, dtype):
    """gather(X, work, bf16, order, control, extras, rows): the inputs of a batch, with noise if there is any."""
    add_noise, start, width = noisy_inputs(layout, dtype), layout.inputs, layout.network.sizes[0]
    bf16_at, stride, bfloat16 = layout.bf16_outputs[0], layout.strides[0], layout.bfloat16
    has_input_noise, gathered, raw = layout.has_input_noise, layout.features.training, layout.raw_inputs

    @cuda.jit(launch_bounds=THREADS)
    def gather(X, work, bf16, order, control, extras, rows):
        t, n, position = cuda.grid(1), cuda.gridsize(1), control[POSITION]
        if has_input_noise:
            first, seed, step = control[FIRST_SAMPLE], control[SEED], control[RANDOM_STEP]
            add_noise(t, n, first, rows, position, X, order, work, extras, seed, step)
        for item in range(t, rows * width, n):
            r, j = item // width, item % width
            x = work[start + item] if has_input_noise else X[order[position + r] if gathered else position + r, j]
            if raw and not has_input_noise:
                work[start + item] = x
            if bfloat16:
                bf16[bf16_at + r * stride + j] = to_bfloat16(x)

    return gather


@cache
def outputs_kernel(layout, level, dtype):
    """write_outputs(P, work, bf16, order, control, extras, rows): replace x W by the outputs of a hidden layer."""
    write_output, block, outputs = output_writer(layout, level, dtype), layout.blocks[level], layout.outputs[level + 1]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    bf16_at, stride, bfloat16 = layout.bf16_outputs[level + 1], layout.strides[level + 1], layout.bfloat16

    @cuda.jit(launch_bounds=THREADS)
    def write_outputs(P, work, bf16, order, control, extras, rows):
        first, position, seed, step = control[FIRST_SAMPLE], control[POSITION], control[SEED], control[RANDOM_STEP]
        for item in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
            r, j = item // width, item % width
            z = work[outputs + item] + P[bias + j]
            write_output(r, j, z, first, position, work, order, P, work, extras, seed, step)
            if bfloat16:
                bf16[bf16_at + r * stride + j] = to_bfloat16(work[outputs + item])

    return write_outputs


@cache
def errors_kernel(layout, level, dtype):
    """write_errors(sample_weight, work, bf16, order, control, scalars, extras, sums, at, rows).

    Replaces the errors that came through weights by dLoss/dz of a hidden layer. The activity penalty of each block is
    written to ``sums``, from element ``at``.
    """
    width, deltas, active = layout.blocks[level].fan_out, layout.deltas[level], layout.features.activity
    write_error = error_writer(layout, level, dtype)
    bf16_at, stride, bfloat16 = layout.bf16_deltas[level], layout.bf16_stride(width), layout.bfloat16
    add = device(lambda item, error, work: error)
    for upper, weighted in layout.skips_from(level):
        add = add if weighted else _add_skip(add, layout.deltas[upper])

    @cuda.jit(launch_bounds=THREADS)
    def write_errors(sample_weight, work, bf16, order, control, scalars, extras, sums, at, rows):
        penalty, position, total = 0.0, control[POSITION], scalars[TOTAL]
        for item in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
            e = add(item, work[deltas + item], work)
            penalty += write_error(item, e, position + item // width, order, sample_weight, total, work, extras)
            if bfloat16:
                bf16[bf16_at + item // width * stride + item % width] = to_bfloat16(work[deltas + item])
        if active:
            penalty = block_sum(penalty)
            if cuda.threadIdx.x == 0:
                sums[at + cuda.blockIdx.x] = penalty

    return write_errors


def _add_skip(add, deltas):
    return device(lambda item, error, work: add(item, error, work) + work[deltas + item])


@cache
def column_sums_kernel(dtype, bf16):
    """sum_columns(source, start, stride, rows, width, to, at): write the sum of column j of a matrix to to[at + j].

    ``bf16``: whether the matrix is in bfloat16. Each block of COLUMN_THREADS sums 32 columns.
    """
    T, kind = dtype.type, str(dtype)

    @cuda.jit(launch_bounds=COLUMN_THREADS)
    def sum_columns(source, start, stride, rows, width, to, at):
        parts = cuda.shared.array((WARP, PADDED), kind)
        warp, lane = cuda.threadIdx.x // WARP, cuda.threadIdx.x % WARP
        n_warps, j = cuda.blockDim.x // WARP, cuda.blockIdx.x * WARP + cuda.threadIdx.x % WARP
        total = T(0)
        if j < width:
            for r in range(warp, rows, n_warps):
                x = source[start + r * stride + j]
                total += from_bfloat16(x) if bf16 else x
        parts[warp, lane] = total
        cuda.syncthreads()
        if warp == 0 and j < width:
            total = T(0)
            for other in range(n_warps):
                total += parts[other, lane]
            to[at + j] = total

    return sum_columns


@cuda.jit(launch_bounds=THREADS)
def sum_all(source, width, to, at):
    """Write the sum of ``width`` elements to to[at]; launched with one block."""
    total = 0.0
    for j in range(cuda.threadIdx.x, width, cuda.blockDim.x):
        total += source[j]
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        to[at] = total
