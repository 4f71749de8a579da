"""The last layer of a batch: outputs, losses and dLoss/dz, a warp for each row, whose lanes take every 32nd output."""

from functools import cache
from math import inf

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
from fastmlp.kernels.cuda.rules import device, device_rule, rules_for
from fastmlp.kernels.cuda.simt.backward import row_share
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES, WARP, block_sum
from fastmlp.kernels.cuda.simt.forward import finisher
from fastmlp.kernels.cuda.simt.update import take_up_to_three
from fastmlp.kernels.rules.activations import softmax
from fastmlp.kernels.rules.elementary import exponential
from fastmlp.kernels.spec import activation_row, loss_row

from .control import FIRST, NOW, PLACE, SEED, TOTAL
from .kernels import THREADS


@device
def sum_of_lanes(value):
    distance = WARP // 2
    while distance > 0:
        value += cuda.shfl_xor_sync(ALL_LANES, value, distance)
        distance //= 2
    return value


@device
def largest_of_lanes(value):
    distance = WARP // 2
    while distance > 0:
        other = cuda.shfl_xor_sync(ALL_LANES, value, distance)
        value = other if other > value else value
        distance //= 2
    return value


def softmax_of_lanes(dtype):
    """normalize(lane, row, width, work): softmax of the ``width`` numbers from work[row] on."""
    T, e_to_the = dtype.type, rules_for(dtype)[exponential.__name__]

    @device
    def normalize(lane, row, width, work):
        top = T(-inf)
        for j in range(lane, width, WARP):
            top = work[row + j] if work[row + j] > top else top
        top, total = largest_of_lanes(top), T(0)
        for j in range(lane, width, WARP):
            e = e_to_the(work[row + j] - top)
            work[row + j] = e
            total += e
        scale = T(1) / sum_of_lanes(total)
        for j in range(lane, width, WARP):
            work[row + j] *= scale

    return normalize


def last_layer(layout, dtype):
    """finish(lane, r, first, place, P, work, order, extras, seed, now): outputs of a row in the place of x W."""
    level = len(layout.blocks) - 1
    finish_one, block, outputs = finisher(layout, level, dtype), layout.blocks[level], layout.outputs[-1]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    rowwise, normalize = layout.rowwise, softmax_of_lanes(dtype)

    @device
    def finish(lane, r, first, place, P, work, order, extras, seed, now):
        row = outputs + r * width
        for j in range(lane, width, WARP):
            finish_one(r, j, work[row + j] + P[bias + j], first, place, work, order, P, work, extras, seed, now)
        if rowwise:
            normalize(lane, row, width, work)

    return finish


def row_rule_is_known(network):
    """Whether the last layer's rule, if it sees whole rows, is the one that is written here."""
    row = activation_row(network.activations[-1])
    return not row.rowwise or row.function is softmax


@cache
def predictions_kernel(layout, dtype):
    """write(P, work, order, state, extras, out, at, rows): outputs of rows, into ``out`` from row ``at`` on."""
    finish, width, outputs = last_layer(layout, dtype), layout.network.sizes[-1], layout.outputs[-1]

    @cuda.jit(launch_bounds=THREADS)
    def write(P, work, order, state, extras, out, at, rows):
        lane = cuda.threadIdx.x % WARP
        first, place, seed, now = state[FIRST], state[PLACE], state[SEED], state[NOW]
        for r in range(cuda.grid(1) // WARP, rows, cuda.gridsize(1) // WARP):
            finish(lane, r, first, place, P, work, order, extras, seed, now)
            for j in range(lane, width, WARP):
                out[at + r, j] = work[outputs + r * width + j]

    return write


@cache
def head_kernel(layout, dtype):
    """head(P, y, sample_weight, work, halves, order, state, numbers, extras, loss_options, sums, rows).

    Outputs, and dLoss/dz; a share of the loss from each block goes to ``sums``.
    """
    network, last = layout.network, len(layout.blocks) - 1
    row, loss = activation_row(network.activations[-1]), loss_row(network.loss)
    width, outputs, deltas = network.sizes[-1], layout.outputs[-1], layout.deltas[-1]
    slopes, bends, linked, mean = layout.slopes[last], layout.bends[last], layout.linked, loss.mean
    rowwise, noted, bent = row.rowwise, slopes >= 0, bends >= 0
    derivative = None if rowwise else device_rule(row.derivative, dtype)
    value, error = device_rule(loss.function, dtype), device_rule(loss.derivative, dtype)
    take_options, share = take_up_to_three(len(loss.options)), row_share(layout, dtype)
    finish = last_layer(layout, dtype)
    half, stride, bfloat16 = layout.half_deltas[last], layout.half_stride(width), layout.bfloat16
    T, mixed = dtype.type, rowwise and not linked

    @cuda.jit(launch_bounds=THREADS)
    def head(P, y, sample_weight, work, halves, order, state, numbers, extras, loss_options, sums, rows):
        lane, lost = cuda.threadIdx.x % WARP, 0.0
        first, place, seed, now, total = state[FIRST], state[PLACE], state[SEED], state[NOW], numbers[TOTAL]
        options = take_options(loss_options, 0, 1)
        for r in range(cuda.grid(1) // WARP, rows, cuda.gridsize(1) // WARP):
            finish(lane, r, first, place, P, work, order, extras, seed, now)
            number, start = order[place + r], r * width
            weight, inner = share(sample_weight, number, total), T(0)
            if mean:
                weight /= T(width)
            for j in range(lane, width, WARP):
                a, target = work[outputs + start + j], y[number, j]
                lost += weight * value(a, target, *options)
                e = weight * error(a, target, *options)
                if mixed:
                    inner += a * e
                elif not linked:
                    if bent:
                        work[bends + start + j] *= e
                    e *= work[slopes + start + j] if noted else derivative(a)
                work[deltas + start + j] = e
            if mixed:
                inner = sum_of_lanes(inner)
                for j in range(lane, width, WARP):
                    work[deltas + start + j] = work[outputs + start + j] * (work[deltas + start + j] - inner)
            if bfloat16:
                for j in range(lane, width, WARP):
                    halves[half + r * stride + j] = to_bfloat16(work[deltas + start + j])
        lost = block_sum(lost)
        if cuda.threadIdx.x == 0:
            sums[cuda.blockIdx.x] = lost

    return head
