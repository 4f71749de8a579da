"""The input stage: columns of X become the inputs of the first layer (kernels/inputs.py).

A block of rows is encoded column by column, so that loops over rows of periodic columns vectorise: they need sums over
frequencies, not over lanes. Only networks with a stage use these functions. Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.inputs import EMBEDDING, PERIODIC, PIECEWISE_LINEAR, PLAIN
from fastmlp.kernels.rules.elementary import cosine_of_turns

from .primitives import Doubles, Number, Vector, at, lanes
from .records import Column, Layout, Stage, Worker

STAGE_ROWS = 256  # encoded at a time: a few columns of so many rows stay in the first-level cache


def copy_columns(worker: Worker, X: Vector, number: int, r: int) -> None:
    """Copy row ``number`` of X to row r of the columns in the workspace."""
    stage: Stage = worker.run.layout.stage
    n_columns, height = stage.n_columns, stage.height
    source: Vector = at(X, number * n_columns)
    to: Vector = at(worker.workspace, stage.values + r)
    for c in range(n_columns):
        to[c * height] = source[c]


def copy_padded(values: Vector, n: int, to: Vector) -> int:
    """Copy n values, and zeros up to a multiple of the SIMD width, which is returned."""
    T = type(to[0])
    step = lanes(to)
    padded = (n + step - 1) // step * step
    for r in range(n):
        to[r] = values[r]
    for r in range(n, padded):
        to[r] = T(0)
    return padded


def code_of(values: Vector, r: int, n_values: int) -> int:
    """The code that value r is, or -1 for all but 0 to n_values - 1."""
    T = type(values[0])
    x: Number = values[r]
    if not (x >= T(0) and x < T(n_values)):
        return -1
    code = int(x)
    return code if T(code) == x else -1


def encode_codes(column: Column, table: Vector, x: Vector, n: int, out: Vector, stride: int) -> None:
    """One-hot codes, or rows of an embedding's table."""
    T = type(out[0])
    width, is_embedding = column.width, column.kind == EMBEDDING
    for r in range(n):
        to: Vector = at(out, r * stride)
        code = code_of(x, r, column.n)
        if is_embedding and code >= 0:
            source: Vector = at(table, code * width)
            for j in range(width):
                to[j] = source[j]
        else:
            for j in range(width):
                to[j] = T(0)
            if code >= 0:
                to[code] = T(1)


def encode_periodic(column: Column, own: Vector, x: Vector, n: int, out: Vector, stride: int, scratch: Vector) -> None:
    """x, and b_d + sum over k of V_kd cos(2 pi (w_k x + p_k))."""
    n_frequencies, size = column.n, column.size
    w: Vector = at(own, column.w)
    V: Vector = at(own, column.V)
    p: Vector = at(own, column.p)
    b: Vector = at(own, column.b)
    values: Vector = scratch
    cosines: Vector = at(scratch, STAGE_ROWS)
    sums: Vector = at(scratch, 2 * STAGE_ROWS)
    padded = copy_padded(x, n, values)
    for d in range(size):
        total: Vector = at(sums, d * STAGE_ROWS)
        start: Number = b[d]
        for r in range(padded):
            total[r] = start
    for k in range(n_frequencies):
        frequency: Number = w[k]
        phase: Number = p[k]
        for r in range(padded):
            cosines[r] = cosine_of_turns(frequency * values[r] + phase)
        for d in range(size):
            total = at(sums, d * STAGE_ROWS)
            weight: Number = V[k * size + d]
            for r in range(padded):
                total[r] += weight * cosines[r]
    for r in range(n):
        to: Vector = at(out, r * stride)
        to[0] = x[r]
        for d in range(size):
            to[1 + d] = sums[d * STAGE_ROWS + r]


def encode_piecewise(x: Vector, n: int, edges: Doubles, n_bins: int, out: Vector, stride: int) -> None:
    """The place of each value in each bin, 0 before and 1 after it; ``edges``: see Stage."""
    T = type(out[0])
    for r in range(n):
        to: Vector = at(out, r * stride)
        value: float = float(x[r])
        for j in range(n_bins):
            place: float = (value - edges[j]) * edges[n_bins + j]
            place = 0.0 if place < 0 else place
            to[j] = T(1.0 if place > 1 else place)


def encode_column(worker: Worker, column: Column, x: Vector, n: int, out: Vector, stride: int) -> None:
    """Encode n values x of a column."""
    stage: Stage = worker.run.layout.stage
    own: Vector = at(worker.run.parameters, column.parameters)
    if column.kind == PLAIN:
        for r in range(n):
            out[r * stride] = x[r]
    elif column.kind == PERIODIC:
        encode_periodic(column, own, x, n, out, stride, worker.scratch)
    elif column.kind == PIECEWISE_LINEAR:
        encode_piecewise(x, n, at(stage.edges, column.edges), column.n, out, stride)
    else:
        encode_codes(column, own, x, n, out, stride)


def encode_rows(worker: Worker, low: int, high: int) -> None:
    """Encode rows low to high of the columns in the workspace as inputs of the first layer, without noise."""
    layout: Layout = worker.run.layout
    stage: Stage = layout.stage
    workspace: Vector = worker.workspace
    stride, n_inputs = layout.layer_rows[1], layout.n_inputs
    for start in range(low, high, STAGE_ROWS):
        n = min(STAGE_ROWS, high - start)
        for number in range(stage.n_columns):
            column: Column = at(stage.columns, number)
            x: Vector = at(workspace, stage.values + number * stage.height + start)
            out: Vector = at(workspace, stage.encoded + start * stride + column.output)
            encode_column(worker, column, x, n, out, stride)
    if stage.scales >= 0:
        scales: Vector = at(worker.run.parameters, stage.scales)
        for r in range(low, high):
            source: Vector = at(workspace, stage.encoded + r * stride)
            to: Vector = at(workspace, r * stride)
            for j in range(n_inputs):
                to[j] = scales[j] * source[j]
