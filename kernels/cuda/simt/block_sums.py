"""Sums over the threads of a block, in an order that depends only on the number of threads.

They use the first SUM_BYTES of the dynamic shared memory, because Numba cannot link a static shared array of a device
function that is called in several places.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import device

WARP = 32
ALL_LANES = 0xFFFFFFFF
SUM_BYTES = 8 * WARP


@device
def block_sum(value):
    """The sum of float64 ``value`` over all threads of the block, returned to all of them. Blocks have whole warps."""
    warp_sums = cuda.shared.array(0, "float64")
    distance = WARP // 2
    while distance > 0:
        value += cuda.shfl_xor_sync(ALL_LANES, value, distance)
        distance //= 2
    if cuda.threadIdx.x % WARP == 0:
        warp_sums[cuda.threadIdx.x // WARP] = value
    cuda.syncthreads()
    total = 0.0
    for warp in range(cuda.blockDim.x // WARP):
        total += warp_sums[warp]
    cuda.syncthreads()  # before the next sum
    return total


@device
def sum_over_samples(values, order, begin, rows):
    """The sum of ``values`` over the samples of a batch."""
    total = 0.0
    for r in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        total += values[order[begin + r]]
    return block_sum(total)


@device
def sum_over_blocks(t, n, sums, n_batches, blocks):
    """Sum each batch's (loss, penalty) over the blocks, into the pair of the first block."""
    for b in range(t, n_batches, n):
        for block in range(1, blocks):
            sums[b * blocks * 2] += sums[(b * blocks + block) * 2]
            sums[b * blocks * 2 + 1] += sums[(b * blocks + block) * 2 + 1]


@device
def accumulate_results(sums, n_batches, blocks, n_rows, batch_size, results):
    """Add rows x loss and rows x penalty of each batch, in order, so that the split into launches does not matter."""
    loss, penalty = results[0], results[1]
    for b in range(n_batches):
        rows = min(batch_size, n_rows - b * batch_size)
        loss += rows * sums[b * blocks * 2]
        penalty += rows * sums[b * blocks * 2 + 1]
    results[0], results[1] = loss, penalty
