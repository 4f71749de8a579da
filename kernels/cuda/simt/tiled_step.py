"""A step tile by tile: a block takes rows through all layers by itself, and adds up the gradient of its rows.

Only then do blocks wait for each other, and share the parameters' updates. Activations stay on the chip: narrow
networks and large batches.
"""

from numba import cuda

from fastmlp.kernels.cuda.rules import device

from . import gradient_sinks
from .network import backward_pass, forward_pass, gradient_pass, total_of


@device
def wait_for_block():
    cuda.syncthreads()


def tiled_step(layout, dtype, sinks, barrier):
    """run(...) as phased_step's; ``work`` is the block's own, and holds the sums of its gradient after its layers.

    ``partial`` has room for the gradients of all blocks.
    """
    levels, n_parameters, height = range(len(layout.blocks)), layout.network.n_parameters, layout.rows
    own = layout.size
    forward, backward = forward_pass(layout, dtype, wait_for_block), backward_pass(layout, dtype, wait_for_block)
    gather = gradient_pass(layout, dtype, [gradient_sinks.add_up for _ in levels])
    T = dtype.type

    @device
    def sum_of_blocks(p, partial):
        g = T(0)
        for block in range(cuda.gridDim.x):
            g += partial[block * n_parameters + p]
        return g

    hand_over = total_of([gradient_sinks.each_parameter(layout, i, sum_of_blocks, sinks[i]) for i in levels])

    @device
    def run(t, n, rows, begin, X, y, order, sample_weight, total, work, partial, seed, step, loss_options, given):
        rate, correction, l2, l1, P, slots, _, transposed, extras, options = given
        thread, n_threads = cuda.threadIdx.x, cuda.blockDim.x
        mine = work[own : own + n_parameters]
        for p in range(thread, n_parameters, n_threads):
            mine[p] = T(0)
        lost, penalty = 0.0, 0.0
        for first in range(cuda.blockIdx.x * height, rows, cuda.gridDim.x * height):
            here = min(height, rows - first)
            cuda.syncthreads()
            forward(thread, n_threads, first, here, begin + first, X, order, P, work, extras, seed, step)
            tile_loss, tile_penalty = backward(
                thread, n_threads, here, begin + first, y, order, sample_weight, total, work, transposed, extras,
                loss_options,
            )  # fmt: skip
            lost += tile_loss
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
        return lost, penalty + hand_over(t, n, partial, *given)

    return run
