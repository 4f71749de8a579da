"""A whole epoch in one call on a pool of threads.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from math import sqrt as _sqrt

from .input_gradients import learn_columns, learn_stage
from .input_stage import copy_columns, encode_rows
from .layer_features import add_skip_errors, disturb_inputs, finish_deltas, finish_rows
from .losses import row_loss, row_weight
from .partition import (
    CLIP_NORM,
    CLIP_VALUE,
    COUPLED_DECAY,
    DECOUPLED_DECAY,
    INPUT_DROPOUT,
    LASSO,
    MAX_NORM,
    share,
    wait_for_all,
)
from .primitives import (
    BY_ROW,
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    at,
    close_tiles,
    derive,
    drop,
    flush_denormals,
    lanes,
    open_tiles,
    random_key,
    restore_denormals,
    step_rate,
    tile_rows,
)
from .products import delta_rows, dense_rows
from .records import Layer, Layout, Run, Stage, Worker
from .reduced_precision import prepare_deltas, prepare_weights, reduced_delta_rows, reduced_dense_rows
from .sparse_rows import learn_sparse, multiply_sparse_rows
from .update import BLOCK, learn_part, learn_sums, limit_norms, penalties_of, squares_of_gradient


def copy_inputs(worker: Worker, number: int, r: int) -> None:
    """Copy row ``number`` of X to row r of the workspace, and add noise."""
    run: Run = worker.run
    n_inputs = run.layout.n_inputs
    source: Vector = at(run.X, number * n_inputs)
    to: Vector = at(worker.workspace, run.layout.layer_rows[r])
    for j in range(n_inputs):
        to[j] = source[j]
    if run.noisy:
        disturb_inputs(worker, to, run.first_row + r)


def stage_inputs(worker: Worker, low: int, high: int) -> None:
    """Make rows ``low`` to ``high`` of the inputs from the columns in the workspace, and add noise."""
    encode_rows(worker, low, high)
    run: Run = worker.run
    if run.noisy:
        for r in range(low, high):
            disturb_inputs(worker, at(worker.workspace, run.layout.layer_rows[r]), run.first_row + r)


def gather_inputs(worker: Worker, rows: int, low: int, high: int) -> None:
    """Locate the inputs of a batch in X, or make rows ``low`` to ``high`` of them in the workspace and add noise."""
    run: Run = worker.run
    layout: Layout = run.layout
    n_inputs = layout.n_inputs
    numbers: Integers = worker.numbers
    if layout.sparse:
        return
    if layout.in_place:
        offsets: Integers = worker.row_offsets
        worker.inputs = run.X
        worker.offsets = offsets
        for r in range(rows):
            offsets[r] = numbers[r] * n_inputs
        for r in range(rows, min(layout.batch, rows + tile_rows())):
            offsets[r] = 0
    else:
        worker.inputs = worker.workspace
        worker.offsets = layout.layer_rows
        if layout.staged:
            for r in range(low, high):
                copy_columns(worker, run.X, numbers[r], r)
            stage_inputs(worker, low, high)
        else:
            for r in range(low, high):
                copy_inputs(worker, numbers[r], r)


def first_columns(worker: Worker, rows: int) -> None:
    """Compute the first layer's outputs for all rows and the columns of this thread."""
    run: Run = worker.run
    layers: Layer = run.layout.layers
    n_inputs, n_outputs = layers.fan_in, layers.fan_out
    W: Vector = at(run.parameters, layers.weights)
    left = share(n_outputs, lanes(W), worker.thread, run.n_threads)
    columns = share(n_outputs, lanes(W), worker.thread + 1, run.n_threads) - left
    dense_rows(
        worker.inputs, worker.offsets, worker.offsets, BY_ROW, 0, rows, n_inputs, columns, at(W, n_inputs * left),
        at(W, n_inputs * n_outputs + left), layers.packed, layers.activation,
        at(worker.workspace, layers.outputs + left), layers.stride, worker.scratch,
    )  # fmt: skip


