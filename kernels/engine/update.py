"""Gradients by tiles, each followed at once by the update of its part of the weights.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from math import sqrt as _sqrt

from fastmlp.kernels.rules.activations import sign

from .bfloat16_tiles import FLOAT_UNIT, INNER, SIDE, TILE_SCRATCH
from .partition import FACTOR, LASSO, LAYER_EXTRAS, LAYERS, MAX_NORM, share
from .primitives import (
    BY_COLUMN,
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    apply_update,
    at,
    bint,
    lanes,
    sum_of_squares,
    tile_rows,
)
from .products import DEPTH, TILE_VECTORS, product
from .records import Layer, Layout, Run, Worker
from .reduced_precision import multiply_gradient

SCRATCH_ROWS = 256  # of a gradient per update, if operands exceed the caches
SCRATCH_TILES = 4  # the same in tiles otherwise: with fewer, the calls cost more than the updates
BLOCK = 1024  # parameters whose gradients are added up before their update, of groups of rows or of sparse rows


def learn(worker: Worker, offset: int, g: Vector, n: int, decays: bint, factor: float) -> None:
    """Update ``n`` parameters from their gradient g, or store the gradient if there is no update rule."""
    T = type(g[0])
    run: Run = worker.run
    w: Vector = at(run.parameters, offset)
    if decays and worker.l2 > 0:
        strength: Number = T(worker.l2)
        for i in range(n):
            g[i] += strength * w[i]
    if decays and worker.l1 > 0:
        pull: Number = T(worker.l1)
        for i in range(n):
            g[i] += pull * sign(w[i])
    if worker.rule == NO_RULE:
        to: Vector = at(worker.gradient, offset)
        for i in range(n):
            to[i] = g[i]
    else:
        if worker.scale != 1:
            scale: Number = T(worker.scale)
            for i in range(n):
                g[i] *= scale
        if worker.clip > 0:
            bound: Number = T(worker.clip)
            for i in range(n):
                g[i] = -bound if g[i] < -bound else bound if g[i] > bound else g[i]
        if decays and worker.shrink > 0:
            rest: Number = T(1 - worker.shrink * factor)
            for i in range(n):
                w[i] *= rest
        slots: Vector = at(run.slots, offset)
        apply_update(worker.rule, w, g, slots, run.layout.n_parameters, n, worker.rate * factor, run.optimizer_options)


def learn_weights(
    worker: Worker, layer: Layer, a: Vector, rows: Integers, delta: Vector, first_row: int, stop_row: int, fan_out: int,
    offset: int, factor: float,
) -> None:  # fmt: skip
    """Compute the gradient A^T delta of a part of a weight matrix and update that part."""
    layout: Layout = worker.run.layout
    tiled = layout.unit != FLOAT_UNIT
    strips: Integers = at(layout.layer_rows, (layout.n_layers + 1) * layout.batch)
    scratch: Vector = worker.scratch
    packed, n_rows = layer.packed, worker.high - worker.low
    step = SIDE if tiled else lanes(a)
    stride = (fan_out + step - 1) // step * step
    g: Vector = at(
        scratch,
        TILE_SCRATCH if tiled else TILE_VECTORS * step * (DEPTH + 1) + (SCRATCH_ROWS * DEPTH if packed else 0),
    )
    height = INNER if tiled else SCRATCH_ROWS if packed else SCRATCH_TILES * tile_rows()
    for i in range(first_row, stop_row, height):
        count = min(height, stop_row - i)
        place = offset + i * fan_out
        if tiled:
            multiply_gradient(worker, layer, i, count, g, stride)
        else:
            product(
                at(a, i), rows, rows, BY_COLUMN, 0, count, n_rows, delta, layer.stride, 0, packed, strips, 0, stride,
                delta, 0, g, stride, scratch,
            )  # fmt: skip
        if fan_out < step:  # close the gaps: many small updates would be slower
            for r in range(1, count):
                for j in range(fan_out):
                    g[r * fan_out + j] = g[r * stride + j]
        if stride == fan_out or fan_out < step:
            learn(worker, place, g, count * fan_out, 1, factor)
        else:
            for r in range(count):
                learn(worker, place + r * fan_out, at(g, r * stride), fan_out, 1, factor)


def learn_biases(
    worker: Worker, delta: Vector, delta_stride: int, first: int, stop: int, offset: int, factor: float
) -> None:
    """Compute column sums of delta and update those biases."""
    T = type(delta[0])
    sums: Vector = worker.scratch
    n_rows, width = worker.high - worker.low, lanes(delta)
    padded = (stop + width - 1) // width * width  # whole vectors; ``first`` is a multiple of their width
    for j in range(first, padded):
        sums[j] = T(0)
    for r in range(0, n_rows - 3, 4):  # fewer loads and stores of the sums, in the same order of additions
        row: Vector = at(delta, r * delta_stride)
        second: Vector = at(row, delta_stride)
        third: Vector = at(second, delta_stride)
        fourth: Vector = at(third, delta_stride)
        for j in range(first, padded):
            sums[j] = sums[j] + row[j] + second[j] + third[j] + fourth[j]
    for r in range(n_rows - n_rows % 4, n_rows):
        row = at(delta, r * delta_stride)
        for j in range(first, padded):
            sums[j] += row[j]
    if stop > first:
        learn(worker, offset + first, at(sums, first), stop - first, 0, factor)


def learn_shared_slope(
    worker: Worker, slope_gradients: Vector, stride: int, fan_out: int, offset: int, factor: float
) -> None:
    """Sum dLoss/dslope over all units and update the layer's shared slope."""
    T = type(slope_gradients[0])
    total: float = 0.0
    for r in range(worker.high - worker.low):
        row: Vector = at(slope_gradients, r * stride)
        for j in range(fan_out):
            total += row[j]
    sums: Vector = worker.scratch
    sums[0] = T(total)
    learn(worker, offset, sums, 1, 0, factor)


