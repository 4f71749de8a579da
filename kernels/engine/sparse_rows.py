"""The first layer on sparse rows: X in compressed sparse rows (CSR), of which only the nonzeros are visited.

For the gradient every thread reads all nonzeros of a batch and takes those in the columns of its rows of W, in the
order of the samples, so that results do not depend on the number of threads. Indices may be in any order and appear
several times.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .partition import FACTOR, LAYERS, share
from .primitives import NO_RULE, Indices, Integers, Number, Vector, activate, at, bint, lanes, tile_rows
from .records import Layer, Run, Worker
from .update import BLOCK, learn


def multiply_sparse_row(run: Run, number: int, W: Vector, b: Vector, fan_out: int, out: Vector) -> None:
    """out = x W + b for row ``number`` of X."""
    values: Vector = run.values
    indices: Indices = run.indices
    start, stop = run.row_starts[number], run.row_starts[number + 1]
    if 2 * fan_out < lanes(W):
        for j in range(fan_out):
            total: Number = b[j]
            for k in range(start, stop):
                total += values[k] * W[indices[k] * fan_out + j]
            out[j] = total
        return
    for j in range(fan_out):
        out[j] = b[j]
    whole = stop - (stop - start) % 4
    for k in range(start, whole, 4):  # fewer loads and stores of the sums, in the same order of additions
        v0: Number = values[k]
        v1: Number = values[k + 1]
        v2: Number = values[k + 2]
        v3: Number = values[k + 3]
        first: Vector = at(W, indices[k] * fan_out)
        second: Vector = at(W, indices[k + 1] * fan_out)
        third: Vector = at(W, indices[k + 2] * fan_out)
        fourth: Vector = at(W, indices[k + 3] * fan_out)
        for j in range(fan_out):
            out[j] = out[j] + v0 * first[j] + v1 * second[j] + v2 * third[j] + v3 * fourth[j]
    for k in range(whole, stop):
        v0 = values[k]
        first = at(W, indices[k] * fan_out)
        for j in range(fan_out):
            out[j] += v0 * first[j]


def multiply_sparse_rows(worker: Worker, low: int, high: int) -> None:
    """The first layer's outputs f(X W + b), or X W + b with layer features, for rows ``low`` to ``high`` of a batch."""
    run: Run = worker.run
    layer: Layer = run.layout.layers
    W: Vector = at(run.parameters, layer.weights)
    b: Vector = at(W, layer.fan_in * layer.fan_out)
    out: Vector = at(worker.workspace, layer.outputs)
    for r in range(low, high):
        multiply_sparse_row(run, worker.numbers[r], W, b, layer.fan_out, at(out, r * layer.stride))
    if not layer.has_features and high > low:
        activate(layer.activation, at(out, low * layer.stride), high - low, layer.fan_out, layer.stride)


def collect_nonzeros(worker: Worker, first: int, stop: int) -> None:
    """Make a list for each column from ``first`` to ``stop`` of its nonzeros in the batch, in the order of the samples.

    ``heads`` holds the number of the first nonzero of each column, from 1, and ``following`` that of the next one; 0
    ends a list. ``heads`` must be 0, and is 0 again after the update.
    """
    run: Run = worker.run
    values: Vector = run.values
    indices: Indices = run.indices
    heads: Integers = worker.heads
    following: Integers = worker.following
    entry_rows: Integers = worker.entry_rows
    entry_values: Vector = worker.entry_values
    n = 0
    for r in range(worker.high - 1, -1, -1):
        number = worker.numbers[r]
        begin = run.row_starts[number]
        for k in range(run.row_starts[number + 1] - 1, begin - 1, -1):
            column = indices[k] - first
            if column >= 0 and column < stop - first:
                n += 1
                entry_rows[n] = r
                entry_values[n] = values[k]
                following[n] = heads[column]
                heads[column] = n


def add_column(worker: Worker, column: int, delta: Vector, stride: int, fan_out: int, g: Vector) -> None:
    """Add the gradient of a row of W, the sum of its column's nonzeros times the deltas of their samples, to g."""
    heads: Integers = worker.heads
    following: Integers = worker.following
    entry_rows: Integers = worker.entry_rows
    entry_values: Vector = worker.entry_values
    entry = heads[column]
    heads[column] = 0
    while entry > 0:
        value: Number = entry_values[entry]
        errors: Vector = at(delta, entry_rows[entry] * stride)
        for j in range(fan_out):
            g[j] += value * errors[j]
        entry = following[entry]


def learn_named(worker: Worker, layer: Layer, first: int, stop: int, factor: float) -> None:
    """Update the rows of W whose columns have nonzeros in the batch, for rules that leave the others as they are."""
    run: Run = worker.run
    indices: Indices = run.indices
    heads: Integers = worker.heads
    g: Vector = worker.scratch
    T = type(g[0])
    delta: Vector = at(worker.workspace, layer.deltas)
    fan_out = layer.fan_out
    for r in range(worker.high):
        number = worker.numbers[r]
        for k in range(run.row_starts[number], run.row_starts[number + 1]):
            column = indices[k] - first
            if column >= 0 and column < stop - first and heads[column] > 0:
                for j in range(fan_out):
                    g[j] = T(0)
                add_column(worker, column, delta, layer.stride, fan_out, g)
                learn(worker, layer.weights + (first + column) * fan_out, g, fan_out, 1, factor)


def learn_all(worker: Worker, layer: Layer, first: int, stop: int, factor: float) -> None:
    """Update all rows of W in blocks; the gradient is 0 where a column has no nonzeros in the batch."""
    g: Vector = worker.scratch
    T = type(g[0])
    delta: Vector = at(worker.workspace, layer.deltas)
    fan_out = layer.fan_out
    height = max(1, BLOCK // fan_out)
    for i in range(first, stop, height):
        count = min(height, stop - i)
        for j in range(count * fan_out):
            g[j] = T(0)
        for c in range(count):
            add_column(worker, i + c - first, delta, layer.stride, fan_out, at(g, c * fan_out))
        learn(worker, layer.weights + i * fan_out, g, count * fan_out, 1, factor)


def learn_sparse(worker: Worker, thread: int, n_threads: int) -> None:
    """Compute the gradient of one thread's rows of the first matrix for a batch, and update them."""
    run: Run = worker.run
    layer: Layer = run.layout.layers
    factor: float = run.extras[LAYERS + FACTOR]
    first = share(layer.fan_in, tile_rows(), thread, n_threads)
    stop = share(layer.fan_in, tile_rows(), thread + 1, n_threads)
    collect_nonzeros(worker, first, stop)
    without_gradient_unchanged: bint = (
        worker.rule != NO_RULE and run.n_slots == 0 and worker.l2 == 0 and worker.l1 == 0 and worker.shrink == 0
    )
    if without_gradient_unchanged:
        learn_named(worker, layer, first, stop, factor)
    else:
        learn_all(worker, layer, first, stop, factor)