def forward_rows(worker: Worker, first_layer: int) -> None:
    """Compute the outputs of every layer from one on, for the worker's rows."""
    run: Run = worker.run
    layout: Layout = run.layout
    layers: Layer = layout.layers
    parameters: Vector = run.parameters
    workspace: Vector = worker.workspace
    n_layers, low, high = layout.n_layers, worker.low, worker.high
    for level in range(first_layer, n_layers):
        layer: Layer = at(layers, level)
        fan_in, fan_out = layer.fan_in, layer.fan_out
        W: Vector = at(parameters, layer.weights)
        a: Vector = worker.inputs if level == 0 else at(workspace, layer.inputs)
        here: Integers = worker.offsets if level == 0 else at(layout.layer_rows, level * layout.batch)
        activation = NO_RULE if layer.has_features else layer.activation
        if level == 0 and layout.sparse:
            multiply_sparse_rows(worker, low, high)
        elif layout.n_terms > 0:
            reduced_dense_rows(worker, level, a, here, low, high, activation)
        else:
            dense_rows(
                a, here, here, BY_ROW, low, high, fan_in, fan_out, W, at(W, fan_in * fan_out), layer.packed, activation,
                at(workspace, layer.outputs), layer.stride, worker.scratch,
            )  # fmt: skip
        if layer.has_features:
            finish_rows(worker, level, low, high, run.first_row)


def losses_of_rows(worker: Worker) -> None:
    """Compute the losses of the worker's rows and their derivatives, dLoss/da, or dLoss/dz if ``linked``."""
    run: Run = worker.run
    layout: Layout = run.layout
    workspace: Vector = worker.workspace
    T = type(workspace[0])
    top: Layer = at(layout.layers, layout.n_layers - 1)
    n_outputs, stride = top.fan_out, top.stride
    outputs: Vector = at(workspace, top.outputs)
    delta: Vector = at(workspace, top.deltas)
    numbers: Integers = worker.numbers
    sample_weight: Vector = run.sample_weight
    weights: Doubles = run.weights
    penalties: Doubles = run.penalties
    losses: Doubles = run.losses
    for r in range(worker.low, worker.high):
        own: Vector = at(sample_weight, numbers[r] * run.n_weights)
        weight: Number = T(row_weight(own, run.n_weights)) / T(worker.total)
        weights[r] = weight
        penalties[r] = 0.0
        losses[r] = row_loss(
            layout.loss, layout.n_averaged, layout.option_step, at(outputs, r * stride),
            at(run.y, numbers[r] * n_outputs), own, run.n_weights, worker.total, at(delta, r * stride), n_outputs,
            run.loss_options,
        )  # fmt: skip


def backward_rows(worker: Worker) -> None:
    """Compute dLoss/dz of every layer from what ``losses_of_rows`` stores, for the worker's rows."""
    run: Run = worker.run
    layout: Layout = run.layout
    layers: Layer = layout.layers
    parameters: Vector = run.parameters
    workspace: Vector = worker.workspace
    n_layers, low, high = layout.n_layers, worker.low, worker.high
    top: Layer = at(layers, n_layers - 1)
    if not layout.linked and top.has_features:
        finish_deltas(worker, n_layers - 1)
    elif not layout.linked:
        derive(
            top.derivative, at(workspace, top.outputs + low * top.stride), at(workspace, top.deltas + low * top.stride),
            high - low, top.fan_out, top.stride,
        )  # fmt: skip
    for level in range(n_layers - 1, 0, -1):
        layer: Layer = at(layers, level)
        below: Layer = at(layers, level - 1)
        rows: Integers = at(layout.layer_rows, (level + 1) * layout.batch)
        derivative = NO_RULE if below.has_features else below.derivative
        a: Vector = at(workspace, below.outputs)
        errors: Vector = at(workspace, below.deltas)
        if layout.n_terms > 0:
            prepare_deltas(worker, level)
            reduced_delta_rows(worker, level, derivative, a, errors, below.stride)
        else:
            delta_rows(
                at(workspace, layer.deltas), rows, low, high, layer.fan_in, layer.fan_out,
                at(parameters, layer.weights), derivative, a, errors, below.stride, worker.scratch,
            )  # fmt: skip
        if below.has_features:
            finish_deltas(worker, level - 1)
    if layout.n_terms > 0:
        prepare_deltas(worker, 0)


