"""Gradients by tiles, and the update of each part of the weights as soon as its gradient is there.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from math import sqrt as _sqrt

from fastmlp.kernels.rules.activations import sign

from .partition import (
    BENDS,
    CLIP,
    DELTAS,
    FACTOR,
    FAN_IN,
    FAN_OUT,
    FIELDS,
    INPUTS,
    L1,
    L2,
    LAYER_EXTRAS,
    LAYERS,
    LEARNED,
    OPTIONS,
    PACKED,
    RATE,
    SCALE,
    SHRINK,
    STRIDE,
    WEIGHTS,
    share,
)
from .primitives import (
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    apply_update,
    at,
    at_doubles,
    at_integers,
    bint,
    lanes,
    sum_of_squares,
    tile_rows,
)
from .products import DEPTH, TILE_VECTORS, product

SCRATCH_ROWS = 256  # of a gradient that is made before its update, where operands are too large for the caches
SCRATCH_TILES = 4  # the same, in tiles, where they are not: a call of the update for fewer costs more than it does
BLOCK = 1024  # parameters whose gradients are added up before their update


def learn(
    optimizer: int, parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, offset: int, g: Vector,
    n: int, decays: bint, factor: float, settings: Doubles,
) -> None:  # fmt: skip
    """Update ``n`` parameters from their gradient g, or note it in ``gradient`` where there is no optimizer."""
    T = type(g[0])
    w: Vector = at(parameters, offset)
    if decays and settings[L2] > 0:
        strength: Number = T(settings[L2])
        for i in range(n):
            g[i] += strength * w[i]
    if decays and settings[L1] > 0:
        pull: Number = T(settings[L1])
        for i in range(n):
            g[i] += pull * sign(w[i])
    if optimizer == NO_RULE:
        to: Vector = at(gradient, offset)
        for i in range(n):
            to[i] = g[i]
    else:
        if settings[SCALE] != 1:
            scale: Number = T(settings[SCALE])
            for i in range(n):
                g[i] *= scale
        if settings[CLIP] > 0:
            bound: Number = T(settings[CLIP])
            for i in range(n):
                g[i] = -bound if g[i] < -bound else bound if g[i] > bound else g[i]
        if decays and settings[SHRINK] > 0:
            rest: Number = T(1 - settings[SHRINK] * factor)
            for i in range(n):
                w[i] *= rest
        apply_update(
            optimizer, w, g, at(slots, offset), n_parameters, n, settings[RATE] * factor, at_doubles(settings, OPTIONS)
        )


def learn_weights(
    a: Vector, rows: Integers, n_rows: int, delta: Vector, delta_stride: int, first_row: int, stop_row: int,
    fan_out: int, packed: bint, strips: Integers, optimizer: int, parameters: Vector, gradient: Vector, slots: Vector,
    n_parameters: int, offset: int, factor: float, settings: Doubles, scratch: Vector,
) -> None:  # fmt: skip
    """Gradient A^T delta of a part of a weight matrix, and at once the update of that part."""
    step = lanes(a)
    stride = (fan_out + step - 1) // step * step
    g: Vector = at(scratch, TILE_VECTORS * step * (DEPTH + 1) + (SCRATCH_ROWS * DEPTH if packed else 0))
    height = SCRATCH_ROWS if packed else SCRATCH_TILES * tile_rows()
    for i in range(first_row, stop_row, height):
        count = min(height, stop_row - i)
        place = offset + i * fan_out
        product(
            at(a, i), rows, 1, 0, count, n_rows, delta, delta_stride, 0, packed, strips, 0, stride, delta, 0, g,
            stride, scratch,
        )  # fmt: skip
        if fan_out < step:  # close the gaps: updates of a few numbers each would cost more
            for r in range(1, count):
                for j in range(fan_out):
                    g[r * fan_out + j] = g[r * stride + j]
        if stride == fan_out or fan_out < step:
            learn(optimizer, parameters, gradient, slots, n_parameters, place, g, count * fan_out, 1, factor, settings)
        else:
            for r in range(count):
                learn(
                    optimizer, parameters, gradient, slots, n_parameters, place + r * fan_out, at(g, r * stride),
                    fan_out, 1, factor, settings,
                )  # fmt: skip


def learn_biases(
    delta: Vector, delta_stride: int, n_rows: int, first: int, stop: int, optimizer: int, parameters: Vector,
    gradient: Vector, slots: Vector, n_parameters: int, offset: int, factor: float, settings: Doubles, scratch: Vector,
) -> None:  # fmt: skip
    """Column sums of delta, and at once the update of those biases."""
    T = type(delta[0])
    for j in range(first, stop):
        scratch[j] = T(0)
    for r in range(n_rows):
        row: Vector = at(delta, r * delta_stride)
        for j in range(first, stop):
            scratch[j] += row[j]
    if stop > first:
        learn(
            optimizer, parameters, gradient, slots, n_parameters, offset + first, at(scratch, first), stop - first,
            0, factor, settings,
        )  # fmt: skip


def learn_shared_slope(
    bends: Vector, stride: int, n_rows: int, fan_out: int, optimizer: int, parameters: Vector, gradient: Vector,
    slots: Vector, n_parameters: int, offset: int, factor: float, settings: Doubles, scratch: Vector,
) -> None:  # fmt: skip
    """The sum of all bends, and the update of the one slope of a layer."""
    T = type(bends[0])
    total: float = 0.0
    for r in range(n_rows):
        row: Vector = at(bends, r * stride)
        for j in range(fan_out):
            total += row[j]
    scratch[0] = T(total)
    learn(optimizer, parameters, gradient, slots, n_parameters, offset, scratch, 1, 0, factor, settings)


def learn_part(
    thread: int, n_threads: int, by_columns: bint, low: int, high: int, inputs: Vector, offsets: Integers,
    strips: Integers, layers: Integers, n_layers: int, layer_rows: Integers, batch: int, optimizer: int,
    parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, extras: Doubles, settings: Doubles,
    workspace: Vector, scratch: Vector,
) -> None:  # fmt: skip
    """Gradient of rows low to high of the batch, and update, for one thread's part of the parameters of every layer."""
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out, offset = layer[FAN_IN], layer[FAN_OUT], layer[WEIGHTS]
        factor: float = extras[LAYERS + level * LAYER_EXTRAS + FACTOR]
        a: Vector = inputs if level == 0 else at(workspace, layer[INPUTS])
        here: Integers = at_integers(offsets if level == 0 else layer_rows, low + (0 if level == 0 else level * batch))
        delta: Vector = at(workspace, layer[DELTAS] + low * layer[STRIDE])
        left, right = share(fan_out, lanes(a), thread, n_threads), share(fan_out, lanes(a), thread + 1, n_threads)
        learn_biases(
            delta, layer[STRIDE], high - low, left, right, optimizer, parameters, gradient, slots, n_parameters,
            offset + fan_in * fan_out, factor, settings, scratch,
        )  # fmt: skip
        if layer[LEARNED] > 0:
            bends: Vector = at(workspace, layer[BENDS] + low * layer[STRIDE])
            slopes = offset + (fan_in + 1) * fan_out
            if layer[LEARNED] == fan_out:
                learn_biases(
                    bends, layer[STRIDE], high - low, left, right, optimizer, parameters, gradient, slots,
                    n_parameters, slopes, factor, settings, scratch,
                )  # fmt: skip
            elif thread == 0:
                learn_shared_slope(
                    bends, layer[STRIDE], high - low, fan_out, optimizer, parameters, gradient, slots, n_parameters,
                    slopes, factor, settings, scratch,
                )  # fmt: skip
        top, bottom = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
        if by_columns and level == 0:
            top, bottom, fan_out = 0, fan_in, right - left
            delta = at(delta, left)
            offset += fan_in * left
        if fan_out > 0:
            learn_weights(
                a, here, high - low, delta, layer[STRIDE], top, bottom, fan_out, layer[PACKED], strips, optimizer,
                parameters, gradient, slots, n_parameters, offset, factor, settings, scratch,
            )  # fmt: skip


