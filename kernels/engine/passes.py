"""Differentiable passes: forward, then backward from given derivatives of the outputs; and steps from given gradients.

The workspace holds everything that a backward pass reads, so several may follow one forward pass. The losses of the
network play no part. Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .column_errors import store_column_errors
from .epoch import (
    backward_rows,
    begin_update,
    copy_inputs,
    finish_update,
    forward_rows,
    input_errors,
    stage_errors,
    stage_inputs,
)
from .input_gradients import learn_columns, learn_stage
from .input_stage import copy_columns
from .partition import share, wait_for_all
from .primitives import (
    NO_RULE,
    Integers,
    Vector,
    at,
    close_tiles,
    copy,
    flush_denormals,
    open_tiles,
    restore_denormals,
)
from .records import Layer, Layout, Run, Worker
from .reduced_precision import prepare_weights
from .sparse_rows import learn_sparse
from .update import learn_part, learn_sums


def take_rows_of_thread(worker: Worker) -> None:
    """Set the rows of a batch that this thread passes through the network."""
    run: Run = worker.run
    unit = run.layout.row_unit
    worker.low = share(run.n_rows, unit, worker.thread, run.n_threads)
    worker.high = share(run.n_rows, unit, worker.thread + 1, run.n_threads)
    worker.inputs = worker.workspace
    worker.offsets = run.layout.layer_rows
    worker.step = run.step
    if run.layout.sparse:
        numbers: Integers = worker.row_offsets
        for r in range(run.n_rows):
            numbers[r] = r
        worker.numbers = numbers


def store_outputs(worker: Worker) -> None:
    """Copy the worker's rows of the outputs to ``out``."""
    run: Run = worker.run
    layout: Layout = run.layout
    top: Layer = at(layout.layers, layout.n_layers - 1)
    for r in range(worker.low, worker.high):
        copy(at(worker.workspace, top.outputs + r * top.stride), top.fan_out, at(run.out, r * top.fan_out))


def forward_pass(worker: Worker) -> None:
    """Compute this thread's rows of the outputs for X."""
    run: Run = worker.run
    layout: Layout = run.layout
    denormals = flush_denormals()
    open_tiles(layout.unit, worker.tile_state)
    take_rows_of_thread(worker)
    if layout.n_terms > 0:
        prepare_weights(worker)
    if layout.staged:
        for r in range(worker.low, worker.high):
            copy_columns(worker, run.X, r, r)
        stage_inputs(worker, worker.low, worker.high)
    elif not layout.sparse:
        for r in range(worker.low, worker.high):
            copy_inputs(worker, r, r)
    if layout.n_terms > 0:
        wait_for_all(run.counter, run.n_threads, 1)
    forward_rows(worker, 0)
    store_outputs(worker)
    close_tiles(layout.unit, worker.tile_state)
    restore_denormals(denormals)


def store_input_gradient(worker: Worker) -> None:
    """Store dLoss/dX of the worker's rows from the deltas of the layers."""
    run: Run = worker.run
    layout: Layout = run.layout
    n_inputs = layout.n_inputs
    input_errors(worker)
    if layout.staged:
        store_column_errors(worker)
    else:
        for r in range(worker.low, worker.high):
            delta: Vector = at(worker.workspace, layout.input_deltas + r * layout.layer_rows[1])
            copy(delta, n_inputs, at(run.out, r * n_inputs))


def backward_pass(worker: Worker) -> None:
    """Run one thread's part of the backward pass from dLoss/da of the outputs, summed over rows.

    As in ``train_epoch``, each thread owns rows for the deltas and rows of every weight matrix for the gradient.
    """
    run: Run = worker.run
    layout: Layout = run.layout
    top: Layer = at(layout.layers, layout.n_layers - 1)
    denormals = flush_denormals()
    open_tiles(layout.unit, worker.tile_state)
    take_rows_of_thread(worker)
    for r in range(worker.low, worker.high):
        copy(at(run.given, r * top.fan_out), top.fan_out, at(worker.workspace, top.deltas + r * top.stride))
    backward_rows(worker)
    if run.of_inputs:
        store_input_gradient(worker)
    elif layout.staged:
        stage_errors(worker)
    wait_for_all(run.counter, run.n_threads, 1)
    worker.low = 0
    worker.high = run.n_rows
    worker.l2 = 0.0
    worker.l1 = 0.0
    worker.rule = NO_RULE
    worker.gradient = run.gradient
    learn_part(worker, worker.thread, run.n_threads)
    if layout.sparse:
        learn_sparse(worker, worker.thread, run.n_threads)
    if layout.staged:
        learn_stage(worker, run.n_rows)
    close_tiles(layout.unit, worker.tile_state)
    restore_denormals(denormals)


def apply_gradient(worker: Worker) -> None:
    """Make one optimizer step from the sum of given gradients, or a part of it, in one thread."""
    run: Run = worker.run
    denormals = flush_denormals()
    worker.step = run.step + 1
    begin_update(worker, run.rates[0], 1.0)
    learn_sums(worker, run.given, run.n_given, run.given_stride, run.part, run.n_parts)
    if run.layout.staged:
        learn_columns(worker, run.given)
    finish_update(worker, 0)
    restore_denormals(denormals)