def input_errors(worker: Worker) -> None:
    """Compute dLoss/d(inputs of the first layer) of the worker's rows from the deltas of the layers."""
    run: Run = worker.run
    layout: Layout = run.layout
    first: Layer = layout.layers
    extras: Doubles = run.extras
    workspace: Vector = worker.workspace
    n_inputs, stride = layout.n_inputs, layout.layer_rows[1]
    deltas: Vector = at(workspace, layout.input_deltas)
    rows: Integers = at(layout.layer_rows, layout.batch)
    if layout.n_terms > 0:
        reduced_delta_rows(worker, 0, NO_RULE, workspace, deltas, stride)
    else:
        delta_rows(
            at(workspace, first.deltas), rows, worker.low, worker.high, n_inputs, first.fan_out,
            at(run.parameters, first.weights), NO_RULE, workspace, deltas, stride, worker.scratch,
        )  # fmt: skip
    for r in range(worker.low, worker.high):
        delta: Vector = at(deltas, r * stride)
        add_skip_errors(worker, 0, r, delta, n_inputs)
        if run.noisy and extras[INPUT_DROPOUT] > 0:
            place = (run.first_row + r) * n_inputs
            drop(delta, n_inputs, random_key(run.seed, worker.step, 1), place, extras[INPUT_DROPOUT])


def stage_errors(worker: Worker) -> None:
    """Compute what the gradient of an input stage needs."""
    stage: Stage = worker.run.layout.stage
    if stage.n_parameters > 0:
        input_errors(worker)


def propagate(worker: Worker, first_layer: int) -> None:
    """Run the forward pass from a layer on, losses, and backward pass to the first layer, for the worker's rows."""
    layout: Layout = worker.run.layout
    forward_rows(worker, first_layer)
    losses_of_rows(worker)
    backward_rows(worker)
    if layout.staged:
        stage_errors(worker)


def add_losses(run: Run, rows: int, total: float) -> None:
    """Add the losses and penalties of a batch to the results."""
    data_loss: float = 0.0
    penalty: float = 0.0
    for r in range(rows):
        data_loss += run.losses[r]
        penalty += run.penalties[r]
    if run.alpha > 0 or run.extras[LASSO] > 0:
        for i in range(run.layout.n_squares):
            penalty += run.squares[i] / total
    run.results[0] += rows * data_loss
    run.results[1] += rows * penalty


