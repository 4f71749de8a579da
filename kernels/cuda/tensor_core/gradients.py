"""Gradients of weights, dLoss/dW = A^T D over a block's rows, in registers of the warps that share them in jobs."""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.intrinsics import fresh, ldmatrix_x4_t, mma_bf16, soff, unpack_bf16

from . import plan as fused_plan
from .layers import in_turn, inlined
from .loss import sum_of_quad


def gradient_jobs(plan):
    """(add, hand_over): add(g, sums, chip, warp, lane) after each tile; hand_over(g, sums, warp, lane, partial, at).

    ``g`` and ``sums`` are a thread's parts of gradients of weights and biases; in the end they go to ``partial``, laid
    out like the parameters, from ``at`` on.
    """
    tables = np.array(plan.jobs, np.int32).reshape(plan.rounds, -1)
    rounds = range(plan.rounds)
    return (
        in_turn([_adder(plan, tables[turn], turn) for turn in rounds]),
        in_turn([_giver(plan, tables[turn], turn) for turn in rounds]),
    )


def _adder(plan, table, turn):
    (m_tiles, n_tiles), warps, fields = plan.unit, plan.warps, fused_plan.JOB_FIELDS
    first_g, first_sum = turn * m_tiles * n_tiles * 4, turn * n_tiles
    inputs_at, inputs_stride, deltas_at, deltas_stride, bias_at = (
        fused_plan.INPUTS_AT, fused_plan.INPUTS_STRIDE, fused_plan.DELTAS_AT, fused_plan.DELTAS_STRIDE, fused_plan.BIAS,
    )  # fmt: skip
    n_words = n_tiles * 2

    @inlined
    def add(g, sums, chip, warp, lane):
        chip, warp, lane, jobs = fresh(chip), fresh(warp), fresh(lane), table
        job = warp * fields
        if jobs[job] >= 0:
            right = cuda.local.array(n_words, "uint32")
            column = lane // 8 % 2 * 8
            stride_a, stride_d = jobs[job + inputs_stride], jobs[job + deltas_stride]
            left_at = soff(chip, (lane % 8 + lane // 16 * 8) * stride_a + column + jobs[job + inputs_at])
            right_at = soff(chip, lane % 16 * stride_d + lane // 16 * 8 + jobs[job + deltas_at])
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

    return add


def _giver(plan, table, turn):
    (m_tiles, n_tiles), fields = plan.unit, fused_plan.JOB_FIELDS
    first_sum, columns_at, column_at, bias_at = (
        turn * n_tiles, fused_plan.FAN_OUT, fused_plan.COLUMN, fused_plan.BIAS,
    )  # fmt: skip
    weights = in_turn([_giver_of_weights(plan, table, turn, m) for m in range(m_tiles)])

    @inlined
    def give(g, sums, warp, lane, partial, at):
        weights(g, warp, lane, partial, at)
        warp, lane, jobs = fresh(warp), fresh(lane), table
        job = warp * fields
        bias = jobs[job + bias_at]
        for n in range(n_tiles):
            total = sum_of_quad(sums[first_sum + n])
            j = jobs[job + column_at] + n * 8 + lane // 4
            if bias >= 0 and lane % 4 == 0 and j < jobs[job + columns_at]:
                partial[at + bias + j] = total

    return give


def _giver_of_weights(plan, table, turn, m):
    """For one of a unit's m tiles: a loop over all is too long to be unrolled, and ``g`` to stay in registers."""
    (m_tiles, n_tiles), fields = plan.unit, fused_plan.JOB_FIELDS
    first_g, first_row = (turn * m_tiles + m) * n_tiles * 4, m * 16
    start_at, rows_at, columns_at, row_at, column_at = (
        fused_plan.START, fused_plan.FAN_IN, fused_plan.FAN_OUT, fused_plan.ROW, fused_plan.COLUMN,
    )  # fmt: skip

    @inlined
    def give(g, warp, lane, partial, at):
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

    return give
