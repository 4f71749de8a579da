"""A block's tiles of rows through a segment of the layers: forward for those above, or forward and backward.

A pass is run(X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, chip, biases, thread,
loss_options) -> the thread's part of the loss, of the batch of ``rows`` rows from order[begin] on. ``between`` (uint32)
is what lies between segments; the others are the kernel's, see tensor_core/training.py. A block has the same rows in
all passes, and so has a warp: what it leaves between segments nobody else reads.
"""

from numba import cuda

from fastmlp.kernels.cuda.intrinsics import cp_async_commit, cp_async_wait0, prefetch_l2

from .gradients import gradient_jobs
from .layers import hidden_layer, in_turn, inlined, layer_errors
from .loss import output_layer
from .rows import find, row_fetcher, row_mover
from .update import loader

nothing = inlined(lambda *given: None)
meet = inlined(lambda: cuda.syncthreads())


def all_passes(segments, dtype, weighted):
    """Up through all segments but the highest, then down again."""
    up = [segment_pass(segments, i, False, dtype, weighted) for i in range(len(segments.forward))]
    down = [segment_pass(segments, i, True, dtype, weighted) for i in reversed(range(len(segments.learning)))]
    return _sum_of([*up, *down])


def _sum_of(functions):
    if len(functions) == 1:
        return functions[0]
    first, rest = functions[0], _sum_of(functions[1:])

    @inlined
    def run(*given):
        return first(*given) + rest(*given)

    return run


def way_between(segments, number, comes_down, plan):
    """(take, leave, foretell) for the rows between segments ``number`` and ``number`` + 1, of what goes up or, in its
    place later, of what comes down: row_mover's functions for a tile of the ``plan`` at this side."""
    layer, start, row_words = segments.between[number], segments.words[number], segments.row_words
    tile = plan.deltas[layer] if comes_down and layer in plan.layers else plan.inputs[layer + 1]
    bring, send, announce = row_mover(segments.widths[layer + 1], tile, plan.tile_strides[layer + 1])

    @inlined
    def take(between, first, chip, warp, lane):
        bring(between, between.size // row_words * start, first, chip, warp, lane)

    @inlined
    def leave(between, first, chip, warp, lane):
        send(between, between.size // row_words * start, first, chip, warp, lane)

    @inlined
    def foretell(between, first, lane):
        announce(between, between.size // row_words * start, first, lane)

    return take, leave, foretell


def segment_pass(segments, number, learning, dtype, weighted):
    """The pass through segment ``number``; ``learning``: backward too, with gradients in the end."""
    plan = (segments.learning if learning else segments.forward)[number]
    first_layer, last_layer, T = plan.layers[0], plan.layers[-1], dtype.type
    lowest, highest = number == 0, learning and number == len(segments.learning) - 1
    fetch = put = take = foretell = take_deltas = below = leave = add = hand_over = nothing
    head, barrier = inlined(lambda *given: 0.0), nothing
    if lowest:
        fetch, put = row_fetcher(plan)
    else:
        take, _, foretell = way_between(segments, number - 1, False, plan)
    forward = in_turn([hidden_layer(plan, layer, dtype) for layer in plan.layers[: -1 if learning else None]])
    backward = in_turn([])
    n_g = n_sums = 1
    if learning:
        backward = in_turn([layer_errors(plan, layer, dtype) for layer in reversed(plan.layers[1:])])
        (add, hand_over), barrier = gradient_jobs(plan), meet
        n_sums = plan.rounds * plan.unit[1]
        n_g = n_sums * plan.unit[0] * 4
    if learning and not lowest:
        below = layer_errors(plan, first_layer, dtype)
        _, leave, _ = way_between(segments, number - 1, True, plan)
    if learning and not highest:
        take_deltas, _, _ = way_between(segments, number, True, plan)
    if not learning:
        _, leave, _ = way_between(segments, number, False, plan)
    if highest:
        head = output_layer(plan, dtype, weighted)
    load, tile_rows, n_parameters = loader(plan, dtype), plan.tile_rows, plan.n_parameters
    n_c = max(plan.widths[first_layer : last_layer + 2]) // 2
    n_x = plan.widths[0] // 4 if lowest else 1
    n_outputs, n_ahead = plan.network.sizes[-1], min(plan.network.sizes[-1] - 1, 32)  # 128 bytes

    @inlined
    def run(X, y, sample_weight, order, begin, rows, total, P, copies, between, partial, chip, biases, thread,
            loss_options):  # fmt: skip
        warp, lane = thread >> 5 & 31, thread & 31  # in a way that says how small they are
        this_block, step = cuda.blockIdx.x, cuda.gridDim.x * tile_rows
        c = cuda.local.array(n_c, "float32")
        g = cuda.local.array(n_g, "float32")
        bias_sums = cuda.local.array(n_sums, "float32")
        x = cuda.local.array(n_x, "uint32")
        cuda.syncthreads()  # the pass before may still read its weights
        load(thread, chip, biases, P, copies)
        cp_async_commit()
        for i in range(n_g):
            g[i] = T(0)
        for i in range(n_sums):
            bias_sums[i] = T(0)
        first = this_block * tile_rows + warp * 16
        row, next_row = find(order, begin, first, rows, lane), find(order, begin, first + step, rows, lane)
        fetch(X, row, lane, x)
        cp_async_wait0()
        cuda.syncthreads()
        lost = 0.0
        for tile in range(this_block * tile_rows, rows, step):
            first = tile + warp * 16
            put(chip, warp, lane, x)
            take(between, first, chip, warp, lane)
            take_deltas(between, first, chip, warp, lane)
            forward(c, chip, biases, warp, lane)
            lost += head(c, chip, biases, warp, lane, row, rows - first, y, sample_weight, total, loss_options)
            backward(c, chip, warp, lane)
            barrier()
            # Rows of the next tile come while gradients are added up.
            fetch(X, next_row, lane, x)
            foretell(between, min(first + step, (rows - 1) // 16 * 16), lane)
            row = next_row
            if highest:
                prefetch_l2(y, row * n_outputs + lane // 16 * n_ahead)
            next_row = find(order, begin, first + 2 * step, rows, lane)
            add(g, bias_sums, chip, warp, lane)
            barrier()
            below(c, chip, warp, lane)
            leave(between, first, chip, warp, lane)
        hand_over(g, bias_sums, warp, lane, partial, this_block * n_parameters)
        return lost

    return run
