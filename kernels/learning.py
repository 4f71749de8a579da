"""Gradients by tiles, and the update of each part of the weights as soon as its gradient is there.

Compiled twice, like products.py.
"""

from __future__ import annotations

from fastmlp.kernels.primitives import (
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    apply_update,
    at,
    at_integers,
    bint,
    lanes,
    sum_of_squares,
    tile_rows,
)
from fastmlp.kernels.products import DEPTH, TILE_VECTORS, product
from fastmlp.kernels.sharing import DELTAS, FAN_IN, FAN_OUT, FIELDS, INPUTS, PACKED, STRIDE, WEIGHTS, share

SCRATCH_ROWS = 256  # of a gradient that is made before its update, where operands are too large for the caches
SCRATCH_TILES = 4  # the same, in tiles, where they are not: a call of the update for fewer costs more than it does
BLOCK = 1024  # parameters whose gradients are added up before their update


def learn(
    optimizer: int, parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, offset: int, g: Vector,
    n: int, decay: float, rate: float, options: Doubles,
) -> None:  # fmt: skip
    """Update ``n`` parameters from their gradient g, or note it in ``gradient`` where there is no optimizer."""
    T = type(g[0])
    w: Vector = at(parameters, offset)
    if decay > 0:
        strength: Number = T(decay)
        for i in range(n):
            g[i] += strength * w[i]
    if optimizer == NO_RULE:
        to: Vector = at(gradient, offset)
        for i in range(n):
            to[i] = g[i]
    else:
        apply_update(optimizer, w, g, at(slots, offset), n_parameters, n, rate, options)


def learn_weights(
    a: Vector, rows: Integers, n_rows: int, delta: Vector, delta_stride: int, first_row: int, stop_row: int,
    fan_out: int, packed: bint, strips: Integers, optimizer: int, parameters: Vector, gradient: Vector, slots: Vector,
    n_parameters: int, offset: int, decay: float, rate: float, options: Doubles, scratch: Vector,
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
            learn(optimizer, parameters, gradient, slots, n_parameters, place, g, count * fan_out, decay, rate, options)
        else:
            for r in range(count):
                learn(
                    optimizer, parameters, gradient, slots, n_parameters, place + r * fan_out, at(g, r * stride),
                    fan_out, decay, rate, options,
                )  # fmt: skip


def learn_biases(
    delta: Vector, delta_stride: int, n_rows: int, first: int, stop: int, optimizer: int, parameters: Vector,
    gradient: Vector, slots: Vector, n_parameters: int, offset: int, rate: float, options: Doubles, scratch: Vector,
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
            0.0, rate, options,
        )  # fmt: skip


def learn_part(
    thread: int, n_threads: int, by_columns: bint, low: int, high: int, inputs: Vector, offsets: Integers,
    strips: Integers, layers: Integers, n_layers: int, layer_rows: Integers, batch: int, optimizer: int,
    parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, decay: float, rate: float,
    options: Doubles, workspace: Vector, scratch: Vector,
) -> None:  # fmt: skip
    """Gradient of rows low to high of the batch, and update, for one thread's part of the parameters of every layer."""
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out, offset = layer[FAN_IN], layer[FAN_OUT], layer[WEIGHTS]
        a: Vector = inputs if level == 0 else at(workspace, layer[INPUTS])
        here: Integers = at_integers(offsets if level == 0 else layer_rows, low + (0 if level == 0 else level * batch))
        delta: Vector = at(workspace, layer[DELTAS] + low * layer[STRIDE])
        left, right = share(fan_out, lanes(a), thread, n_threads), share(fan_out, lanes(a), thread + 1, n_threads)
        learn_biases(
            delta, layer[STRIDE], high - low, left, right, optimizer, parameters, gradient, slots, n_parameters,
            offset + fan_in * fan_out, rate, options, scratch,
        )  # fmt: skip
        top, bottom = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
        if by_columns and level == 0:
            top, bottom, fan_out = 0, fan_in, right - left
            delta = at(delta, left)
            offset += fan_in * left
        if fan_out > 0:
            learn_weights(
                a, here, high - low, delta, layer[STRIDE], top, bottom, fan_out, layer[PACKED], strips, optimizer,
                parameters, gradient, slots, n_parameters, offset, decay, rate, options, scratch,
            )  # fmt: skip


def learn_sums(
    thread: int, n_threads: int, layers: Integers, n_layers: int, sums: Vector, n_groups: int, optimizer: int,
    parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, decay: float, rate: float,
    options: Doubles, scratch: Vector,
) -> None:  # fmt: skip
    """The update of one thread's part of every layer from the gradients of all groups, which follow in ``sums``."""
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        n_weights = layer[FAN_IN] * layer[FAN_OUT]
        for weights in range(2):
            n = n_weights if weights else layer[FAN_OUT]
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
                    decay if weights else 0.0, rate, options,
                )  # fmt: skip


def squares_of(
    W: Vector, fan_in: int, fan_out: int, by_columns: bint, thread: int, n_threads: int, squares: Doubles
) -> None:
    """Sums of squares of this thread's part of a weight matrix, in pieces that do not depend on how many threads."""
    if by_columns:
        left, right = share(fan_out, lanes(W), thread, n_threads), share(fan_out, lanes(W), thread + 1, n_threads)
        width = right - left
        for j in range(left, right):
            squares[j] = 0.0
        for i in range(fan_in):
            row: Vector = at(W, fan_in * left + i * width)
            for j in range(width):
                value: float = float(row[j])
                squares[left + j] += value * value
    else:
        start, stop = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
        for i in range(start, stop, tile_rows()):
            n = min(tile_rows(), stop - i) * fan_out
            squares[i // tile_rows()] = sum_of_squares(at(W, i * fan_out), n)
