"""The forward pass of a batch: a device function for each layer, whose outputs are distributed over the threads.

``t`` is the index of the thread, ``n`` the number of threads. Row r of a block of rows is element ``position`` + r of
``order``, and row ``first`` + r of its batch, which selects its random numbers.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.rules import RANDOM, device_rule
from fastmlp.kernels.engine.partition import DROPOUT, INPUT_DROPOUT, INPUT_STD, LAYER_EXTRAS, LAYERS
from fastmlp.kernels.spec import activation_row

random_key, drop_limit, is_dropped, normal_at = (
    RANDOM[name] for name in ("random_key", "drop_limit", "is_dropped", "normal_at")
)


def reader(layout, level):
    """(locate(order, position, r), read(X, work, location, k)): access to element k of row r of outputs ``level``."""
    start, width, gathered = layout.outputs[level], layout.network.sizes[level], layout.features.training

    @device
    def index_of(order, position, r):
        return order[position + r] if gathered else position + r

    @device
    def read_inputs(X, work, index, k):
        return X[index, k]

    @device
    def offset_of(order, position, r):
        return start + r * width

    @device
    def read_outputs(X, work, offset, k):
        return work[offset + k]

    return (index_of, read_inputs) if start < 0 else (offset_of, read_outputs)


def noisy_inputs(layout, dtype):
    """add_noise(...): write the inputs, with noise and dropout, to the workspace."""
    T, width, start = dtype.type, layout.network.sizes[0], layout.inputs
    gathered = layout.features.training

    @device
    def add_noise(t, n, first, rows, position, X, order, work, extras, seed, step):
        std, rate = extras[INPUT_STD], extras[INPUT_DROPOUT]
        normal_key, drop_key = random_key(seed, step, 0), random_key(seed, step, 1)
        limit = drop_limit(rate)
        for item in range(t, rows * width, n):
            r, j = item // width, item % width
            x, where = X[order[position + r] if gathered else position + r, j], first * width + item
            if std > 0:
                x += T(std * normal_at(normal_key, where))
            if rate > 0:
                x = T(0) if is_dropped(drop_key, where, limit) else x * T(1 / (1 - rate))
            work[start + item] = x

    return add_noise


def output_writer(layout, level, dtype):
    """write_output(r, j, z, ...): from z = x W + b of one unit, write its output and what backpropagation needs."""
    T, name, block = dtype.type, layout.network.activations[level], layout.blocks[level]
    row, width, skip = activation_row(name), block.fan_out, layout.skip(level)
    outputs, derivatives = layout.outputs[level + 1], layout.derivatives[level]
    slope_gradients = layout.slope_gradients[level]
    slopes_at = block.start + (block.fan_in + 1) * width
    slope_step = 1 if block.n_slopes > 1 else 0
    has_slope, saved = row.trainable is not None, derivatives >= 0
    elementwise = not has_slope and not row.rowwise
    of_input, adds_noise, has_dropout = row.of_input, layout.adds_noise(level), layout.has_dropout(level)
    function, derivative = device_rule(row.function, dtype), device_rule(row.derivative, dtype)
    slope_derivative = device_rule(row.trainable, dtype) if has_slope else None
    noise_std = device_rule(row.std, dtype) if adds_noise else None
    adds_skip = skip is not None and not skip.weighted
    locate, read = reader(layout, skip.source) if adds_skip else (None, None)
    rate_at = LAYERS + level * LAYER_EXTRAS + DROPOUT

    @device
    def write_output(r, j, z, first, position, X, order, P, work, extras, seed, step):
        if adds_skip:
            z += read(X, work, locate(order, position, r), j)
        where = (first + r) * width + j
        if adds_noise:
            z += T(noise_std(z) * normal_at(random_key(seed, step, 2 * level + 2), where))
        da_dz = T(1)
        a = z
        factor = T(1)
        if has_dropout:
            rate = extras[rate_at]
            dropped = is_dropped(random_key(seed, step, 2 * level + 3), where, drop_limit(rate))
            factor = T(0) if dropped else T(1 / (1 - rate))
        if has_slope:
            slope = P[slopes_at + j * slope_step]
            if saved:
                da_dz = derivative(z, slope)
                work[slope_gradients + r * width + j] = slope_derivative(z) * factor
            a = function(z, slope)
        elif elementwise:
            a = function(z)
            if saved:
                da_dz = derivative(z if of_input else a)
        if has_dropout:
            a *= factor
            da_dz *= factor
        work[outputs + r * width + j] = a
        if saved:
            work[derivatives + r * width + j] = da_dz

    return write_output


def dense_layer(layout, level, dtype):
    """forward(t, n, first, rows, position, X, order, P, work, extras, seed, step) of one layer, without a softmax."""
    T, block, width = dtype.type, layout.blocks[level], layout.blocks[level].fan_out
    W, bias = block.start, block.start + block.fan_in * width
    below, skip = layout.network.sizes[level], layout.skip(level)
    has_skip = skip is not None and skip.weighted
    locate, read = reader(layout, level)
    locate_skip, read_skip = reader(layout, skip.source) if has_skip else (locate, read)
    more = block.fan_in - below
    write_output, TILE = output_writer(layout, level, dtype), layout.tile_rows

    @device
    def forward(t, n, first, rows, position, X, order, P, work, extras, seed, step):
        z = cuda.local.array(TILE, T)
        where = cuda.local.array(TILE, "int64")
        item, n_items = t, (rows + TILE - 1) // TILE * width
        while item < n_items:
            j, r = item % width, item // width * TILE
            for i in range(TILE):
                z[i] = P[bias + j]
                where[i] = locate(order, position, min(r + i, rows - 1))
            for k in range(below):
                weight = P[W + k * width + j]
                for i in range(TILE):
                    z[i] += read(X, work, where[i], k) * weight
            if has_skip:
                for i in range(TILE):
                    where[i] = locate_skip(order, position, min(r + i, rows - 1))
                for k in range(more):
                    weight = P[W + (below + k) * width + j]
                    for i in range(TILE):
                        z[i] += read_skip(X, work, where[i], k) * weight
            for i in range(TILE):
                if r + i < rows:
                    write_output(r + i, j, z[i], first, position, X, order, P, work, extras, seed, step)
            item += n

    return forward
