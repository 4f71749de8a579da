"""The position of a run in device memory, so that the same launches can be replayed for every batch.

``control`` (int64) and ``scalars`` (float64) are arrays with the elements named below:

- POSITION: index in ``order`` of the first sample of the batch; ROWS: its number of samples
- FIRST_SAMPLE, RANDOM_STEP, SEED: select the random numbers of the batch
- HAS_WEIGHT: 0 if the weights of the batch sum to zero, so that it is skipped
- BATCH, UPDATES: number of batches, and of those not skipped; STEP: number of updates before the run
- RATE: learning rate of the batch; CORRECTION: its factor from ``rate_correction``
- L2, L1: penalties divided by TOTAL, the sum of the batch's weights; ALPHA: L2 penalty of the run
"""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.simt.block_sums import block_sum, sum_over_samples
from fastmlp.kernels.cuda.simt.update import rate_correction
from fastmlp.kernels.engine.partition import LASSO

POSITION, FIRST_SAMPLE, RANDOM_STEP, ROWS, HAS_WEIGHT, BATCH, UPDATES, STEP, SEED, CONTROL_SIZE = range(10)
RATE, CORRECTION, L2, L1, TOTAL, ALPHA, SCALARS_SIZE = range(7)
CONTROL_THREADS = 256


@cuda.jit
def begin_run(control, scalars, results, alpha, seed, step):
    """Initialise before the first batch; launched with one thread."""
    control[POSITION] = control[FIRST_SAMPLE] = control[ROWS] = control[HAS_WEIGHT] = control[BATCH] = 0
    control[UPDATES] = int(results[2])
    control[STEP], control[SEED] = step, seed
    control[RANDOM_STEP] = step + int(results[2])
    scalars[ALPHA] = alpha


@cuda.jit
def select_rows(control, position, first, seed):
    """Select the rows of a prediction; launched with one thread."""
    control[POSITION], control[FIRST_SAMPLE], control[RANDOM_STEP], control[SEED] = position, first, 0, seed


@cache
def next_batch_kernel(optimizer, weighted):
    """next_batch(control, scalars, order, sample_weight, rates, sums, n_losses, results, extras, options, rows).

    Adds the sums of the finished batch to ``results`` and moves on to the next one, of ``rows`` samples (0 after the
    last). Launched with one block. ``sums`` are the partial sums written by the blocks of other kernels: ``n_losses``
    of the loss, the others of the penalty.
    """
    correction_of = rate_correction(optimizer)

    @cuda.jit(launch_bounds=CONTROL_THREADS)
    def next_batch(control, scalars, order, sample_weight, rates, sums, n_losses, results, extras, options, rows):
        t, n = cuda.threadIdx.x, cuda.blockDim.x
        before, counted = control[ROWS], control[HAS_WEIGHT]
        position, batch, updates = control[POSITION] + before, control[BATCH], control[UPDATES] + counted
        loss, penalty = 0.0, 0.0
        if counted > 0:
            for i in range(t, sums.size, n):
                if i < n_losses:
                    loss += sums[i]
                else:
                    penalty += sums[i]
        loss, penalty = block_sum(loss), block_sum(penalty)
        total = sum_over_samples(sample_weight, order, position, rows) if weighted else float(rows)
        if t == 0:
            if counted > 0:
                results[0] += before * loss
                results[1] += before * penalty
                results[2] += 1
            control[POSITION], control[ROWS], control[HAS_WEIGHT], control[UPDATES] = position, rows, 0, updates
            control[RANDOM_STEP] = control[STEP] + updates
            if rows > 0:
                has_weight = total != 0
                total = total if has_weight else 1.0
                control[HAS_WEIGHT], control[BATCH] = 1 if has_weight else 0, batch + 1
                scalars[RATE], scalars[TOTAL] = rates[batch], total
                scalars[CORRECTION] = correction_of(control[STEP] + updates + 1, options)
                scalars[L2], scalars[L1] = scalars[ALPHA] / total, extras[LASSO] / total

    return next_batch
