"""Training of narrow networks in bf16, many steps in one launch: tiles of rows through all layers on the chip.

Weights are bf16 copies of float32 parameters, products are summed in float32. A block's gradients stay in registers
over all its tiles; blocks add theirs up through memory once a step, in a fixed order.

An estimate, from counts of instructions, of an H200 with 5 layers of 64 x 64: for 16 rows of a warp, 448 products take
tensor cores 720 cycles (mma.sync at 62 % of their peak), and ldmatrix, loads and stores take shared memory 1260, which
is the bound: 90 us for 2^18 rows if all else overlaps; with 4 layers 70 us. Warps of 32 rows would halve most of it.
"""

from functools import cache

import numpy as np
from numba import cuda

from fastmlp.kernels.numba_cuda.device_learning import clipper, rate_correction
from fastmlp.kernels.numba_cuda.device_sums import add_up_blocks, add_up_steps, block_sum, sum_over_rows
from fastmlp.kernels.numba_cuda.fused_gradients import gradient_jobs
from fastmlp.kernels.numba_cuda.fused_layers import hidden_layer, in_turn, layer_errors
from fastmlp.kernels.numba_cuda.fused_loss import output_layer
from fastmlp.kernels.numba_cuda.fused_rows import row_fetcher
from fastmlp.kernels.numba_cuda.fused_update import copier, gradient_sink, loader, scaled_update
from fastmlp.kernels.numba_cuda.intrinsics import cp_async_commit, cp_async_wait0, prefetch_l2, smem_addr
from fastmlp.kernels.sharing import CLIP_NORM, LASSO


@cache
def fused_training_kernel(plan, optimizer, weighted, clipped):
    """The kernel for a Plan and a row of OPTIMIZERS by name; "" leaves the gradient of the last batch in ``gradient``.

    ``clipped``: the norm of gradients may be bounded. Cooperative launch, ``plan.threads``, ``plan.shared_bytes``.

    Arguments: X (uint32, pairs of bf16: rows of plan.widths[0] numbers, flat), y (rows, outputs), sample_weight,
    order (int64, the rows of these steps), rates (float64: of each batch), corrections and totals (float64, room for
    one for each batch), P, slots (flat), gradient (room for n_parameters where it is used), copies (uint16, room for
    plan.n_copy), partial (room for n_parameters for each block), sums (float64, two for each batch and block, and one
    for each block more), results (float64: sums of losses and penalties, updates made), extras, options, loss_options
    (float64), alpha, step and batch_size.
    """
    dtype, layers = np.dtype("float32"), range(plan.n_layers)
    T, scale_of = dtype.type, clipper(dtype)
    forward = in_turn([hidden_layer(plan, layer, dtype) for layer in layers[:-1]])
    head = output_layer(plan, dtype, weighted)
    backward = in_turn([layer_errors(plan, layer, dtype) for layer in reversed(layers[1:])])
    add, hand_over = gradient_jobs(plan)
    find, fetch, put = row_fetcher(plan)
    copy, load = copier(plan), loader(plan, dtype)
    finish, correction_of = gradient_sink(plan, optimizer, dtype, clipped), rate_correction(optimizer)
    learns_later = clipped and bool(optimizer)
    update_later = scaled_update(plan, optimizer, dtype) if learns_later else in_turn([])
    threads, warps, tile_rows, n_parameters = plan.threads, plan.warps, plan.tile_rows, plan.n_parameters
    n_c, n_x = max(plan.widths) // 2, plan.widths[0] // 4
    n_outputs, n_ahead = plan.network.sizes[-1], min(plan.network.sizes[-1] - 1, 32)  # 128 bytes
    m_tiles, n_tiles = plan.unit
    n_g, n_sums = plan.rounds * m_tiles * n_tiles * 4, plan.rounds * n_tiles

    @cuda.jit(launch_bounds=threads)
    def train(X, y, sample_weight, order, rates, corrections, totals, P, slots, gradient, copies, partial, sums,
              results, extras, options, loss_options, alpha, step, batch_size):  # fmt: skip
        t, n = cuda.grid(1), cuda.gridsize(1)
        thread, blocks, this_block = cuda.threadIdx.x, cuda.gridDim.x, cuda.blockIdx.x
        warp, lane = thread >> 5 & 31, thread & 31  # in a way that says how small they are
        n_batches = (order.size + batch_size - 1) // batch_size
        chip, biases = smem_addr(cuda.shared.array(0, "uint16", alignment=16), 0), cuda.shared.array(0, "float32")
        c = cuda.local.array(n_c, "float32")
        g = cuda.local.array(n_g, "float32")
        bias_sums = cuda.local.array(n_sums, "float32")
        x = cuda.local.array(n_x, "uint32")
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
            load(thread, chip, biases, P, copies)
            cp_async_commit()
            for i in range(n_g):
                g[i] = T(0)
            for i in range(n_sums):
                bias_sums[i] = T(0)
            first = (this_block * warps + warp) * 16
            number = find(order, begin, first, rows, lane)
            next_number = find(order, begin, first + blocks * tile_rows, rows, lane)
            fetch(X, number, lane, x)
            cp_async_wait0()
            cuda.syncthreads()
            lost = 0.0
            for tile in range(this_block * tile_rows, rows, blocks * tile_rows):
                first = tile + warp * 16
                put(chip, warp, lane, x)
                forward(c, chip, biases, warp, lane)
                lost += head(c, chip, biases, warp, lane, number, rows - first, y, sample_weight, total, loss_options)
                backward(c, chip, warp, lane)
                cuda.syncthreads()
                # Rows of the next tile, whose numbers are here, come while gradients are added up.
                fetch(X, next_number, lane, x)
                number = next_number
                prefetch_l2(y, number * n_outputs + lane // 16 * n_ahead)
                next_number = find(order, begin, first + 2 * blocks * tile_rows, rows, lane)
                add(g, bias_sums, chip, warp, lane)
                cuda.syncthreads()
            hand_over(g, bias_sums, warp, lane, partial, this_block * n_parameters)
            lost = block_sum(lost)
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
