"""A training step tile by tile: each block computes rows through all layers and sums the gradient of its rows.

Afterwards the blocks wait for each other and share the update of the parameters. Activations stay in shared memory;
this suits narrow networks and large batches.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import device, sum_of

from . import gradient_consumers
from .network import backward_pass, forward_pass, gradient_pass


@device
def wait_for_block():
    cuda.syncthreads()


def tiled_step(layout, dtype, consumers, barrier):
    """run(...) as in phased_step.py; ``work`` is the workspace of the block, with the sum of its gradient at the end.

    ``partial`` holds the gradients of all blocks.
    """
    levels, n_parameters, height = range(len(layout.blocks)), layout.network.n_parameters, layout.rows
    own = layout.size
    forward, backward = forward_pass(layout, dtype, wait_for_block), backward_pass(layout, dtype, wait_for_block)
    gather = gradient_pass(layout, dtype, [gradient_consumers.accumulate for _ in levels])
    T = dtype.type

    @device
    def sum_of_blocks(p, partial):
        g = T(0)
        for block in range(cuda.gridDim.x):
            g += partial[block * n_parameters + p]
        return g

    consume_sums = sum_of([gradient_consumers.each_parameter(layout, i, sum_of_blocks, consumers[i]) for i in levels])

    @device
    def run(t, n, rows, begin, X, y, order, sample_weight, total, work, partial, seed, step, loss_options, given):
        rate, correction, l2, l1, P, slots, _, transposed, extras, options = given
        thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
        mine = work[own : own + n_parameters]
        for p in range(thread, n_parameters, n_threads):
            mine[p] = T(0)
        loss, penalty = 0.0, 0.0
        for first in range(cuda.blockIdx.x * height, rows, cuda.gridDim.x * height):
            here = min(height, rows - first)
            cuda.syncthreads()
            forward(thread, n_threads, first, here, begin + first, X, order, P, work, extras, seed, step)
            tile_loss, tile_penalty = backward(
                thread, n_threads, here, begin + first, y, order, sample_weight, total, work, transposed, extras,
                loss_options,
            )  # fmt: skip
            loss += tile_loss
            penalty += tile_penalty
            gather(
                thread, n_threads, here, begin + first, X, order, work, rate, correction, l2, l1, P, slots, mine,
                transposed, extras, options,
            )  # fmt: skip
        cuda.syncthreads()
        start = cuda.blockIdx.x * n_parameters
        for p in range(thread, n_parameters, n_threads):
            partial[start + p] = mine[p]
        barrier()
        return loss, penalty + consume_sums(t, n, partial, *given)

    return run
