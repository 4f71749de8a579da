"""The backward pass of a batch: losses and deltas of the outputs, deltas of the hidden layers, gradients.

Work is distributed over the threads as in simt/forward.py. Errors are propagated through ``transposed``, the transposed
weights, whose rows neighbouring threads read at neighbouring addresses. ``total`` is the sum of the batch's weights.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.rules import device_rule
from fastmlp.kernels.engine.partition import ACTIVITY_L1, ACTIVITY_L2
from fastmlp.kernels.rules.activations import sign
from fastmlp.kernels.spec import activation_row, loss_row

from .block_sums import block_sum
from .forward import reader
from .update import loss_arguments


def sample_share(layout, dtype):
    """share(sample_weight, index, total): the weight of a sample divided by the sum over its batch."""
    T, weighted = dtype.type, layout.features.weighted

    @device
    def share(sample_weight, index, total):
        return (sample_weight[index] if weighted else T(1)) / T(total)

    return share


def output_errors(layout, dtype):
    """head(...) -> the loss of the thread's rows; also computes softmax, and dLoss/dz of the last layer."""
    network, last = layout.network, len(layout.blocks) - 1
    row, loss = activation_row(network.activations[-1]), loss_row(network.loss)
    width, outputs, deltas = network.sizes[-1], layout.outputs[-1], layout.deltas[-1]
    derivatives, slope_gradients = layout.derivatives[last], layout.slope_gradients[last]
    linked, mean = layout.linked, loss.mean
    rowwise, saved, has_slope = row.rowwise, derivatives >= 0, slope_gradients >= 0
    activate, derivative = device_rule(row.function, dtype), device_rule(row.derivative, dtype)
    value, error = device_rule(loss.function, dtype), device_rule(loss.derivative, dtype)
    take_options, share = loss_arguments(network), sample_share(layout, dtype)
    T = dtype.type

    @device
    def head(t, n, rows, position, y, order, sample_weight, total, work, loss_options):
        loss_sum = 0.0
        for r in range(t, rows, n):
            index = order[position + r]
            a, delta = outputs + r * width, deltas + r * width
            if rowwise:
                activate(work[a : a + width], width)
            weight = share(sample_weight, index, total)
            if mean:
                weight /= T(width)
            options = take_options(loss_options)
            for j in range(width):
                loss_sum += weight * value(work[a + j], y[index, j], *options)
                work[delta + j] = weight * error(work[a + j], y[index, j], *options)
            if not linked:
                if rowwise:
                    derivative(work[a : a + width], work[delta : delta + width], width)
                else:
                    for j in range(width):
                        if has_slope:
                            work[slope_gradients + r * width + j] *= work[delta + j]
                        da_dz = work[derivatives + r * width + j] if saved else derivative(work[a + j])
                        work[delta + j] *= da_dz
        return loss_sum

    return head


def error_writer(layout, level, dtype):
    """write_error(item, e, position, order, sample_weight, total, work, extras) -> the activity penalty of one output.

    Writes dLoss/dz of element ``item`` of a hidden layer; ``e`` is its error from the layers above.
    """
    T, outputs, deltas = dtype.type, layout.outputs[level + 1], layout.deltas[level]
    derivatives, slope_gradients, active = (
        layout.derivatives[level],
        layout.slope_gradients[level],
        layout.features.activity,
    )
    saved, has_slope = derivatives >= 0, slope_gradients >= 0
    derivative = device_rule(activation_row(layout.network.activations[level]).derivative, dtype)
    sign_of, share = device_rule(sign, dtype), sample_share(layout, dtype)

    @device
    def write_error(item, e, position, order, sample_weight, total, work, extras):
        a, penalty = work[outputs + item], 0.0
        if active:
            weight = share(sample_weight, order[position], total)
            first, second = extras[ACTIVITY_L1], extras[ACTIVITY_L2]
            penalty = weight * (first * abs(a) + second / 2 * a * a)
            e += weight * (T(first) * sign_of(a) + T(second) * a)
        if has_slope:
            work[slope_gradients + item] *= e
        work[deltas + item] = e * (work[derivatives + item] if saved else derivative(a))
        return penalty

    return write_error


def hidden_errors(layout, level, dtype):
    """back(...) -> the activity penalty of the thread's part; computes dLoss/dz of a hidden layer."""
    T = dtype.type
    width, above = layout.blocks[level].fan_out, layout.blocks[level + 1]
    transposed_at, deltas_above = layout.transposed_at[level + 1], layout.deltas[level + 1]
    write_error, add_skips = error_writer(layout, level, dtype), _skip_errors(layout, level)
    fan_in, fan_out, TILE = above.fan_in, above.fan_out, layout.tile_rows

    @device
    def back(t, n, rows, position, order, sample_weight, total, work, transposed, extras):
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
                weight = transposed[transposed_at + j * fan_in + k]
                for i in range(TILE):
                    error[i] += work[where[i] + j] * weight
            for i in range(TILE):
                if r + i < rows:
                    e, item_of = add_skips(r + i, k, error[i], work, transposed), (r + i) * width + k
                    penalty += write_error(item_of, e, position + r + i, order, sample_weight, total, work, extras)
            item += n
        return penalty

    return back