def learn_sums(
    thread: int, n_threads: int, layers: Integers, n_layers: int, sums: Vector, n_groups: int, optimizer: int,
    parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, extras: Doubles, settings: Doubles,
    scratch: Vector,
) -> None:  # fmt: skip
    """The update of one thread's part of every layer from the gradients of all groups, which follow in ``sums``."""
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        n_weights = layer[FAN_IN] * layer[FAN_OUT]
        for weights in range(2):
            n = n_weights if weights else layer[FAN_OUT] + layer[LEARNED]
            offset = layer[WEIGHTS] + (0 if weights else n_weights)
            start, stop = share(n, BLOCK, thread, n_threads), share(n, BLOCK, thread + 1, n_threads)
            for i in range(start, stop, BLOCK):
                count = min(BLOCK, stop - i)
                first: Vector = at(sums, offset + i)
                for j in range(count):
                    scratch[j] = first[j]
                for group in range(1, n_groups):
                    more: Vector = at(first, group * n_parameters)
                    for j in range(count):
                        scratch[j] += more[j]
                learn(
                    optimizer, parameters, gradient, slots, n_parameters, offset + i, scratch, count,
                    weights, extras[LAYERS + level * LAYER_EXTRAS + FACTOR], settings,
                )  # fmt: skip


def penalties_of(
    W: Vector, fan_in: int, fan_out: int, by_columns: bint, thread: int, n_threads: int, alpha: float, lasso: float,
    pieces: Doubles,
) -> None:  # fmt: skip
    """alpha |W|^2 / 2 + lasso |W| of this thread's part of a weight matrix, in pieces that do not depend on how many
    threads there are."""
    if by_columns:
        left, right = share(fan_out, lanes(W), thread, n_threads), share(fan_out, lanes(W), thread + 1, n_threads)
        width = right - left
        for j in range(left, right):
            pieces[j] = 0.0
        for i in range(fan_in):
            row: Vector = at(W, fan_in * left + i * width)
            for j in range(width):
                value: float = float(row[j])
                pieces[left + j] += alpha / 2 * value * value + lasso * abs(value)
    else:
        start, stop = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
        for i in range(start, stop, tile_rows()):
            n = min(tile_rows(), stop - i) * fan_out
            part: Vector = at(W, i * fan_out)
            pieces[i // tile_rows()] = alpha / 2 * sum_of_squares(part, n) if alpha > 0 else 0.0
            if lasso > 0:
                total: float = 0.0
                for j in range(n):
                    total += abs(part[j])
                pieces[i // tile_rows()] += lasso * total


def squares_of_gradient(gradient: Vector, n: int, thread: int, n_threads: int, pieces: Doubles) -> None:
    """Sums of squares of this thread's part of a gradient, a number for each BLOCK of it."""
    start, stop = share(n, BLOCK, thread, n_threads), share(n, BLOCK, thread + 1, n_threads)
    for i in range(start, stop, BLOCK):
        pieces[i // BLOCK] = sum_of_squares(at(gradient, i), min(BLOCK, stop - i))


def limit_norms(
    layers: Integers, n_layers: int, thread: int, n_threads: int, parameters: Vector, bound: float, scratch: Vector
) -> None:
    """Weights into a unit, for this thread's part of the units, scaled down to a norm of at most ``bound``."""
    T = type(parameters[0])
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out = layer[FAN_IN], layer[FAN_OUT]
        left, right = share(fan_out, 1, thread, n_threads), share(fan_out, 1, thread + 1, n_threads)
        W: Vector = at(parameters, layer[WEIGHTS])
        for j in range(left, right):
            scratch[j] = T(0)
        for i in range(fan_in):
            row: Vector = at(W, i * fan_out)
            for j in range(left, right):
                scratch[j] += row[j] * row[j]
        for j in range(left, right):
            norm: float = _sqrt(float(scratch[j]))
            scratch[j] = T(bound / norm) if norm > bound else T(1)
        for i in range(fan_in):
            row = at(W, i * fan_out)
            for j in range(left, right):
                row[j] *= scratch[j]
