"""Where a run of steps is: numbers in the device's memory, so that the same launches make one step after the other.

``state`` (int64) holds the columns below: PLACE is where the batch begins in ``order``, FIRST the number of its first
row for random numbers, NOW the step for them; ROWS of the batch; COUNTS is 0 for a batch without weight; BATCH counts
batches, UPDATES those that counted; STEP and SEED are those of the run. ``numbers`` (float64) holds the learning rate
of the batch and its correction, penalties over the sum of its weights, that sum, and the run's alpha.
"""

from functools import cache

from numba import cuda

from fastmlp.kernels.cuda.simt.block_sums import block_sum, sum_over_rows
from fastmlp.kernels.cuda.simt.update import rate_correction
from fastmlp.kernels.engine.partition import LASSO

PLACE, FIRST, NOW, ROWS, COUNTS, BATCH, UPDATES, STEP, SEED, STATES = range(10)
RATE, CORRECTION, L2, L1, TOTAL, ALPHA, NUMBERS = range(7)
TURN_THREADS = 256


@cuda.jit
def begin(state, numbers, results, alpha, seed, step):
    """Before the first batch of a run: one thread."""
    state[PLACE] = state[FIRST] = state[ROWS] = state[COUNTS] = state[BATCH] = 0
    state[UPDATES] = int(results[2])
    state[STEP], state[SEED] = step, seed
    state[NOW] = step + int(results[2])
    numbers[ALPHA] = alpha


@cuda.jit
def look_at(state, place, first, seed):
    """Before rows of which only outputs are wanted: one thread."""
    state[PLACE], state[FIRST], state[NOW], state[SEED] = place, first, 0, seed


@cache
def turn_kernel(optimizer, weighted):
    """turn(state, numbers, order, sample_weight, rates, sums, n_losses, results, extras, options, rows), of one block.

    From a batch to the next, of ``rows`` rows, or 0 after the last. ``sums`` are what the blocks of other kernels left:
    first ``n_losses`` shares of the loss, then shares of the penalty.
    """
    correction_of = rate_correction(optimizer)

    @cuda.jit(launch_bounds=TURN_THREADS)
    def turn(state, numbers, order, sample_weight, rates, sums, n_losses, results, extras, options, rows):
        t, n = cuda.threadIdx.x, cuda.blockDim.x
        before, counted = state[ROWS], state[COUNTS]
        place, batch, updates = state[PLACE] + before, state[BATCH], state[UPDATES] + counted
        lost, penalty = 0.0, 0.0
        if counted > 0:
            for i in range(t, sums.size, n):
                if i < n_losses:
                    lost += sums[i]
                else:
                    penalty += sums[i]
        lost, penalty = block_sum(lost), block_sum(penalty)
        total = sum_over_rows(sample_weight, order, place, rows) if weighted else float(rows)
        if t == 0:
            if counted > 0:
                results[0] += before * lost
                results[1] += before * penalty
                results[2] += 1
            state[PLACE], state[ROWS], state[COUNTS], state[UPDATES] = place, rows, 0, updates
            state[NOW] = state[STEP] + updates
            if rows > 0:
                counts = total != 0
                total = total if counts else 1.0
                state[COUNTS], state[BATCH] = 1 if counts else 0, batch + 1
                numbers[RATE], numbers[TOTAL] = rates[batch], total
                numbers[CORRECTION] = correction_of(state[STEP] + updates + 1, options)
                numbers[L2], numbers[L1] = numbers[ALPHA] / total, extras[LASSO] / total

    return turn
