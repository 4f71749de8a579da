"""Differentiable passes: forward, then backward from given derivatives of the outputs; and steps from given gradients.

The workspace holds everything that a backward pass reads, so several may follow one forward pass. The losses of the
network play no part. Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .epoch import backward_rows, begin_update, copy_inputs, finish_update, forward_rows
from .layer_features import add_skip_errors
from .partition import INPUT_DROPOUT, share, wait_for_all
from .primitives import (
    NO_RULE,
    Doubles,
    Vector,
    at,
    copy,
    drop,
    flush_denormals,
    random_key,
    restore_denormals,
    tile_rows,
)
from .products import delta_rows
from .records import Layer, Layout, Run, Worker
from .update import learn_part, learn_sums


def take_rows_of_thread(worker: Worker) -> None:
    """Set the rows of a batch that this thread passes through the network."""
    run: Run = worker.run
    worker.low = share(run.n_rows, tile_rows(), worker.thread, run.n_threads)
    worker.high = share(run.n_rows, tile_rows(), worker.thread + 1, run.n_threads)
    worker.inputs = worker.workspace
    worker.offsets = run.layout.layer_rows
    worker.step = run.step


def store_outputs(worker: Worker) -> None:
    """Copy the worker's rows of the outputs to ``out``."""
    run: Run = worker.run
    layout: Layout = run.layout
    top: Layer = at(layout.layers, layout.n_layers - 1)
    for r in range(worker.low, worker.high):
        copy(at(worker.workspace, top.outputs + r * top.stride), top.fan_out, at(run.out, r * top.fan_out))


def forward_pass(worker: Worker) -> None:
    """Compute this thread's rows of the outputs for X."""
    denormals = flush_denormals()
    take_rows_of_thread(worker)
    for r in range(worker.low, worker.high):
        copy_inputs(worker, r, r)
    forward_rows(worker, 0)
    store_outputs(worker)
    restore_denormals(denormals)


def input_gradient(worker: Worker) -> None:
    """Compute dLoss/dX of the worker's rows from the deltas of the layers."""
    run: Run = worker.run
    layout: Layout = run.layout
    first: Layer = layout.layers
    extras: Doubles = run.extras
    workspace: Vector = worker.workspace
    n_inputs, stride = layout.n_inputs, layout.layer_rows[1]
    deltas: Vector = at(workspace, layout.input_deltas)
    delta_rows(
        at(workspace, first.deltas), at(layout.layer_rows, layout.batch), worker.low, worker.high, n_inputs,
        first.fan_out, at(run.parameters, first.weights), NO_RULE, workspace, deltas, stride, worker.scratch,
    )  # fmt: skip
    for r in range(worker.low, worker.high):
        delta: Vector = at(deltas, r * stride)
        add_skip_errors(worker, 0, r, delta, n_inputs)
        if run.noisy and extras[INPUT_DROPOUT] > 0:
            drop(delta, n_inputs, random_key(run.seed, worker.step, 1), r * n_inputs, extras[INPUT_DROPOUT])
        copy(delta, n_inputs, at(run.out, r * n_inputs))


def backward_pass(worker: Worker) -> None:
    """Run one thread's part of the backward pass from dLoss/da of the outputs, summed over rows.

    As in ``train_epoch``, each thread owns rows for the deltas and rows of every weight matrix for the gradient.
    """
    run: Run = worker.run
    layout: Layout = run.layout
    top: Layer = at(layout.layers, layout.n_layers - 1)
    denormals = flush_denormals()
    take_rows_of_thread(worker)
    for r in range(worker.low, worker.high):
        copy(at(run.given, r * top.fan_out), top.fan_out, at(worker.workspace, top.deltas + r * top.stride))
    backward_rows(worker)
    if run.of_inputs:
        input_gradient(worker)
    wait_for_all(run.counter, run.n_threads, 1)
    worker.low = 0
    worker.high = run.n_rows
    worker.l2 = 0.0
    worker.l1 = 0.0
    worker.rule = NO_RULE
    worker.gradient = run.gradient
    learn_part(worker, worker.thread, run.n_threads)
    restore_denormals(denormals)


def apply_gradient(worker: Worker) -> None:
    """Make one optimizer step from a given gradient, in one thread."""
    run: Run = worker.run
    denormals = flush_denormals()
    worker.step = run.step + 1
    begin_update(worker, run.rates[0], 1.0)
    learn_sums(worker, run.given, 1)
    finish_update(worker, 0)
    restore_denormals(denormals)
