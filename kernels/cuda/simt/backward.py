"""The way back through a batch: losses and deltas of the outputs, deltas of the layers below, gradients of weights.

Threads share the work as in simt/forward.py. Errors go down through ``flipped``, the transposed weights, whose rows
neighbouring threads read side by side. ``total`` is the sum of the batch's weights.
"""

from numba import cuda

from fastmlp.kernels.cuda.rules import device, device_rule
from fastmlp.kernels.engine.partition import ACTIVITY_L1, ACTIVITY_L2
from fastmlp.kernels.rules.activations import sign
from fastmlp.kernels.spec import activation_row, loss_row

from .block_sums import block_sum
from .forward import reader
from .update import take_up_to_three


def row_share(layout, dtype):
    """share(sample_weight, number, total): the weight of a row over the sum of its batch's."""
    T, weighted = dtype.type, layout.features.weighted

    @device
    def share(sample_weight, number, total):
        return (sample_weight[number] if weighted else T(1)) / T(total)

    return share


def output_errors(layout, dtype):
    """head(...) -> the loss of the thread's rows; softmax, and dLoss/dz of the last layer."""
    network, last = layout.network, len(layout.blocks) - 1
    row, loss = activation_row(network.activations[-1]), loss_row(network.loss)
    width, outputs, deltas = network.sizes[-1], layout.outputs[-1], layout.deltas[-1]
    slopes, bends, linked, mean = layout.slopes[last], layout.bends[last], layout.linked, loss.mean
    rowwise, noted, bent = row.rowwise, slopes >= 0, bends >= 0
    activate, derivative = device_rule(row.function, dtype), device_rule(row.derivative, dtype)
    value, error = device_rule(loss.function, dtype), device_rule(loss.derivative, dtype)
    take_options, share = take_up_to_three(len(loss.options)), row_share(layout, dtype)
    T = dtype.type

    @device
    def head(t, n, rows, place, y, order, sample_weight, total, work, loss_options):
        lost = 0.0
        for r in range(t, rows, n):
            number = order[place + r]
            a, delta = outputs + r * width, deltas + r * width
            if rowwise:
                activate(work[a : a + width], width)
            weight = share(sample_weight, number, total)
            if mean:
                weight /= T(width)
            options = take_options(loss_options, 0, 1)
            for j in range(width):
                lost += weight * value(work[a + j], y[number, j], *options)
                work[delta + j] = weight * error(work[a + j], y[number, j], *options)
            if not linked:
                if rowwise:
                    derivative(work[a : a + width], work[delta : delta + width], width)
                else:
                    for j in range(width):
                        if bent:
                            work[bends + r * width + j] *= work[delta + j]
                        slope = work[slopes + r * width + j] if noted else derivative(work[a + j])
                        work[delta + j] *= slope
        return lost

    return head


def settler(layout, level, dtype):
    """settle(item, e, place, order, sample_weight, total, work, extras) -> the activity penalty of number ``item`` of a
    hidden layer's outputs, whose dLoss/dz is made of ``e``, its error from the layers above."""
    T, outputs, deltas = dtype.type, layout.outputs[level + 1], layout.deltas[level]
    slopes, bends, active = layout.slopes[level], layout.bends[level], layout.features.activity
    noted, bent = slopes >= 0, bends >= 0
    derivative = device_rule(activation_row(layout.network.activations[level]).derivative, dtype)
    sign_of, share = device_rule(sign, dtype), row_share(layout, dtype)

    @device
    def settle(item, e, place, order, sample_weight, total, work, extras):
        a, penalty = work[outputs + item], 0.0
        if active:
            weight = share(sample_weight, order[place], total)
            first, second = extras[ACTIVITY_L1], extras[ACTIVITY_L2]
            penalty = weight * (first * abs(a) + second / 2 * a * a)
            e += weight * (T(first) * sign_of(a) + T(second) * a)
        if bent:
            work[bends + item] *= e
        work[deltas + item] = e * (work[slopes + item] if noted else derivative(a))
        return penalty

    return settle


def hidden_errors(layout, level, dtype):
    """back(...) -> the activity penalty of the thread's part; dLoss/dz of a hidden layer from the layers above."""
    T = dtype.type
    width, above = layout.blocks[level].fan_out, layout.blocks[level + 1]
    flipped, deltas_above = layout.flipped[level + 1], layout.deltas[level + 1]
    settle, add_skips = settler(layout, level, dtype), _skipped_errors(layout, level)
    fan_in, fan_out, TILE = above.fan_in, above.fan_out, layout.tile_rows

    @device
    def back(t, n, rows, place, order, sample_weight, total, work, transposed, extras):
        error = cuda.local.array(TILE, T)
        where = cuda.local.array(TILE, "int64")
        penalty = 0.0
        item, n_items = t, (rows + TILE - 1) // TILE * width
        while item < n_items:
            k, r = item % width, item // width * TILE
            for i in range(TILE):
                error[i] = T(0)
                where[i] = deltas_above + min(r + i, rows - 1) * fan_out
            for j in range(fan_out):
                weight = transposed[flipped + j * fan_in + k]
                for i in range(TILE):
                    error[i] += work[where[i] + j] * weight
            for i in range(TILE):
                if r + i < rows:
                    e, item_of = add_skips(r + i, k, error[i], work, transposed), (r + i) * width + k
                    penalty += settle(item_of, e, place + r + i, order, sample_weight, total, work, extras)
            item += n
        return penalty

    return back


