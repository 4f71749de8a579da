"""Training of narrow networks in bfloat16, many steps per launch: tiles of rows through all layers in shared memory.

Weights are bfloat16 copies of float32 parameters; products are accumulated in float32. The gradients of a block stay in
registers over all its tiles; the blocks sum theirs through global memory once per step, in a fixed order.

Estimate for an H200, from instruction counts, with 5 layers of 64 x 64: for the 16 rows of a warp, 448 products take
720 tensor core cycles (mma.sync at 62 % of the peak), and ldmatrix, loads and stores take 1260 cycles of shared memory,
which is the limit: 90 us for 2^18 rows if everything else overlaps; with 4 layers 70 us. Layers of 128 x 128 are split
into three segments, whose 1920 products take 3100 cycles, and shared memory 4300: 300 us. Warps with 32 rows would need
about half of that.
"""

from functools import cache

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.composition import chain, inlined
from fastmlp.kernels.cuda.intrinsics import smem_addr
from fastmlp.kernels.cuda.simt.block_sums import accumulate_results, block_sum, sum_over_blocks, sum_over_samples
from fastmlp.kernels.cuda.simt.update import clipper, rate_correction
from fastmlp.kernels.engine.partition import CLIP_NORM, LASSO

from .segment_passes import segment_passes
from .update import copier, gradient_consumer, scaled_update


@cache
def tensor_core_training_kernel(segments, optimizer, weighted, clipped):
    """Return the kernel for Segments and a row of OPTIMIZERS by name; "" writes the gradient of the last batch only.

    ``clipped``: the norm of gradients is clipped. Cooperative launch, with the threads and the shared memory of the
    segments.

    Arguments: X (uint32, pairs of bfloat16: rows of segments.widths[0] elements, flat), y (rows, outputs),
    sample_weight, order (int64, the samples of these steps), rates (float64: of each batch), corrections and totals
    (float64, workspace for one per batch), P, slots (flat), gradient (n_parameters where it is used), copies (uint16,
    segments.n_copy), between (uint32, segments.words_between(rows of a batch)), partial (n_parameters per block), sums
    (float64, two per batch and block, and one more per block), results (float64: sums of losses and penalties, updates
    made), extras, options, loss_options (float64), alpha, step and batch_size.
    """
    dtype = np.dtype("float32")
    run_passes, copy, scale_of = segment_passes(segments, dtype, weighted), copier(segments), clipper(dtype)
    finish, correction_of = gradient_consumer(segments, optimizer, dtype, clipped), rate_correction(optimizer)
    updates_later = clipped and bool(optimizer)
    update_later = scaled_update(segments, optimizer, dtype) if updates_later else chain([], inlined)
    threads, n_parameters = segments.threads, segments.n_parameters

    @cuda.jit(launch_bounds=threads)
    def train(X, y, sample_weight, order, rates, corrections, totals, P, slots, gradient, copies, between, partial,
              sums, results, extras, options, loss_options, alpha, step, batch_size):  # fmt: skip
        t, n = cuda.grid(1), cuda.gridsize(1)
        thread, blocks, this_block = cuda.threadIdx.x, cuda.gridDim.x, cuda.blockIdx.x
        n_batches = (order.size + batch_size - 1) // batch_size
        smem, biases = smem_addr(cuda.shared.array(0, "uint16", alignment=16), 0), cuda.shared.array(0, "float32")
        step += int(results[2])
        for b in range(this_block, n_batches, blocks):
            rows = min(batch_size, order.size - b * batch_size)
            total = sum_over_samples(sample_weight, order, b * batch_size, rows) if weighted else float(rows)
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
            loss = block_sum(run_passes(
                X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, smem, biases, thread,
                loss_options,
            ))  # fmt: skip
            cuda.cg.this_grid().sync()
            l2, l1 = alpha / total, extras[LASSO] / total
            penalty = block_sum(finish(
                t, n, partial, rates[b], corrections[updates], l2, l1, P, slots, gradient, copies, extras, options
            ))  # fmt: skip
            if thread == 0:
                sums[mine], sums[mine + 1] = loss, penalty
            cuda.cg.this_grid().sync()
            if updates_later:
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
        sum_over_blocks(t, n, sums, n_batches, blocks)
        cuda.cg.this_grid().sync()
        if t == 0:
            accumulate_results(sums, n_batches, blocks, order.size, batch_size, results)
            results[2] += updates

    return train
