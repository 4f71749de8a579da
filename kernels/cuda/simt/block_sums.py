"""Sums over a block's threads, in an order that depends on the number of threads alone.

They meet in the first SUM_BYTES of the dynamic shared memory: Numba cannot link a static array of a device function
that is called in several places.
"""

from numba import cuda

from fastmlp.kernels.cuda.rules import device

WARP = 32
ALL_LANES = 0xFFFFFFFF
SUM_BYTES = 8 * WARP


@device
def block_sum(value):
    """The sum of float64 ``value`` over the threads of the block, for all of them; whole warps only."""
    of_warps = cuda.shared.array(0, "float64")
    distance = WARP // 2
    while distance > 0:
        value += cuda.shfl_xor_sync(ALL_LANES, value, distance)
        distance //= 2
    if cuda.threadIdx.x % WARP == 0:
        of_warps[cuda.threadIdx.x // WARP] = value
    cuda.syncthreads()
    total = 0.0
    for warp in range(cuda.blockDim.x // WARP):
        total += of_warps[warp]
    cuda.syncthreads()  # before the next sum
    return total


@device
def sum_over_rows(values, order, begin, rows):
    """The sum of ``values`` of the rows that ``order`` names."""
    total = 0.0
    for r in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
        total += values[order[begin + r]]
    return block_sum(total)


@device
def add_up_blocks(t, n, sums, n_batches, blocks):
    """The first of each batch's pairs (loss, penalty), of which each block has left one, becomes the sum of them."""
    for b in range(t, n_batches, n):
        for block in range(1, blocks):
            sums[b * blocks * 2] += sums[(b * blocks + block) * 2]
            sums[b * blocks * 2 + 1] += sums[(b * blocks + block) * 2 + 1]


@device
def add_up_steps(sums, n_batches, blocks, n_rows, batch_size, results):
    """Rows x loss and rows x penalty of each batch, in their order: where launches are cut changes nothing."""
    lost, penalty = results[0], results[1]
    for b in range(n_batches):
        rows = min(batch_size, n_rows - b * batch_size)
        lost += rows * sums[b * blocks * 2]
        penalty += rows * sums[b * blocks * 2 + 1]
    results[0], results[1] = lost, penalty
