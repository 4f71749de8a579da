"""Many steps in one launch: no host, and no other kernel, between them."""

from functools import lru_cache

from numba import cuda

from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.engine.partition import LASSO, MAX_NORM
from fastmlp.kernels.rules.optimizers import OPTIMIZERS

from . import gradient_sinks
from .block_sums import SUM_BYTES, add_up_blocks, add_up_steps, block_sum, sum_over_rows
from .parameters import flip_weights, limit_norms, update_pass
from .phased_step import phased_step
from .tiled_step import tiled_step, wait_for_block
from .update import rate_correction

BLOCK, GRID, TILES = "block", "grid", "tiles"  # ways of a step: one block's phases, the whole grid's, or by tiles


@device
def wait_for_grid():
    cuda.cg.this_grid().sync()


@device
def copy(t, n, source, to, count):
    for i in range(t, count, n):
        to[i] = source[i]


@lru_cache(maxsize=64)
def training_kernel(layout, optimizer, dtype, way, on_chip, threads):
    """The kernel for a Layout and a row of OPTIMIZERS by name; "" leaves the last gradient in ``gradient``.

    ``on_chip``: with one block, parameters, slots and the workspace are in shared memory during the launch; by tiles,
    each block's workspace and gradient are.

    Arguments: X (rows, inputs), y (rows, outputs), sample_weight, order (int64, the rows of these steps), rates
    (float64: of each batch), corrections (float64, room for one for each batch), P, slots (flat), gradient, transposed,
    work, partial, sums (float64, two for each batch and block, and one for each block more), results (float64: sums of
    losses and penalties, updates made), extras, options, loss_options (float64), alpha, seed, step and batch_size.
    """
    levels, features, kind = range(len(layout.blocks)), layout.features, str(dtype)
    barrier = wait_for_block if way == BLOCK else wait_for_grid
    kept = not optimizer or features.clipped
    sinks = [
        gradient_sinks.keep(dtype) if kept else gradient_sinks.learn_at_once(layout, level, optimizer, dtype)
        for level in levels
    ]
    make_step = tiled_step if way == TILES else phased_step
    run, flip, limit = make_step(layout, dtype, sinks, barrier), flip_weights(layout), limit_norms(layout, dtype)
    update, updates_later = update_pass(layout, optimizer, dtype, barrier), bool(optimizer) and kept
    correction_of, weighted, limited = rate_correction(optimizer), features.weighted, features.limited
    n_parameters, n_slots = layout.network.n_parameters, len(OPTIMIZERS[optimizer].slots) if optimizer else 0
    all_on_chip, work_on_chip, by_tiles = on_chip and way == BLOCK, on_chip, way == TILES
    chip_at = SUM_BYTES // dtype.itemsize
    slots_at, flipped_at = chip_at + n_parameters, chip_at + n_parameters * (1 + n_slots)
    work_at = flipped_at + layout.n_flipped if way == BLOCK else chip_at
    work_size = layout.size + (n_parameters if by_tiles else 0)

    @cuda.jit(launch_bounds=threads)
    def train(X, y, sample_weight, order, rates, corrections, parameters, all_slots, gradient, flipped, workspace,
              partial, sums, results, extras, options, loss_options, alpha, seed, step, batch_size):  # fmt: skip
        t, n = cuda.grid(1), cuda.gridsize(1)
        blocks = cuda.gridDim.x
        n_batches = (order.size + batch_size - 1) // batch_size
        P, slots, transposed, work = parameters, all_slots, flipped, workspace
        if work_on_chip:
            chip = cuda.shared.array(0, kind)
            work = chip[work_at : work_at + work_size]
            if all_on_chip:
                P, slots, transposed = chip[chip_at:slots_at], chip[slots_at:flipped_at], chip[flipped_at:work_at]
                copy(t, n, parameters, P, n_parameters)
                copy(t, n, all_slots, slots, n_slots * n_parameters)
                cuda.syncthreads()
        elif by_tiles:
            work = workspace[cuda.blockIdx.x * work_size : (cuda.blockIdx.x + 1) * work_size]
        step += int(results[2])
        for b in range(t, n_batches, n):
            corrections[b] = correction_of(step + b + 1, options)
        flip(t, n, P, transposed)
        barrier()
        updates = 0
        for b in range(n_batches):
            begin = b * batch_size
            rows = min(batch_size, order.size - begin)
            mine = (b * blocks + cuda.blockIdx.x) * 2
            total = sum_over_rows(sample_weight, order, begin, rows) if weighted else float(rows)
            if total == 0:
                if cuda.threadIdx.x == 0:
                    sums[mine] = sums[mine + 1] = 0.0
                continue
            given = (
                rates[b], corrections[updates], alpha / total, extras[LASSO] / total, P, slots, gradient, transposed,
                extras, options,
            )  # fmt: skip
            lost, penalty = run(
                t, n, rows, begin, X, y, order, sample_weight, total, work, partial, seed, step + updates,
                loss_options, given,
            )  # fmt: skip
            lost, penalty = block_sum(lost), block_sum(penalty)
            if cuda.threadIdx.x == 0:
                sums[mine], sums[mine + 1] = lost, penalty
            barrier()
            if updates_later:
                update(t, n, sums[n_batches * blocks * 2 :], gradient, extras, given)
                barrier()
            if limited:
                limit(t, n, P, transposed, extras[MAX_NORM])
                barrier()
            updates += 1
        barrier()  # the last batches may have had no weight, and no barrier
        add_up_blocks(t, n, sums, n_batches, blocks)
        if all_on_chip:
            copy(t, n, P, parameters, n_parameters)
            copy(t, n, slots, all_slots, n_slots * n_parameters)
        barrier()
        if t == 0:
            add_up_steps(sums, n_batches, blocks, order.size, batch_size, results)
            results[2] += updates

    return train