def _skip_errors(layout, level):
    """add(r, k, error, work, transposed): the error with the contributions of skip connections."""
    add = device(lambda r, k, error, work, transposed: error)
    for upper in range(level + 1, len(layout.blocks)):
        skip = layout.skip(upper)
        if skip is not None and skip.source == level + 1:
            add = _with_skip(layout, upper, skip.weighted, add)
    return add


def _with_skip(layout, upper, weighted, add):
    block, deltas, transposed_at = layout.blocks[upper], layout.deltas[upper], layout.transposed_at[upper]
    fan_in, fan_out, below = block.fan_in, block.fan_out, layout.network.sizes[upper]

    @device
    def through_weights(r, k, error, work, transposed):
        error = add(r, k, error, work, transposed)
        for j in range(fan_out):
            error += work[deltas + r * fan_out + j] * transposed[transposed_at + j * fan_in + below + k]
        return error

    @device
    def unweighted(r, k, error, work, transposed):
        return add(r, k, error, work, transposed) + work[deltas + r * fan_out + k]

    return through_weights if weighted else unweighted


def weight_gradients(layout, level, dtype, consume):
    """gather(...) -> the sum of the results of ``consume``, called with the gradient of each weight of a layer.

    ``consume`` is one of gradient_consumers.py.
    """
    skip = layout.skip(level)
    below = layout.network.sizes[level]
    part = _gradients_of_rows(layout, level, dtype, consume, level, 0, below)
    if skip is None or not skip.weighted:
        return part
    more = _gradients_of_rows(layout, level, dtype, consume, skip.source, below, layout.blocks[level].fan_in - below)

    @device
    def both(t, n, rows, position, X, order, work, *given):
        return part(t, n, rows, position, X, order, work, *given) + more(t, n, rows, position, X, order, work, *given)

    return both


def _gradients_of_rows(layout, level, dtype, consume, source, first, count):
    """``weight_gradients`` for ``count`` rows of W from row ``first``, with outputs ``source`` as inputs."""
    T, block, deltas = dtype.type, layout.blocks[level], layout.deltas[level]
    transposed_at = layout.transposed_at[level]
    width, fan_in, start = block.fan_out, block.fan_in, block.start
    locate, read = reader(layout, source)
    TILE = layout.tile_inputs

    @device
    def gather(t, n, rows, position, X, order, work, *given):
        g = cuda.local.array(TILE, T)
        total = 0.0
        item, n_items = t, (count + TILE - 1) // TILE * width
        while item < n_items:
            j, k = item % width, item // width * TILE
            for i in range(TILE):
                g[i] = T(0)
            for r in range(rows):
                where, delta = locate(order, position, r), work[deltas + r * width + j]
                for i in range(TILE):
                    g[i] += read(X, work, where, min(k + i, count - 1)) * delta
            for i in range(TILE):
                if k + i < count:
                    row = first + k + i
                    at = transposed_at + j * fan_in + row if transposed_at >= 0 else -1
                    total += consume(start + row * width + j, at, g[i], True, *given)
            item += n
        return total

    return gather


def bias_gradients(layout, level, dtype, consume):
    """``weight_gradients`` for the biases, and for trainable slopes of each unit."""
    T, block, deltas = dtype.type, layout.blocks[level], layout.deltas[level]
    slope_gradients = layout.slope_gradients[level]
    width, bias = block.fan_out, block.start + block.fan_in * block.fan_out
    has_slope = slope_gradients >= 0 and not layout.has_shared_slope(level)

    @device
    def gather(t, n, rows, work, *given):
        for j in range(t, width, n):
            g = T(0)
            for r in range(rows):
                g += work[deltas + r * width + j]
            consume(bias + j, -1, g, False, *given)
            if has_slope:
                g = T(0)
                for r in range(rows):
                    g += work[slope_gradients + r * width + j]
                consume(bias + width + j, -1, g, False, *given)
        return 0.0

    return gather


def shared_slope_gradient(layout, level, dtype, consume):
    """``weight_gradients`` for the shared slope of a layer, computed by the threads of the first block."""
    T, block, slope_gradients = dtype.type, layout.blocks[level], layout.slope_gradients[level]
    width, p = block.fan_out, block.start + (block.fan_in + 1) * block.fan_out

    @device
    def gather(t, rows, work, *given):
        if t < cuda.blockDim.x:
            g = 0.0
            for item in range(t, rows * width, cuda.blockDim.x):
                g += work[slope_gradients + item]
            g = block_sum(g)
            if t == 0:
                consume(p, -1, T(g), False, *given)
        return 0.0

    return gather
