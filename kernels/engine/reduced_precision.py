"""The matrix products of a network with operands of one or two bfloat16 each: what the passes and updates call.

A thread prepares what its rows of a batch contribute, inputs and deltas of each layer, as operands of the gradient in
``packed``, which all threads share; and its part of the weights at the start of a step. On a unit for bfloat16 an
operand is packed into tiles, in as many arrangements as there are products (engine/bfloat16_tiles.py); otherwise it is
copied in float32, rounded, and engine/products.py multiplies.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .bfloat16_tiles import FLOAT_UNIT, INNER, SIDE, TILE_SCRATCH, WORDS, multiply_tiles, pack_along, pack_down
from .partition import share
from .primitives import BY_ROW, NO_RULE, Integers, Number, Vector, activate, at, bint, derive, lower_term
from .products import delta_rows, dense_rows
from .records import Layer, Layout, Run, Worker

LEFT_WORDS = 2**18  # of a left operand at a time: it stays in the second-level cache


def n_tiles(n: int) -> int:
    """Number of tiles along an inner dimension of n numbers."""
    return (n + INNER - 1) // INNER


def rows_at_once(inner: int) -> int:
    """Rows of a left operand that are packed at a time."""
    return max(INNER, min(512, LEFT_WORDS // (n_tiles(inner) * SIDE) // INNER * INNER))


def round_row(x: Vector, n: int, n_terms: int, out: Vector) -> None:
    """n numbers, each as the sum of its terms."""
    if n_terms == 1:
        for j in range(n):
            out[j] = x[j] - lower_term(x[j])
    else:
        for j in range(n):
            rest: Number = lower_term(x[j])
            out[j] = x[j] - lower_term(rest)


def prepare_weights(worker: Worker) -> None:
    """Make operands of this thread's part of all weights."""
    run: Run = worker.run
    layout: Layout = run.layout
    n_terms = layout.n_terms
    for level in range(layout.n_layers):
        layer: Layer = at(layout.layers, level)
        fan_in, fan_out = layer.fan_in, layer.fan_out
        first = share(fan_in, INNER, worker.thread, run.n_threads)
        stop = share(fan_in, INNER, worker.thread + 1, run.n_threads)
        W: Vector = at(run.parameters, layer.weights)
        to: Vector = at(run.packed, layer.packed_weights)
        if layout.unit == FLOAT_UNIT:
            round_row(at(W, first * fan_out), (stop - first) * fan_out, n_terms, at(to, first * fan_out))
            continue
        size = n_terms * WORDS
        step, transposed_step = n_tiles(fan_in) * size, n_tiles(fan_out) * size
        for i in range(first, stop, INNER):  # in both arrangements while they are in the caches
            rows: Integers = at(layout.weight_rows, layer.first_weight_row + i)
            count = min(INNER, stop - i)
            pack_down(W, rows, count, fan_out, n_terms, 0, step, at(to, i // INNER * size), worker.scratch)
            if layer.packed_transpose >= 0:
                other: Vector = at(run.packed, layer.packed_transpose + i // SIDE * transposed_step)
                pack_along(W, rows, count, fan_out, n_terms, 1, transposed_step, other, worker.scratch)


def prepare_rows(
    worker: Worker, M: Vector, rows: Integers, low: int, high: int, width: int, transposed: bint, place: int,
    own_rows: Integers,
) -> None:  # fmt: skip
    """Make an operand of a gradient of rows ``low`` to ``high`` of a layer's inputs or deltas, row i at M + rows[i].

    The operand of the whole batch is at ``place`` in ``packed``. If it is a copy in float32, row i is own_rows[i] on.
    """
    layout: Layout = worker.run.layout
    n_terms = layout.n_terms
    size = n_terms * WORDS
    to: Vector = at(worker.run.packed, place)
    if layout.unit == FLOAT_UNIT:
        for r in range(low, high):
            round_row(at(M, rows[r]), width, n_terms, at(to, own_rows[r]))
    elif high > low:
        pack_down(
            M, at(rows, low), high - low, width, n_terms, transposed, n_tiles(layout.batch) * size,
            at(to, low // INNER * size), worker.scratch,
        )  # fmt: skip


def multiply_rows(
    worker: Worker, a: Vector, rows: Integers, n_rows: int, inner: int, right: Vector, n_columns: int, bias: Vector,
    biased: bint, out: Vector, stride: int,
) -> None:  # fmt: skip
    """out = bias + A B for rows of A, row i at a + rows[i], and packed B."""
    layout: Layout = worker.run.layout
    left: Vector = at(worker.scratch, TILE_SCRATCH)
    n_terms, depth, height = layout.n_terms, n_tiles(inner), rows_at_once(inner)
    step = depth * n_terms * WORDS
    for i in range(0, n_rows, height):
        count = min(height, n_rows - i)
        pack_along(a, at(rows, i), count, inner, n_terms, 0, step, left, worker.scratch)
        multiply_tiles(
            layout.unit, n_terms, left, right, step, depth, count, n_columns, bias, biased, at(out, i * stride), stride,
            worker.scratch,
        )  # fmt: skip


def reduced_dense_rows(
    worker: Worker, level: int, a: Vector, rows: Integers, low: int, high: int, activation: int
) -> None:
    """``dense_rows`` of a layer; while training, its inputs become an operand of its gradient."""
    run: Run = worker.run
    layout: Layout = run.layout
    layer: Layer = at(layout.layers, level)
    fan_in, fan_out, stride = layer.fan_in, layer.fan_out, layer.stride
    W: Vector = at(run.packed, layer.packed_weights)
    b: Vector = at(run.parameters, layer.weights + fan_in * fan_out)
    out: Vector = at(worker.workspace, layer.outputs)
    own_rows: Integers = at(layout.layer_rows, level * layout.batch)
    if layer.packed_inputs >= 0:
        prepare_rows(worker, a, rows, low, high, fan_in, 1, layer.packed_inputs, own_rows)
    if layout.unit == FLOAT_UNIT:
        inputs: Vector = at(run.packed, layer.packed_inputs)
        if layer.packed_inputs < 0:
            inputs = at(worker.workspace, layout.rounded)
            for r in range(low, high):
                round_row(at(a, rows[r]), fan_in, layout.n_terms, at(inputs, own_rows[r]))
        dense_rows(
            inputs, own_rows, own_rows, BY_ROW, low, high, fan_in, fan_out, W, b, layer.packed, activation, out, stride,
            worker.scratch,
        )  # fmt: skip
        return
    multiply_rows(worker, a, at(rows, low), high - low, fan_in, W, fan_out, b, 1, at(out, low * stride), stride)
    if activation != NO_RULE:
        activate(activation, at(out, low * stride), high - low, fan_out, stride)


def reduced_delta_rows(worker: Worker, level: int, activation: int, a: Vector, out: Vector, stride: int) -> None:
    """``delta_rows`` of a layer for the worker's rows, once ``prepare_deltas`` has been called for it."""
    run: Run = worker.run
    layout: Layout = run.layout
    layer: Layer = at(layout.layers, level)
    rows: Integers = at(layout.layer_rows, (level + 1) * layout.batch)
    low, high, fan_in, fan_out = worker.low, worker.high, layer.fan_in, layer.fan_out
    if layout.unit == FLOAT_UNIT:
        delta_rows(
            at(run.packed, layer.packed_deltas), rows, low, high, fan_in, fan_out,
            at(run.packed, layer.packed_weights), activation, a, out, stride, worker.scratch,
        )  # fmt: skip
        return
    to: Vector = at(out, low * stride)
    multiply_rows(
        worker, at(worker.workspace, layer.deltas), at(rows, low), high - low, fan_out,
        at(run.packed, layer.packed_transpose), fan_in, a, 0, to, stride,
    )  # fmt: skip
    if activation != NO_RULE:
        derive(activation, at(a, low * stride), to, high - low, fan_in, stride)


def prepare_deltas(worker: Worker, level: int) -> None:
    """Make operands of the worker's rows of the deltas of a layer."""
    layout: Layout = worker.run.layout
    layer: Layer = at(layout.layers, level)
    rows: Integers = at(layout.layer_rows, (level + 1) * layout.batch)
    deltas: Vector = at(worker.workspace, layer.deltas)
    prepare_rows(worker, deltas, rows, worker.low, worker.high, layer.fan_out, 0, layer.packed_deltas, rows)


def multiply_gradient(worker: Worker, layer: Layer, first: int, count: int, g: Vector, stride: int) -> None:
    """Rows of the gradient of a weight matrix, from packed operands; ``first`` is a multiple of 32."""
    layout: Layout = worker.run.layout
    packed: Vector = worker.run.packed
    size = layout.n_terms * WORDS
    step, begin = n_tiles(layout.batch) * size, worker.low // INNER * size
    multiply_tiles(
        layout.unit, layout.n_terms, at(packed, layer.packed_inputs + first // SIDE * step + begin),
        at(packed, layer.packed_deltas + begin), step, n_tiles(worker.high - worker.low), count, layer.fan_out, packed,
        0, g, stride, worker.scratch,
    )  # fmt: skip