def learn_part(worker: Worker, thread: int, n_threads: int) -> None:
    """Compute the gradient of the worker's rows and update one thread's part of the parameters of every layer."""
    run: Run = worker.run
    layout: Layout = run.layout
    workspace: Vector = worker.workspace
    low = worker.low
    for level in range(layout.n_layers):
        layer: Layer = at(layout.layers, level)
        fan_in, fan_out, offset = layer.fan_in, layer.fan_out, layer.weights
        factor: float = run.extras[LAYERS + level * LAYER_EXTRAS + FACTOR]
        a: Vector = worker.inputs if level == 0 else at(workspace, layer.inputs)
        here: Integers = at(worker.offsets, low) if level == 0 else at(layout.layer_rows, level * layout.batch + low)
        delta: Vector = at(workspace, layer.deltas + low * layer.stride)
        left, right = share(fan_out, lanes(a), thread, n_threads), share(fan_out, lanes(a), thread + 1, n_threads)
        learn_biases(worker, delta, layer.stride, left, right, offset + fan_in * fan_out, factor)
        if layer.n_slopes > 0:
            slope_gradients: Vector = at(workspace, layer.slope_deltas + low * layer.stride)
            slopes = offset + (fan_in + 1) * fan_out
            if layer.n_slopes == fan_out:
                learn_biases(worker, slope_gradients, layer.stride, left, right, slopes, factor)
            elif thread == 0:
                learn_shared_slope(worker, slope_gradients, layer.stride, fan_out, slopes, factor)
        if layout.n_terms > 0 and layout.unit == FLOAT_UNIT:
            a = at(run.packed, layer.packed_inputs)
            here = at(layout.layer_rows, level * layout.batch + low)
            delta = at(run.packed, layer.packed_deltas + low * layer.stride)
        unit = layout.row_unit
        top, bottom = share(fan_in, unit, thread, n_threads), share(fan_in, unit, thread + 1, n_threads)
        if layout.by_columns and level == 0:
            top, bottom, fan_out = 0, fan_in, right - left
            delta = at(delta, left)
            offset += fan_in * left
        if fan_out > 0 and not (layout.sparse and level == 0):
            learn_weights(worker, layer, a, here, delta, top, bottom, fan_out, offset, factor)


