"""The forward pass of a batch: for each layer of weights a device function that threads share number by number.

``t`` of ``n`` is the thread's part. Rows are those of a slab of a batch: row r is number ``place`` + r of ``order``,
and number ``first`` + r of its batch, which is what random numbers go by.
"""

from numba import cuda

from fastmlp.kernels.cuda.rules import RANDOM, device, device_rule
from fastmlp.kernels.engine.partition import DROPOUT, INPUT_DEVIATION, INPUT_DROPOUT, LAYER_EXTRAS, LAYERS
from fastmlp.kernels.spec import activation_row

random_key, drop_limit, is_dropped, normal_at = (
    RANDOM[name] for name in ("random_key", "drop_limit", "is_dropped", "normal_at")
)


def reader(layout, level):
    """(handle(order, place, r), read(X, work, handle, k)): where a row of outputs ``level`` is, and its number k."""
    start, width, gathered = layout.outputs[level], layout.network.sizes[level], layout.features.learning

    @device
    def number_of(order, place, r):
        return order[place + r] if gathered else place + r

    @device
    def read_inputs(X, work, number, k):
        return X[number, k]

    @device
    def offset_of(order, place, r):
        return start + r * width

    @device
    def read_outputs(X, work, offset, k):
        return work[offset + k]

    return (number_of, read_inputs) if start < 0 else (offset_of, read_outputs)


def disturbed_inputs(layout, dtype):
    """Inputs with noise and dropout into the workspace."""
    T, width, start = dtype.type, layout.network.sizes[0], layout.inputs
    gathered = layout.features.learning

    @device
    def disturb(t, n, first, rows, place, X, order, work, extras, seed, step):
        deviation, rate = extras[INPUT_DEVIATION], extras[INPUT_DROPOUT]
        normal_key, drop_key = random_key(seed, step, 0), random_key(seed, step, 1)
        limit = drop_limit(rate)
        for item in range(t, rows * width, n):
            r, j = item // width, item % width
            x, where = X[order[place + r] if gathered else place + r, j], first * width + item
            if deviation > 0:
                x += T(deviation * normal_at(normal_key, where))
            if rate > 0:
                x = T(0) if is_dropped(drop_key, where, limit) else x * T(1 / (1 - rate))
            work[start + item] = x

    return disturb


def finisher(layout, level, dtype):
    """finish(r, j, z, ...): from x W + b of one unit to all that the layer leaves behind."""
    T, name, block = dtype.type, layout.network.activations[level], layout.blocks[level]
    row, width, skip = activation_row(name), block.fan_out, layout.skip(level)
    outputs, slopes, bends = layout.outputs[level + 1], layout.slopes[level], layout.bends[level]
    own = block.start + (block.fan_in + 1) * width
    step_of_own = 1 if block.n_slopes > 1 else 0
    learned, plain, noted = row.learned is not None, row.learned is None and not row.rowwise, slopes >= 0
    of_input, deviates, drops = row.of_input, layout.deviates(level), layout.drops(level)
    function, derivative = device_rule(row.function, dtype), device_rule(row.derivative, dtype)
    bend_of = device_rule(row.learned, dtype) if learned else None
    deviation = device_rule(row.deviation, dtype) if deviates else None
    added = skip is not None and not skip.weighted
    handle, read = reader(layout, skip.source) if added else (None, None)
    rate_at = LAYERS + level * LAYER_EXTRAS + DROPOUT

    @device
    def finish(r, j, z, first, place, X, order, P, work, extras, seed, step):
        if added:
            z += read(X, work, handle(order, place, r), j)
        where = (first + r) * width + j
        if deviates:
            z += T(deviation(z) * normal_at(random_key(seed, step, 2 * level + 2), where))
        slope = T(1)
        a = z
        factor = T(1)
        if drops:
            rate = extras[rate_at]
            dropped = is_dropped(random_key(seed, step, 2 * level + 3), where, drop_limit(rate))
            factor = T(0) if dropped else T(1 / (1 - rate))
        if learned:
            given = P[own + j * step_of_own]
            if noted:
                slope = derivative(z, given)
                work[bends + r * width + j] = bend_of(z) * factor
            a = function(z, given)
        elif plain:
            a = function(z)
            if noted:
                slope = derivative(z if of_input else a)
        if drops:
            a *= factor
            slope *= factor
        work[outputs + r * width + j] = a
        if noted:
            work[slopes + r * width + j] = slope

    return finish


def dense_layer(layout, level, dtype):
    """forward(t, n, first, rows, place, X, order, P, work, extras, seed, step) of one layer, but for softmax."""
    T, block, width = dtype.type, layout.blocks[level], layout.blocks[level].fan_out
    W, bias = block.start, block.start + block.fan_in * width
    below, skip = layout.network.sizes[level], layout.skip(level)
    beside = skip is not None and skip.weighted
    handle, read = reader(layout, level)
    handle_beside, read_beside = reader(layout, skip.source) if beside else (handle, read)
    more = block.fan_in - below
    finish, TILE = finisher(layout, level, dtype), layout.tile_rows

    @device
    def forward(t, n, first, rows, place, X, order, P, work, extras, seed, step):
        z = cuda.local.array(TILE, T)
        where = cuda.local.array(TILE, "int64")
        item, n_items = t, (rows + TILE - 1) // TILE * width
        while item < n_items:
            j, r = item % width, item // width * TILE
            for i in range(TILE):
                z[i] = P[bias + j]
                where[i] = handle(order, place, min(r + i, rows - 1))
            for k in range(below):
                weight = P[W + k * width + j]
                for i in range(TILE):
                    z[i] += read(X, work, where[i], k) * weight
            if beside:
                for i in range(TILE):
                    where[i] = handle_beside(order, place, min(r + i, rows - 1))
                for k in range(more):
                    weight = P[W + (below + k) * width + j]
                    for i in range(TILE):
                        z[i] += read_beside(X, work, where[i], k) * weight
            for i in range(TILE):
                if r + i < rows:
                    finish(r + i, j, z[i], first, place, X, order, P, work, extras, seed, step)
            item += n

    return forward
