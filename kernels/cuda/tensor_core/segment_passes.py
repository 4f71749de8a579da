"""Passes of a block's tiles of rows through a segment of the layers: forward only, or forward and backward.

A pass is run(X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, smem, biases, thread,
loss_options) -> the thread's part of the loss, for the batch of ``rows`` rows from order[begin]. ``between`` (uint32)
holds the rows between segments; the other arguments are those of the kernel, see tensor_core/training.py. Blocks and
warps process the same rows in all passes, so that no other warp reads the rows that a warp stores between segments.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import chain, inlined
from fastmlp.kernels.cuda.intrinsics import cp_async_commit, cp_async_wait0, prefetch_l2

from .gradients import gradient_jobs
from .layers import hidden_layer, layer_errors
from .loss import output_layer
from .rows import row_fetcher, row_mover, sample_index
from .update import loader

no_op = inlined(lambda *given: None)
block_barrier = inlined(lambda: cuda.syncthreads())


def segment_passes(segments, dtype, weighted):
    """Forward through all segments but the last, then forward and backward from the last to the first."""
    up = [segment_pass(segments, i, False, dtype, weighted) for i in range(len(segments.forward))]
    down = [segment_pass(segments, i, True, dtype, weighted) for i in reversed(range(len(segments.training)))]
    return _sum_of([*up, *down])


def _sum_of(passes):
    """One pass after the other; the sum of their losses."""
    if len(passes) == 1:
        return passes[0]
    first, rest = passes[0], _sum_of(passes[1:])

    @inlined
    def run(*given):
        return first(*given) + rest(*given)

    return run


def segment_boundary(segments, number, holds_deltas, plan):
    """(load_rows, store_rows, prefetch_rows) for the rows between segments ``number`` and ``number`` + 1.

    They hold outputs or, later, deltas; ``plan`` is the Plan on one side of the boundary.
    """
    layer, start, row_words = segments.between[number], segments.words[number], segments.row_words
    tile = plan.deltas[layer] if holds_deltas and layer in plan.layers else plan.inputs[layer + 1]
    load, store, prefetch = row_mover(segments.widths[layer + 1], tile, plan.tile_strides[layer + 1])

    @inlined
    def load_rows(between, first, smem, warp, lane):
        load(between, between.size // row_words * start, first, smem, warp, lane)

    @inlined
    def store_rows(between, first, smem, warp, lane):
        store(between, between.size // row_words * start, first, smem, warp, lane)

    @inlined
    def prefetch_rows(between, first, lane):
        prefetch(between, between.size // row_words * start, first, lane)

    return load_rows, store_rows, prefetch_rows


def segment_pass(segments, number, training, dtype, weighted):
    """The pass through segment ``number``; for training also backward, with gradients at the end."""
    plan = (segments.training if training else segments.forward)[number]
    first_layer, last_layer, T = plan.layers[0], plan.layers[-1], dtype.type
    lowest, highest = number == 0, training and number == len(segments.training) - 1
    fetch = put = load_rows = prefetch_rows = load_deltas = below = store_rows = accumulate = store_gradients = no_op
    head, barrier = inlined(lambda *given: 0.0), no_op
    if lowest:
        fetch, put = row_fetcher(plan)
    else:
        load_rows, _, prefetch_rows = segment_boundary(segments, number - 1, False, plan)
    forward = chain([hidden_layer(plan, layer, dtype) for layer in plan.layers[: -1 if training else None]], inlined)
    backward = chain([], inlined)
    n_g = n_sums = 1
    if training:
        backward = chain([layer_errors(plan, layer, dtype) for layer in reversed(plan.layers[1:])], inlined)
        (accumulate, store_gradients), barrier = gradient_jobs(plan), block_barrier
        n_sums = plan.rounds * plan.unit[1]
        n_g = n_sums * plan.unit[0] * 4
    if training and not lowest:
        below = layer_errors(plan, first_layer, dtype)
        _, store_rows, _ = segment_boundary(segments, number - 1, True, plan)
    if training and not highest:
        load_deltas, _, _ = segment_boundary(segments, number, True, plan)
    if not training:
        _, store_rows, _ = segment_boundary(segments, number, False, plan)
    if highest:
        head = output_layer(plan, dtype, weighted)
    load, tile_rows, n_parameters = loader(plan, dtype), plan.tile_rows, plan.n_parameters
    n_c = max(plan.widths[first_layer : last_layer + 2]) // 2
    n_x = plan.widths[0] // 4 if lowest else 1
    n_outputs, n_ahead = plan.network.sizes[-1], min(plan.network.sizes[-1] - 1, 32)  # 128 bytes

    @inlined
    def run(X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, smem, biases, thread,
            loss_options):  # fmt: skip
        warp, lane = thread >> 5 & 31, thread & 31  # masked, so that the compiler knows their range
        this_block, step = cuda.blockIdx.x, cuda.gridDim.x * tile_rows
        c = cuda.local.array(n_c, "float32")
        g = cuda.local.array(n_g, "float32")
        bias_sums = cuda.local.array(n_sums, "float32")
        x = cuda.local.array(n_x, "uint32")
        cuda.syncthreads()  # other warps may still read the weights of the pass before
        load(thread, smem, biases, P, copies)
        cp_async_commit()
        for i in range(n_g):
            g[i] = T(0)
        for i in range(n_sums):
            bias_sums[i] = T(0)
        first = this_block * tile_rows + warp * 16
        row = sample_index(order, begin, first, rows, lane)
        next_row = sample_index(order, begin, first + step, rows, lane)
        fetch(X, row, lane, x)
        cp_async_wait0()
        cuda.syncthreads()
        loss = 0.0
        for tile in range(this_block * tile_rows, rows, step):
            first = tile + warp * 16
            put(smem, warp, lane, x)
            load_rows(between, first, smem, warp, lane)
            load_deltas(between, first, smem, warp, lane)
            forward(c, smem, biases, warp, lane)
            loss += head(c, smem, biases, warp, lane, row, rows - first, y, sample_weight, total, loss_options)
            backward(c, smem, warp, lane)
            barrier()
            # The rows of the next tile are loaded while gradients are accumulated.
            fetch(X, next_row, lane, x)
            prefetch_rows(between, min(first + step, (rows - 1) // 16 * 16), lane)
            row = next_row
            if highest:
                prefetch_l2(y, row * n_outputs + lane // 16 * n_ahead)
            next_row = sample_index(order, begin, first + 2 * step, rows, lane)
            accumulate(g, bias_sums, smem, warp, lane)
            barrier()
            below(c, smem, warp, lane)
            store_rows(between, first, smem, warp, lane)
        store_gradients(g, bias_sums, warp, lane, partial, this_block * n_parameters)
        return loss

    return run