def learn_clipped(worker: Worker) -> None:
    """Update from the whole gradient, scaled down if its norm is above CLIP_NORM."""
    run: Run = worker.run
    bound: float = run.extras[CLIP_NORM]
    norm: float = 0.0
    for i in range((run.layout.n_parameters + BLOCK - 1) // BLOCK):
        norm += run.squares[i]
    norm = _sqrt(norm)
    worker.l2 = 0.0
    worker.l1 = 0.0
    worker.scale = bound / norm if norm > bound else 1.0
    worker.rule = run.optimizer
    learn_sums(worker, run.gradient, 1, 0, worker.thread, run.n_threads)
    if run.layout.staged:
        learn_columns(worker, run.gradient)


def begin_update(worker: Worker, learning_rate: float, total: float) -> None:
    """Prepare the update of a step; with CLIP_NORM the gradient is stored first."""
    run: Run = worker.run
    extras: Doubles = run.extras
    worker.l2 = run.alpha / total + extras[COUPLED_DECAY]
    worker.l1 = extras[LASSO] / total
    worker.scale = 1.0
    worker.clip = extras[CLIP_VALUE]
    worker.shrink = learning_rate * extras[DECOUPLED_DECAY]
    if run.optimizer != NO_RULE:
        worker.rate = step_rate(run.rate_rule, learning_rate, float(worker.step), run.optimizer_options)
    worker.rule = NO_RULE if extras[CLIP_NORM] > 0 else run.optimizer
    worker.gradient = run.gradient


def finish_update(worker: Worker, generation: int) -> int:
    """Apply CLIP_NORM and MAX_NORM. Returns how often this thread has arrived at the barrier."""
    run: Run = worker.run
    extras: Doubles = run.extras
    n_threads = run.n_threads
    generation += 1
    wait_for_all(run.counter, n_threads, generation)
    if extras[CLIP_NORM] > 0:
        squares_of_gradient(worker)
        generation += 1
        wait_for_all(run.counter, n_threads, generation)
        learn_clipped(worker)
        generation += 1
        wait_for_all(run.counter, n_threads, generation)
    if extras[MAX_NORM] > 0:
        limit_norms(worker)
        generation += 1
        wait_for_all(run.counter, n_threads, generation)
    return generation


def train_epoch(worker: Worker) -> None:
    """Run one thread's part of an epoch. Results do not depend on the number of threads.

    Each thread owns rows of the batch for the forward pass and the deltas, and rows of every weight matrix for gradient
    and update, so that nothing is summed across threads. ``by_columns``: of the first matrix it owns columns instead,
    for the forward pass too, and these weights never leave its core. ``n_groups``: where parameters are few beside the
    batch, the rows come in that many groups whose gradients are made apart, and are added up by the update.
    """
    run: Run = worker.run
    layout: Layout = run.layout
    extras: Doubles = run.extras
    sample_weight: Vector = run.sample_weight
    sums: Vector = run.sums
    T = type(sums[0])
    denormals = flush_denormals()
    open_tiles(layout.unit, worker.tile_state)
    thread, n_threads, n_groups, n_parameters = worker.thread, run.n_threads, layout.n_groups, layout.n_parameters
    generation = 0
    worker.step = run.step
    for begin in range(0, run.n_rows, run.batch_size):
        rows = min(run.batch_size, run.n_rows - begin)
        numbers: Integers = at(run.order, begin)
        total: float = float(rows)
        if run.batch_weight > 0:
            total = run.batch_weight
        elif run.n_weights > 0:
            total = 0.0
            for r in range(rows):
                total += row_weight(at(sample_weight, numbers[r] * run.n_weights), run.n_weights)
            if total == 0:
                continue
        worker.numbers = numbers
        worker.total = total
        worker.l2 = 0.0  # groups add gradients without penalties
        worker.l1 = 0.0
        parts = n_groups if n_groups > 0 else n_threads
        first_part, stop_part = share(parts, 1, thread, n_threads), share(parts, 1, thread + 1, n_threads)
        if layout.n_terms > 0:
            prepare_weights(worker)
        gather_inputs(
            worker,
            rows,
            share(rows, layout.row_unit, first_part, parts),
            share(rows, layout.row_unit, stop_part, parts),
        )
        if run.alpha > 0 or extras[LASSO] > 0:
            for level in range(layout.n_layers):
                penalties_of(worker, at(layout.layers, level), layout.by_columns and level == 0)
        if layout.by_columns:
            first_columns(worker, rows)
        if layout.by_columns or layout.n_terms > 0:
            generation += 1
            wait_for_all(run.counter, n_threads, generation)
        for part in range(first_part, stop_part):
            low, high = share(rows, layout.row_unit, part, parts), share(rows, layout.row_unit, part + 1, parts)
            worker.low = low
            worker.high = high
            propagate(worker, 1 if layout.by_columns else 0)
            if n_groups > 0 and low == high:  # a last batch may be short
                for i in range(n_parameters):
                    sums[part * n_parameters + i] = T(0)
            elif n_groups > 0:
                worker.rule = NO_RULE
                worker.gradient = at(sums, part * n_parameters)
                learn_part(worker, 0, 1)
        generation += 1
        wait_for_all(run.counter, n_threads, generation)
        worker.step += 1
        learning_rate: float = run.rates[begin // run.batch_size] if run.scheduled else run.rates[0]
        begin_update(worker, learning_rate, total)
        if thread == 0:
            add_losses(run, rows, total)
        if n_groups > 0:
            learn_sums(worker, sums, n_groups, n_parameters, thread, n_threads)
        else:
            worker.low = 0
            worker.high = rows
            learn_part(worker, thread, n_threads)
        if layout.sparse:
            learn_sparse(worker, thread, n_threads)
        if layout.staged:
            learn_stage(worker, rows)
        generation = finish_update(worker, generation)
    if thread == 0:
        run.results[2] += worker.step - run.step
        run.step = worker.step
    close_tiles(layout.unit, worker.tile_state)
    restore_denormals(denormals)