def learn_sums(worker: Worker, sums: Vector, n_groups: int, stride: int, thread: int, n_threads: int) -> None:
    """Update one thread's part of every layer from the gradients of all groups, ``stride`` apart in ``sums``."""
    run: Run = worker.run
    layout: Layout = run.layout
    scratch: Vector = worker.scratch
    for level in range(layout.n_layers):
        layer: Layer = at(layout.layers, level)
        factor: float = run.extras[LAYERS + level * LAYER_EXTRAS + FACTOR]
        n_weights = layer.fan_in * layer.fan_out
        for weights in range(2):
            n = n_weights if weights else layer.fan_out + layer.n_slopes
            offset = layer.weights + (0 if weights else n_weights)
            start, stop = share(n, BLOCK, thread, n_threads), share(n, BLOCK, thread + 1, n_threads)
            for i in range(start, stop, BLOCK):
                count = min(BLOCK, stop - i)
                first: Vector = at(sums, offset + i)
                for j in range(count):
                    scratch[j] = first[j]
                for group in range(1, n_groups):
                    more: Vector = at(first, group * stride)
                    for j in range(count):
                        scratch[j] += more[j]
                learn(worker, offset + i, scratch, count, weights, factor)


def penalties_of(worker: Worker, layer: Layer, by_columns: bint) -> None:
    """alpha |W|^2 / 2 + lasso |W| of this thread's part of a weight matrix, in partial sums that do not depend on the
    number of threads."""
    run: Run = worker.run
    W: Vector = at(run.parameters, layer.weights)
    sums: Doubles = at(run.squares, layer.squares)
    alpha: float = run.alpha
    lasso: float = run.extras[LASSO]
    fan_in, fan_out, thread, n_threads = layer.fan_in, layer.fan_out, worker.thread, run.n_threads
    if by_columns:
        left, right = share(fan_out, lanes(W), thread, n_threads), share(fan_out, lanes(W), thread + 1, n_threads)
        width = right - left
        for j in range(left, right):
            sums[j] = 0.0
        for i in range(fan_in):
            row: Vector = at(W, fan_in * left + i * width)
            for j in range(width):
                value: float = float(row[j])
                sums[left + j] += alpha / 2 * value * value + lasso * abs(value)
    else:
        start, stop = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
        for i in range(start, stop, tile_rows()):
            n = min(tile_rows(), stop - i) * fan_out
            part: Vector = at(W, i * fan_out)
            sums[i // tile_rows()] = alpha / 2 * sum_of_squares(part, n) if alpha > 0 else 0.0
            if lasso > 0:
                total: float = 0.0
                for j in range(n):
                    total += abs(part[j])
                sums[i // tile_rows()] += lasso * total


def squares_of_gradient(worker: Worker) -> None:
    """Sums of squares of this thread's part of a gradient, one for each BLOCK."""
    run: Run = worker.run
    gradient: Vector = run.gradient
    sums: Doubles = run.squares
    n = run.layout.n_parameters
    start, stop = share(n, BLOCK, worker.thread, run.n_threads), share(n, BLOCK, worker.thread + 1, run.n_threads)
    for i in range(start, stop, BLOCK):
        sums[i // BLOCK] = sum_of_squares(at(gradient, i), min(BLOCK, stop - i))


def limit_norms(worker: Worker) -> None:
    """Scale down the weights into each of this thread's units to a norm of at most MAX_NORM."""
    run: Run = worker.run
    layout: Layout = run.layout
    scratch: Vector = worker.scratch
    T = type(scratch[0])
    bound: float = run.extras[MAX_NORM]
    for level in range(layout.n_layers):
        layer: Layer = at(layout.layers, level)
        fan_in, fan_out = layer.fan_in, layer.fan_out
        left = share(fan_out, 1, worker.thread, run.n_threads)
        right = share(fan_out, 1, worker.thread + 1, run.n_threads)
        W: Vector = at(run.parameters, layer.weights)
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