def _skipped_errors(layout, level):
    """add(r, k, error, work, transposed): with what comes back through the connections that skip layers."""
    add = device(lambda r, k, error, work, transposed: error)
    for upper in range(level + 1, len(layout.blocks)):
        skip = layout.skip(upper)
        if skip is not None and skip.source == level + 1:
            add = _one_more_skip(layout, upper, skip.weighted, add)
    return add


def _one_more_skip(layout, upper, weighted, add):
    block, deltas, flipped = layout.blocks[upper], layout.deltas[upper], layout.flipped[upper]
    fan_in, fan_out, below = block.fan_in, block.fan_out, layout.network.sizes[upper]

    @device
    def through_weights(r, k, error, work, transposed):
        error = add(r, k, error, work, transposed)
        for j in range(fan_out):
            error += work[deltas + r * fan_out + j] * transposed[flipped + j * fan_in + below + k]
        return error

    @device
    def as_it_is(r, k, error, work, transposed):
        return add(r, k, error, work, transposed) + work[deltas + r * fan_out + k]

    return through_weights if weighted else as_it_is


def weight_gradients(layout, level, dtype, sink):
    """gather(...) -> what ``sink`` gives, summed: gradients of a layer's weights, number by number.

    ``sink(p, flip, g, decays, *given)`` is handed the place of a parameter, that of the weight in ``transposed`` or -1,
    and its gradient.
    """
    skip = layout.skip(level)
    below = layout.network.sizes[level]
    part = _gradients_of_rows(layout, level, dtype, sink, level, 0, below)
    if skip is None or not skip.weighted:
        return part
    more = _gradients_of_rows(layout, level, dtype, sink, skip.source, below, layout.blocks[level].fan_in - below)

    @device
    def both(t, n, rows, place, X, order, work, *given):
        return part(t, n, rows, place, X, order, work, *given) + more(t, n, rows, place, X, order, work, *given)

    return both


def _gradients_of_rows(layout, level, dtype, sink, source, first, count):
    """The same for ``count`` rows of W, from ``first`` on, whose inputs are the outputs ``source``."""
    T, block, deltas, flipped = dtype.type, layout.blocks[level], layout.deltas[level], layout.flipped[level]
    width, fan_in, start = block.fan_out, block.fan_in, block.start
    handle, read = reader(layout, source)
    TILE = layout.tile_inputs

    @device
    def gather(t, n, rows, place, X, order, work, *given):
        g = cuda.local.array(TILE, T)
        total = 0.0
        item, n_items = t, (count + TILE - 1) // TILE * width
        while item < n_items:
            j, k = item % width, item // width * TILE
            for i in range(TILE):
                g[i] = T(0)
            for r in range(rows):
                where, delta = handle(order, place, r), work[deltas + r * width + j]
                for i in range(TILE):
                    g[i] += read(X, work, where, min(k + i, count - 1)) * delta
            for i in range(TILE):
                if k + i < count:
                    row = first + k + i
                    flip = flipped + j * fan_in + row if flipped >= 0 else -1
                    total += sink(start + row * width + j, flip, g[i], True, *given)
            item += n
        return total

    return gather


def bias_gradients(layout, level, dtype, sink):
    """The same for biases and the slopes of each unit: column sums. Layers that share a slope: see shared_slope."""
    T, block, deltas, bends = dtype.type, layout.blocks[level], layout.deltas[level], layout.bends[level]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    bent = bends >= 0 and not layout.shares_slope(level)

    @device
    def gather(t, n, rows, work, *given):
        for j in range(t, width, n):
            g = T(0)
            for r in range(rows):
                g += work[deltas + r * width + j]
            sink(bias + j, -1, g, False, *given)
            if bent:
                g = T(0)
                for r in range(rows):
                    g += work[bends + r * width + j]
                sink(bias + width + j, -1, g, False, *given)
        return 0.0

    return gather


def shared_slope(layout, level, dtype, sink):
    """The same for the one slope of a layer, which the first block's threads make together."""
    T, block, bends = dtype.type, layout.blocks[level], layout.bends[level]
    width, p = block.fan_out, block.start + (block.fan_in + 1) * block.fan_out

    @device
    def gather(t, rows, work, *given):
        if t < cuda.blockDim.x:
            g = 0.0
            for item in range(t, rows * width, cuda.blockDim.x):
                g += work[bends + item]
            g = block_sum(g)
            if t == 0:
                sink(p, -1, T(g), False, *given)
        return 0.0

    return gather
