"""Gradients of weights, dLoss/dW = A^T D over the rows of a block, accumulated in registers.

The work is cut into jobs, which are distributed over the warps (tensor_core/plan.py).
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.composition import chain, inlined
from fastmlp.kernels.cuda.intrinsics import fresh, ldmatrix_x4_t, mma_bf16, soff, unpack_bf16

from .loss import quad_sum
from .plan import (
    BIAS,
    COLUMN,
    DELTAS_AT,
    DELTAS_STRIDE,
    FAN_IN,
    FAN_OUT,
    INPUTS_AT,
    INPUTS_STRIDE,
    JOB_FIELDS,
    ROW,
    START,
)  # fmt: skip


def gradient_jobs(plan):
    """(accumulate(g, sums, smem, warp, lane), store_gradients(g, sums, warp, lane, partial, at)).

    The first is called after each tile, the second at the end. ``g`` and ``sums`` are a thread's parts of the gradients
    of weights and biases; they are written to ``partial``, laid out like the parameters, from element ``at``.
    """
    tables = np.array(plan.jobs, np.int32).reshape(plan.rounds, -1)
    rounds = range(plan.rounds)
    return (
        chain([_accumulator(plan, tables[turn], turn) for turn in rounds], inlined),
        chain([_storer(plan, tables[turn], turn) for turn in rounds], inlined),
    )


def _accumulator(plan, table, turn):
    (m_tiles, n_tiles), warps, fields = plan.unit, plan.warps, JOB_FIELDS
    first_g, first_sum = turn * m_tiles * n_tiles * 4, turn * n_tiles
    inputs_at, inputs_stride, deltas_at, deltas_stride, bias_at = (
        INPUTS_AT,
        INPUTS_STRIDE,
        DELTAS_AT,
        DELTAS_STRIDE,
        BIAS,
    )
    n_words = n_tiles * 2

    @inlined
    def accumulate(g, sums, smem, warp, lane):
        smem, warp, lane, jobs = fresh(smem), fresh(warp), fresh(lane), table
        job = warp * fields
        if jobs[job] >= 0:
            right = cuda.local.array(n_words, "uint32")
            column = lane // 8 % 2 * 8
            stride_a, stride_d = jobs[job + inputs_stride], jobs[job + deltas_stride]
            left_at = soff(smem, (lane % 8 + lane // 16 * 8) * stride_a + column + jobs[job + inputs_at])
            right_at = soff(smem, lane % 16 * stride_d + lane // 16 * 8 + jobs[job + deltas_at])
            biased = jobs[job + bias_at] >= 0
            for _ in range(warps):
                for n in range(0, n_tiles, 2):
                    q = n * 2
                    right[q], right[q + 1], right[q + 2], right[q + 3] = ldmatrix_x4_t(soff(right_at, n * 8))
                for m in range(m_tiles):
                    left = ldmatrix_x4_t(soff(left_at, m * 16))
                    for n in range(n_tiles):
                        q = first_g + (m * n_tiles + n) * 4
                        c = mma_bf16(left, right[n * 2], right[n * 2 + 1], (g[q], g[q + 1], g[q + 2], g[q + 3]))
                        g[q], g[q + 1], g[q + 2], g[q + 3] = c
                if biased:
                    for n in range(n_tiles):
                        low, high = unpack_bf16(right[n * 2])
                        low_2, high_2 = unpack_bf16(right[n * 2 + 1])
                        sums[first_sum + n] += (low + high) + (low_2 + high_2)
                left_at, right_at = soff(left_at, 16 * stride_a), soff(right_at, 16 * stride_d)

    return accumulate


def _storer(plan, table, turn):
    (m_tiles, n_tiles), fields = plan.unit, JOB_FIELDS
    first_sum, columns_at, column_at, bias_at = (
        turn * n_tiles, FAN_OUT, COLUMN, BIAS,
    )  # fmt: skip
    weights = chain([_weight_storer(plan, table, turn, m) for m in range(m_tiles)], inlined)

    @inlined
    def store(g, sums, warp, lane, partial, at):
        weights(g, warp, lane, partial, at)
        warp, lane, jobs = fresh(warp), fresh(lane), table
        job = warp * fields
        bias = jobs[job + bias_at]
        for n in range(n_tiles):
            total = quad_sum(sums[first_sum + n])
            j = jobs[job + column_at] + n * 8 + lane // 4
            if bias >= 0 and lane % 4 == 0 and j < jobs[job + columns_at]:
                partial[at + bias + j] = total

    return store


def _weight_storer(plan, table, turn, m):
    """Store one of a job's m tiles. A loop over all would be too long to unroll, and ``g`` would leave registers."""
    (m_tiles, n_tiles), fields = plan.unit, JOB_FIELDS
    first_g, first_row = (turn * m_tiles + m) * n_tiles * 4, m * 16
    start_at, rows_at, columns_at, row_at, column_at = (
        START, FAN_IN, FAN_OUT, ROW, COLUMN,
    )  # fmt: skip

    @inlined
    def store(g, warp, lane, partial, at):
        warp, lane, jobs = fresh(warp), fresh(lane), table
        job = warp * fields
        if jobs[job] >= 0:
            fan_in, fan_out = jobs[job + rows_at], jobs[job + columns_at]
            row, column = jobs[job + row_at] + first_row + lane // 4, jobs[job + column_at] + lane % 4 * 2
            to = at + jobs[job + start_at]
            for n in range(n_tiles):
                for i in range(4):
                    r, j = row + i // 2 * 8, column + n * 8 + i % 2
                    if r < fan_in and j < fan_out:
                        partial[to + r * fan_out + j] = g[first_g + n * 4 + i]

    return store
