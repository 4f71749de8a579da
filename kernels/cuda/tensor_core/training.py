"""Training of narrow networks in bf16, many steps in one launch: tiles of rows through all layers on the chip.

Weights are bf16 copies of float32 parameters, products are summed in float32. A block's gradients stay in registers
over all its tiles; blocks add theirs up through memory once a step, in a fixed order.

An estimate, from counts of instructions, of an H200 with 5 layers of 64 x 64: for 16 rows of a warp, 448 products take
tensor cores 720 cycles (mma.sync at 62 % of their peak), and ldmatrix, loads and stores take shared memory 1260, which
is the bound: 90 us for 2^18 rows if all else overlaps; with 4 layers 70 us. Layers of 128 x 128 are cut into three
segments, whose 1920 products take 3100 cycles and shared memory 4300: 300 us. Warps of 32 rows would halve most of it.
"""

from functools import cache

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.intrinsics import smem_addr
from fastmlp.kernels.cuda.simt.block_sums import add_up_blocks, add_up_steps, block_sum, sum_over_rows
from fastmlp.kernels.cuda.simt.update import clipper, rate_correction
from fastmlp.kernels.engine.partition import CLIP_NORM, LASSO

from .layers import in_turn
from .passes import all_passes
from .update import copier, gradient_sink, scaled_update


@cache
def fused_training_kernel(segments, optimizer, weighted, clipped):
    """The kernel for Segments and a row of OPTIMIZERS by name; "" leaves the last batch's gradient in ``gradient``.

    ``clipped``: the norm of gradients may be bounded. Cooperative launch, threads and bytes of shared memory as the
    segments say.

    Arguments: X (uint32, pairs of bf16: rows of segments.widths[0] numbers, flat), y (rows, outputs), sample_weight,
    order (int64, the rows of these steps), rates (float64: of each batch), corrections and totals (float64, room for
    one for each batch), P, slots (flat), gradient (room for n_parameters where it is used), copies (uint16, room for
    segments.n_copy), between (uint32, segments.words_between(rows of a batch)), partial (room for n_parameters for each
    block), sums (float64, two for each batch and block, and one for each block more), results (float64: sums of losses
    and penalties, updates made), extras, options, loss_options (float64), alpha, step and batch_size.
    """
    dtype = np.dtype("float32")
    make_passes, copy, scale_of = all_passes(segments, dtype, weighted), copier(segments), clipper(dtype)
    finish, correction_of = gradient_sink(segments, optimizer, dtype, clipped), rate_correction(optimizer)
    learns_later = clipped and bool(optimizer)
    update_later = scaled_update(segments, optimizer, dtype) if learns_later else in_turn([])
    threads, n_parameters = segments.threads, segments.n_parameters

    @cuda.jit(launch_bounds=threads)
    def train(X, y, sample_weight, order, rates, corrections, totals, P, slots, gradient, copies, between, partial,
              sums, results, extras, options, loss_options, alpha, step, batch_size):  # fmt: skip
        t, n = cuda.grid(1), cuda.gridsize(1)
        thread, blocks, this_block = cuda.threadIdx.x, cuda.gridDim.x, cuda.blockIdx.x
        n_batches = (order.size + batch_size - 1) // batch_size
        chip, biases = smem_addr(cuda.shared.array(0, "uint16", alignment=16), 0), cuda.shared.array(0, "float32")
        step += int(results[2])
        for b in range(this_block, n_batches, blocks):
            rows = min(batch_size, order.size - b * batch_size)
            total = sum_over_rows(sample_weight, order, b * batch_size, rows) if weighted else float(rows)
            if thread == 0:
                totals[b] = total
        for b in range(t, n_batches, n):
            corrections[b] = correction_of(step + b + 1, options)
        copy(t, n, P, copies)
        cuda.cg.this_grid().sync()
        updates = 0
        for b in range(n_batches):
            begin = b * batch_size
            rows = min(batch_size, order.size - begin)
            mine = (b * blocks + this_block) * 2
            total = totals[b]
            if total == 0:
                if thread == 0:
                    sums[mine] = sums[mine + 1] = 0.0
                continue
            lost = block_sum(make_passes(
                X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, chip, biases, thread,
                loss_options,
            ))  # fmt: skip
            cuda.cg.this_grid().sync()
            l2, l1 = alpha / total, extras[LASSO] / total
            penalty = block_sum(finish(
                t, n, partial, rates[b], corrections[updates], l2, l1, P, slots, gradient, copies, extras, options
            ))  # fmt: skip
            if thread == 0:
                sums[mine], sums[mine + 1] = lost, penalty
            cuda.cg.this_grid().sync()
            if learns_later:
                squares = 0.0
                for p in range(t, n_parameters, n):
                    squares += float(gradient[p]) * float(gradient[p])
                squares = block_sum(squares)
                if thread == 0:
                    sums[n_batches * blocks * 2 + this_block] = squares
                cuda.cg.this_grid().sync()
                squares = 0.0
                for block in range(blocks):
                    squares += sums[n_batches * blocks * 2 + block]
                scale = scale_of(squares, extras[CLIP_NORM])
                update_later(
                    t, n, scale, rates[b], corrections[updates], l2, l1, P, slots, gradient, copies, extras, options
                )
                cuda.cg.this_grid().sync()
            updates += 1
        cuda.cg.this_grid().sync()
        add_up_blocks(t, n, sums, n_batches, blocks)
        cuda.cg.this_grid().sync()
        if t == 0:
            add_up_steps(sums, n_batches, blocks, order.size, batch_size, results)
            results[2] += updates

    return train
