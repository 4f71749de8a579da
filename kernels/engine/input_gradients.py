"""Gradients and updates of the input stage's parameters.

Each thread owns columns of X: it sums over all rows of the batch, so results do not depend on the number of threads.
Sums over rows are by lanes. Only networks with a stage use these functions. Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.inputs import EMBEDDING, PERIODIC
from fastmlp.kernels.rules.elementary import cosine_of_turns, sine_of_turns, sum_of

from .input_stage import STAGE_ROWS, code_of, copy_padded
from .partition import COUPLED_DECAY
from .primitives import Number, Vector, at, bint, copy, dot
from .records import Column, Layout, Run, Stage, Worker
from .update import BLOCK, learn


def owns(worker: Worker, column: Column) -> bint:
    """Whether this thread updates the parameters of a column."""
    run: Run = worker.run
    return column.work_before * run.n_threads // run.layout.stage.work == worker.thread


def take_errors(deltas: Vector, n: int, padded: int, stride: int, factor: Number, to: Vector) -> None:
    """Copy n deltas, times a factor, and zeros up to ``padded``."""
    T = type(to[0])
    for r in range(n):
        to[r] = factor * deltas[r * stride]
    for r in range(n, padded):
        to[r] = T(0)


def periodic_errors(
    column: Column, own: Vector, k: int, x: Vector, errors: Vector, padded: int, cosines: Vector, of_turns: Vector
) -> None:
    """cos(2 pi t) and dLoss/dt for t = w_k x + p_k, from dLoss/d(outputs), each in STAGE_ROWS rows."""
    T = type(x[0])
    size = column.size
    w: Vector = at(own, column.w)
    V: Vector = at(own, column.V)
    p: Vector = at(own, column.p)
    frequency: Number = w[k]
    phase: Number = p[k]
    for r in range(padded):
        of_turns[r] = T(0)
    for d in range(size):
        error: Vector = at(errors, d * STAGE_ROWS)
        weight: Number = V[k * size + d]
        for r in range(padded):
            of_turns[r] += weight * error[r]
    for r in range(padded):
        t: Number = frequency * x[r] + phase
        cosines[r] = cosine_of_turns(t)
        of_turns[r] = T(-6.283185307179586) * sine_of_turns(t) * of_turns[r]


def periodic_gradient(
    column: Column, own: Vector, values: Vector, deltas: Vector, stride: int, rows: int, g: Vector, scratch: Vector
) -> None:
    """Gradient of w, V, p and b of a column."""
    T = type(g[0])
    n_frequencies, size = column.n, column.size
    of_w: Vector = at(g, column.w)
    of_V: Vector = at(g, column.V)
    of_p: Vector = at(g, column.p)
    of_b: Vector = at(g, column.b)
    x: Vector = scratch
    cosines: Vector = at(scratch, STAGE_ROWS)
    of_turns: Vector = at(scratch, 2 * STAGE_ROWS)
    errors: Vector = at(scratch, 3 * STAGE_ROWS)
    for i in range(column.n_parameters):
        g[i] = T(0)
    for start in range(0, rows, STAGE_ROWS):
        n = min(STAGE_ROWS, rows - start)
        padded = copy_padded(at(values, start), n, x)
        for d in range(size):
            error: Vector = at(errors, d * STAGE_ROWS)
            take_errors(at(deltas, start * stride + 1 + d), n, padded, stride, T(1), error)
            of_b[d] += sum_of(error, padded)
        for k in range(n_frequencies):
            periodic_errors(column, own, k, x, errors, padded, cosines, of_turns)
            of_w[k] += dot(of_turns, x, padded)
            of_p[k] += sum_of(of_turns, padded)
            for d in range(size):
                of_V[k * size + d] += dot(cosines, at(errors, d * STAGE_ROWS), padded)


def embedding_gradient(column: Column, values: Vector, deltas: Vector, stride: int, rows: int, g: Vector) -> None:
    """Gradient of a table: the deltas of the rows are added to the rows of their codes."""
    T = type(g[0])
    width = column.width
    for i in range(column.n_parameters):
        g[i] = T(0)
    for r in range(rows):
        code = code_of(values, r, column.n)
        if code >= 0:
            delta: Vector = at(deltas, r * stride)
            to: Vector = at(g, code * width)
            for j in range(width):
                to[j] += delta[j]


def factor_gradient(
    width: int, factors: Vector, encoded: Vector, deltas: Vector, stride: int, rows: int, g: Vector
) -> None:
    """Gradient of the factors of a column; the deltas become those of the numbers before the factors."""
    T = type(g[0])
    for j in range(width):
        g[j] = T(0)
    for r in range(rows):
        source: Vector = at(encoded, r * stride)
        delta: Vector = at(deltas, r * stride)
        for j in range(width):
            g[j] += delta[j] * source[j]
            delta[j] *= factors[j]


def column_gradient(worker: Worker, column: Column, values: Vector, rows: int, gradient: Vector) -> None:
    """Gradient of a column's parameters and factors, which are to be updated afterwards."""
    run: Run = worker.run
    layout: Layout = run.layout
    stage: Stage = layout.stage
    stride, place = layout.layer_rows[1], stage.scales + column.output
    deltas: Vector = at(worker.workspace, layout.input_deltas + column.output)
    g: Vector = at(gradient, column.parameters)
    if stage.scales >= 0:
        factor_gradient(
            column.width, at(run.parameters, place), at(worker.workspace, stage.encoded + column.output), deltas,
            stride, rows, at(gradient, place),
        )  # fmt: skip
    if column.kind == PERIODIC:
        own: Vector = at(run.parameters, column.parameters)
        periodic_gradient(column, own, values, deltas, stride, rows, g, worker.scratch)
    elif column.kind == EMBEDDING:
        embedding_gradient(column, values, deltas, stride, rows, g)


def learn_stored(worker: Worker, gradient: Vector, offset: int, n: int, decays: bint, factor: float) -> None:
    """Update n parameters from a gradient, which stays as it is."""
    scratch: Vector = worker.scratch
    for i in range(0, n, BLOCK):
        count = min(BLOCK, n - i)
        copy(at(gradient, offset + i), count, scratch)
        learn(worker, offset + i, scratch, count, decays, factor)


def learn_columns(worker: Worker, gradient: Vector) -> None:
    """Update the parameters of this thread's columns from a gradient."""
    stage: Stage = worker.run.layout.stage
    for number in range(stage.n_columns):
        column: Column = at(stage.columns, number)
        if owns(worker, column):
            start, decaying = column.parameters, column.n_decaying
            learn_stored(worker, gradient, start, decaying, 1, column.rate)
            learn_stored(worker, gradient, start + decaying, column.n_parameters - decaying, 0, column.rate)
            if stage.scales >= 0:
                place = stage.scales + column.output
                learn_stored(worker, gradient, place, column.width, 1, stage.scale_rate)


def learn_stage(worker: Worker, rows: int) -> None:
    """Compute the gradient of all rows for this thread's columns, and update their parameters.

    Penalties on weights are not for the stage.
    """
    run: Run = worker.run
    stage: Stage = run.layout.stage
    for number in range(stage.n_columns):
        column: Column = at(stage.columns, number)
        if owns(worker, column):
            values: Vector = at(worker.workspace, stage.values + number * stage.height)
            column_gradient(worker, column, values, rows, run.sums)
    worker.l2 = run.extras[COUPLED_DECAY]
    worker.l1 = 0.0
    learn_columns(worker, run.sums)
