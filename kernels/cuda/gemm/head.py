"""The last layer of a batch: outputs, losses and dLoss/dz. One warp per row, each lane taking every 32nd output."""

from functools import cache
from math import inf

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.rules import device_rule, rules_for
from fastmlp.kernels.cuda.simt.backward import sample_share
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES, WARP, block_sum
from fastmlp.kernels.cuda.simt.forward import output_writer
from fastmlp.kernels.cuda.simt.update import loss_arguments
from fastmlp.kernels.rules.activations import softmax
from fastmlp.kernels.rules.elementary import exponential
from fastmlp.kernels.spec import activation_row, loss_row

from .control import FIRST_SAMPLE, POSITION, RANDOM_STEP, SEED, TOTAL
from .kernels import THREADS


@device
def warp_sum(value):
    distance = WARP // 2
    while distance > 0:
        value += cuda.shfl_xor_sync(ALL_LANES, value, distance)
        distance //= 2
    return value


@device
def warp_max(value):
    distance = WARP // 2
    while distance > 0:
        other = cuda.shfl_xor_sync(ALL_LANES, value, distance)
        value = other if other > value else value
        distance //= 2
    return value


def warp_softmax(dtype):
    """normalize(lane, row, width, work): softmax of the ``width`` elements from work[row], in place."""
    T, e_to_the = dtype.type, rules_for(dtype)[exponential.__name__]

    @device
    def normalize(lane, row, width, work):
        top = T(-inf)
        for j in range(lane, width, WARP):
            top = work[row + j] if work[row + j] > top else top
        top, total = warp_max(top), T(0)
        for j in range(lane, width, WARP):
            e = e_to_the(work[row + j] - top)
            work[row + j] = e
            total += e
        scale = T(1) / warp_sum(total)
        for j in range(lane, width, WARP):
            work[row + j] *= scale

    return normalize


def last_layer(layout, dtype):
    """write_outputs(lane, r, first, position, P, work, order, extras, seed, step): replace x W by outputs, in a row."""
    level = len(layout.blocks) - 1
    write_output, block, outputs = output_writer(layout, level, dtype), layout.blocks[level], layout.outputs[-1]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    rowwise, normalize = layout.rowwise, warp_softmax(dtype)

    @device
    def write_outputs(lane, r, first, position, P, work, order, extras, seed, step):
        row = outputs + r * width
        for j in range(lane, width, WARP):
            write_output(r, j, work[row + j] + P[bias + j], first, position, work, order, P, work, extras, seed, step)
        if rowwise:
            normalize(lane, row, width, work)

    return write_outputs


def supports_output_activation(network):
    """Whether the activation of the last layer is elementwise or softmax."""
    row = activation_row(network.activations[-1])
    return not row.rowwise or row.function is softmax


@cache
def predictions_kernel(layout, dtype):
    """write(P, work, order, control, extras, out, at, rows): outputs of rows, to ``out`` from row ``at``."""
    write_outputs, width, outputs = last_layer(layout, dtype), layout.network.sizes[-1], layout.outputs[-1]

    @cuda.jit(launch_bounds=THREADS)
    def write(P, work, order, control, extras, out, at, rows):
        lane = cuda.threadIdx.x % WARP
        first, position, seed, step = control[FIRST_SAMPLE], control[POSITION], control[SEED], control[RANDOM_STEP]
        for r in range(cuda.grid(1) // WARP, rows, cuda.gridsize(1) // WARP):
            write_outputs(lane, r, first, position, P, work, order, extras, seed, step)
            for j in range(lane, width, WARP):
                out[at + r, j] = work[outputs + r * width + j]

    return write


@cache
def head_kernel(layout, dtype):
    """head(P, y, sample_weight, work, bf16, order, control, scalars, extras, loss_options, sums, rows).

    Writes outputs and dLoss/dz; the loss of each block is written to ``sums``.
    """
    network, last = layout.network, len(layout.blocks) - 1
    row, loss = activation_row(network.activations[-1]), loss_row(network.loss)
    width, outputs, deltas = network.sizes[-1], layout.outputs[-1], layout.deltas[-1]
    derivatives, slope_gradients = layout.derivatives[last], layout.slope_gradients[last]
    linked, mean = layout.linked, loss.mean
    rowwise, saved, has_slope = row.rowwise, derivatives >= 0, slope_gradients >= 0
    derivative = None if rowwise else device_rule(row.derivative, dtype)
    value, error = device_rule(loss.function, dtype), device_rule(loss.derivative, dtype)
    take_options, share = loss_arguments(network), sample_share(layout, dtype)
    write_outputs = last_layer(layout, dtype)
    bf16_at, stride, bfloat16 = layout.bf16_deltas[last], layout.bf16_stride(width), layout.bfloat16
    T, mixed = dtype.type, rowwise and not linked

    @cuda.jit(launch_bounds=THREADS)
    def head(P, y, sample_weight, work, bf16, order, control, scalars, extras, loss_options, sums, rows):
        lane, loss_sum = cuda.threadIdx.x % WARP, 0.0
        first, position, seed, step = control[FIRST_SAMPLE], control[POSITION], control[SEED], control[RANDOM_STEP]
        total = scalars[TOTAL]
        options = take_options(loss_options)
        for r in range(cuda.grid(1) // WARP, rows, cuda.gridsize(1) // WARP):
            write_outputs(lane, r, first, position, P, work, order, extras, seed, step)
            number, start = order[position + r], r * width
            weight, inner = share(sample_weight, number, total), T(0)
            if mean:
                weight /= T(width)
            for j in range(lane, width, WARP):
                a, target = work[outputs + start + j], y[number, j]
                loss_sum += weight * value(a, target, *options)
                e = weight * error(a, target, *options)
                if mixed:
                    inner += a * e
                elif not linked:
                    if has_slope:
                        work[slope_gradients + start + j] *= e
                    e *= work[derivatives + start + j] if saved else derivative(a)
                work[deltas + start + j] = e
            if mixed:
                inner = warp_sum(inner)
                for j in range(lane, width, WARP):
                    work[deltas + start + j] = work[outputs + start + j] * (work[deltas + start + j] - inner)
            if bfloat16:
                for j in range(lane, width, WARP):
                    bf16[bf16_at + r * stride + j] = to_bfloat16(work[deltas + start + j])
        loss_sum = block_sum(loss_sum)
        if cuda.threadIdx.x == 0:
            sums[cuda.blockIdx.x] = loss_sum

    return head
