"""dLoss/dX through the input stage, from dLoss/d(inputs of the first layer).

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.inputs import PERIODIC, PIECEWISE_LINEAR, PLAIN

from .input_gradients import periodic_errors, take_errors
from .input_stage import STAGE_ROWS, copy_padded
from .primitives import Doubles, Number, Vector, at, bint
from .records import Column, Layout, Run, Stage, Worker


def piecewise_error(x: float, delta: Vector, factors: Vector, scaled: bint, edges: Doubles, n_bins: int) -> float:
    """dLoss/dx of a piecewise-linear column: of the bin that x is in."""
    total: float = 0.0
    for j in range(n_bins):
        place: float = (x - edges[j]) * edges[n_bins + j]
        if place > 0 and place < 1:
            total += float(delta[j]) * (float(factors[j]) if scaled else 1.0) * edges[n_bins + j]
    return total


def periodic_slopes(
    worker: Worker,
    column: Column,
    values: Vector,
    deltas: Vector,
    factors: Vector,
    n: int,
    out: Vector,
    out_stride: int,
) -> None:
    """dLoss/dx of a block of up to STAGE_ROWS rows of a periodic column."""
    layout: Layout = worker.run.layout
    scratch: Vector = worker.scratch
    T = type(scratch[0])
    stride, scaled = layout.layer_rows[1], layout.stage.scales >= 0
    own: Vector = at(worker.run.parameters, column.parameters)
    w: Vector = at(own, column.w)
    x: Vector = scratch
    cosines: Vector = at(scratch, STAGE_ROWS)
    of_turns: Vector = at(scratch, 2 * STAGE_ROWS)
    sums: Vector = at(scratch, 3 * STAGE_ROWS)
    errors: Vector = at(scratch, 4 * STAGE_ROWS)
    padded = copy_padded(values, n, x)
    take_errors(deltas, n, padded, stride, factors[0] if scaled else T(1), sums)
    for d in range(column.size):
        factor: Number = factors[1 + d] if scaled else T(1)
        take_errors(at(deltas, 1 + d), n, padded, stride, factor, at(errors, d * STAGE_ROWS))
    for k in range(column.n):
        periodic_errors(column, own, k, x, errors, padded, cosines, of_turns)
        for r in range(padded):
            sums[r] += w[k] * of_turns[r]
    for r in range(n):
        out[r * out_stride] = sums[r]


def store_column_errors(worker: Worker) -> None:
    """Store dLoss/dX of the worker's rows in ``out``, from those of the inputs; 0 for columns of codes."""
    run: Run = worker.run
    layout: Layout = run.layout
    stage: Stage = layout.stage
    workspace: Vector = worker.workspace
    T = type(workspace[0])
    low, high, stride, n_columns = worker.low, worker.high, layout.layer_rows[1], stage.n_columns
    scaled = stage.scales >= 0
    for start in range(low, high, STAGE_ROWS):
        n = min(STAGE_ROWS, high - start)
        for number in range(n_columns):
            column: Column = at(stage.columns, number)
            values: Vector = at(workspace, stage.values + number * stage.height + start)
            deltas: Vector = at(workspace, layout.input_deltas + start * stride + column.output)
            factors: Vector = at(run.parameters, stage.scales + column.output if scaled else 0)
            out: Vector = at(run.out, start * n_columns + number)
            if column.kind == PERIODIC:
                periodic_slopes(worker, column, values, deltas, factors, n, out, n_columns)
            elif column.kind == PLAIN:
                for r in range(n):
                    out[r * n_columns] = deltas[r * stride] * (factors[0] if scaled else T(1))
            elif column.kind == PIECEWISE_LINEAR:
                edges: Doubles = at(stage.edges, column.edges)
                for r in range(n):
                    delta: Vector = at(deltas, r * stride)
                    out[r * n_columns] = T(piecewise_error(float(values[r]), delta, factors, scaled, edges, column.n))
            else:
                for r in range(n):
                    out[r * n_columns] = T(0)
