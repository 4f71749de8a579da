"""The training kernel: many steps in one launch."""

from functools import lru_cache

from numba import cuda

from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.engine.partition import LASSO, MAX_NORM
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from . import gradient_consumers
from .block_sums import SUM_BYTES, accumulate_results, block_sum, sum_over_blocks, sum_over_samples
from .parameters import clipped_update_pass, limit_weight_norms, transpose_weights
from .phased_step import phased_step
from .tiled_step import tiled_step, wait_for_block
from .update import rate_correction

# Training strategies: phased_step.py with one block, phased_step.py with the whole grid, tiled_step.py.
BLOCK, GRID, TILES = "block", "grid", "tiles"


@device
def wait_for_grid():
    cuda.cg.this_grid().sync()


@device
def copy(t, n, source, to, count):
    for i in range(t, count, n):
        to[i] = source[i]


@lru_cache(maxsize=64)
def training_kernel(layout, optimizer, dtype, strategy, in_shared, threads):
    """Return the training kernel for a Layout and a row of OPTIMIZERS by name; "" writes the last gradient only.

    ``in_shared``: with one block, parameters, slots and workspace are in shared memory during the launch; with tiles,
    the workspace and the gradient of each block are.

    Arguments: X (rows, inputs), y (rows, outputs), sample_weight, order (int64, the samples of these steps), rates
    (float64: of each batch), corrections (float64, workspace for one per batch), P, slots (flat), gradient, transposed,
    work, partial, sums (float64, workspace for two per batch and block, and one more per block), results (float64: sums
    of losses and penalties, updates made), extras, options, loss_options (float64), alpha, seed, step and batch_size.
    """
    levels, features, kind = range(len(layout.blocks)), layout.features, str(dtype)
    barrier = wait_for_block if strategy == BLOCK else wait_for_grid
    stores_gradient = not optimizer or features.clipped
    if stores_gradient:
        consumers = [gradient_consumers.store(dtype) for _ in levels]
    else:
        consumers = [gradient_consumers.update_immediately(layout, level, optimizer, dtype) for level in levels]
    make_step = tiled_step if strategy == TILES else phased_step
    run, transpose = make_step(layout, dtype, consumers, barrier), transpose_weights(layout)
    limit = limit_weight_norms(layout, dtype)
    update, updates_later = clipped_update_pass(layout, optimizer, dtype, barrier), bool(optimizer) and stores_gradient
    correction_of, weighted, limited = rate_correction(optimizer), features.weighted, features.limited
    n_parameters, n_slots = layout.network.n_parameters, len(OPTIMIZERS[optimizer].slots) if optimizer else 0
    all_in_shared, work_in_shared, by_tiles = in_shared and strategy == BLOCK, in_shared, strategy == TILES
    smem_at = SUM_BYTES // dtype.itemsize
    slots_at, transposed_at = smem_at + n_parameters, smem_at + n_parameters * (1 + n_slots)
    work_at = transposed_at + layout.n_transposed if strategy == BLOCK else smem_at
    work_size = layout.size + (n_parameters if by_tiles else 0)

    @cuda.jit(launch_bounds=threads)
    def train(X, y, sample_weight, order, rates, corrections, parameters, all_slots, gradient, all_transposed,
              all_work, partial, sums, results, extras, options, loss_options, alpha, seed, step,
              batch_size):  # fmt: skip
        t, n = cuda.grid(1), cuda.gridsize(1)
        blocks = cuda.gridDim.x
        n_batches = (order.size + batch_size - 1) // batch_size
        P, slots, transposed, work = parameters, all_slots, all_transposed, all_work
        if work_in_shared:
            smem = cuda.shared.array(0, kind)
            work = smem[work_at : work_at + work_size]
            if all_in_shared:
                P, slots, transposed = smem[smem_at:slots_at], smem[slots_at:transposed_at], smem[transposed_at:work_at]
                copy(t, n, parameters, P, n_parameters)
                copy(t, n, all_slots, slots, n_slots * n_parameters)
                cuda.syncthreads()
        elif by_tiles:
            work = all_work[cuda.blockIdx.x * work_size : (cuda.blockIdx.x + 1) * work_size]
        step += int(results[2])
        for b in range(t, n_batches, n):
            corrections[b] = correction_of(step + b + 1, options)
        transpose(t, n, P, transposed)
        barrier()
        updates = 0
        for b in range(n_batches):
            begin = b * batch_size
            rows = min(batch_size, order.size - begin)
            mine = (b * blocks + cuda.blockIdx.x) * 2
            total = sum_over_samples(sample_weight, order, begin, rows) if weighted else float(rows)
            if total == 0:
                if cuda.threadIdx.x == 0:
                    sums[mine] = sums[mine + 1] = 0.0
                continue
            given = (
                rates[b], corrections[updates], alpha / total, extras[LASSO] / total, P, slots, gradient, transposed,
                extras, options,
            )  # fmt: skip
            loss, penalty = run(
                t, n, rows, begin, X, y, order, sample_weight, total, work, partial, seed, step + updates,
                loss_options, given,
            )  # fmt: skip
            loss, penalty = block_sum(loss), block_sum(penalty)
            if cuda.threadIdx.x == 0:
                sums[mine], sums[mine + 1] = loss, penalty
            barrier()
            if updates_later:
                update(t, n, sums[n_batches * blocks * 2 :], gradient, extras, given)
                barrier()
            if limited:
                limit(t, n, P, transposed, extras[MAX_NORM])
                barrier()
            updates += 1
        barrier()  # the last batches may have been skipped, without a barrier
        sum_over_blocks(t, n, sums, n_batches, blocks)
        if all_in_shared:
            copy(t, n, P, parameters, n_parameters)
            copy(t, n, slots, all_slots, n_slots * n_parameters)
        barrier()
        if t == 0:
            accumulate_results(sums, n_batches, blocks, order.size, batch_size, results)
            results[2] += updates

    return train
