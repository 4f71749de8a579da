"""Outputs of a network: by tiles of rows, or row by row for at most a quarter of a tile's rows.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.rules.elementary import sum_of

from .input_stage import copy_columns, encode_rows
from .layer_features import disturb_inputs, finish_rows
from .losses import row_loss, row_weight
from .partition import share, wait_for_all
from .primitives import (
    BY_ROW,
    NO_RULE,
    PREFETCHING,
    Doubles,
    Integers,
    Number,
    Vector,
    activate,
    at,
    close_tiles,
    flush_denormals,
    lanes,
    open_tiles,
    restore_denormals,
    tile_rows,
)
from .products import dense_rows
from .records import Layer, Layout, Run, Worker
from .reduced_precision import prepare_weights, reduced_dense_rows
from .sparse_rows import multiply_sparse_rows


def dense_row(
    a: Vector, fan_in: int, fan_out: int, W: Vector, b: Vector, activation: int, out: Vector, stride: int
) -> None:
    """f(a W + b) of one row, in loops over rows of W that the compiler vectorises."""
    if 2 * fan_out < lanes(a):
        for j in range(fan_out):
            total: Number = b[j]
            for k in range(fan_in):
                total += a[k] * W[k * fan_out + j]
            out[j] = total
    else:
        for j in range(fan_out):
            out[j] = b[j]
        whole = fan_in - fan_in % 4
        for k in range(0, whole, 4):  # fewer loads and stores of the sums, in the same order of additions
            v0: Number = a[k]
            v1: Number = a[k + 1]
            v2: Number = a[k + 2]
            v3: Number = a[k + 3]
            first: Vector = at(W, k * fan_out)
            second: Vector = at(first, fan_out)
            third: Vector = at(second, fan_out)
            fourth: Vector = at(third, fan_out)
            for j in range(fan_out):
                out[j] = out[j] + v0 * first[j] + v1 * second[j] + v2 * third[j] + v3 * fourth[j]
        for k in range(whole, fan_in):
            v0 = a[k]
            first = at(W, k * fan_out)
            for j in range(fan_out):
                out[j] += v0 * first[j]
    activate(activation, out, 1, fan_out, stride)


def predict(worker: Worker) -> None:
    """One thread's part of the outputs for the rows of X, ``batch`` rows at a time in a workspace of its own.

    ``input_sums[thread]`` becomes the sum of the thread's rows: infinity or NaN among them shows in it, at little cost
    while they are on their way through the caches.
    """
    run: Run = worker.run
    layout: Layout = run.layout
    workspace: Vector = worker.workspace
    scratch: Vector = worker.scratch
    offsets: Integers = worker.row_offsets
    ahead: Integers = at(offsets, layout.batch)
    layer_rows: Integers = layout.layer_rows
    denormals = flush_denormals()
    total: float = 0.0
    last: Layer = at(layout.layers, layout.n_layers - 1)
    n_inputs, n_columns, n_outputs, batch = layout.n_inputs, layout.n_columns, last.fan_out, layout.batch
    start = share(run.n_rows, tile_rows(), worker.thread, run.n_threads)
    stop = share(run.n_rows, tile_rows(), worker.thread + 1, run.n_threads)
    # Counted over all rows, so that an output does not depend on the number of threads.
    few = 4 * run.n_rows <= tile_rows() and not layout.has_features and not layout.staged and layout.n_terms == 0
    worker.step = 0
    open_tiles(layout.unit, worker.tile_state)
    if layout.n_terms > 0:
        prepare_weights(worker)
        wait_for_all(run.counter, run.n_threads, 1)
    for begin in range(start, stop, batch):
        rows = min(batch, stop - begin)
        inputs: Vector = at(run.X, begin * n_columns)
        here: Integers = offsets
        if layout.sparse:
            first_value, stop_value = run.row_starts[begin], run.row_starts[begin + rows]
            total += float(sum_of(at(run.values, first_value), stop_value - first_value))
            for r in range(rows):
                offsets[r] = begin + r
            worker.numbers = offsets
        else:
            total += float(sum_of(inputs, rows * n_columns))
        if layout.sparse:
            inputs = workspace
        elif few:
            here = layer_rows
        elif layout.in_place:
            for r in range(batch):
                offsets[r] = min(r, rows - 1) * n_inputs
                ahead[r] = offsets[r] + (batch * n_inputs if begin + batch < stop else 0)
        elif layout.staged:
            for r in range(rows):
                copy_columns(worker, inputs, r, r)
            encode_rows(worker, 0, rows)
            if run.noisy:
                for r in range(rows):
                    disturb_inputs(worker, at(workspace, layer_rows[r]), begin + r)
            inputs, here = workspace, layer_rows
        else:
            for r in range(rows):
                source: Vector = at(inputs, r * n_inputs)
                to: Vector = at(workspace, layer_rows[r])
                for j in range(n_inputs):
                    to[j] = source[j]
                if run.noisy:
                    disturb_inputs(worker, to, begin + r)
            inputs, here = workspace, layer_rows
        worker.inputs = inputs
        worker.offsets = here
        for level in range(layout.n_layers):
            layer: Layer = at(layout.layers, level)
            fan_in, fan_out, stride = layer.fan_in, layer.fan_out, layer.stride
            W: Vector = at(run.parameters, layer.weights)
            b: Vector = at(W, fan_in * fan_out)
            outputs: Vector = at(workspace, layer.outputs)
            activation = NO_RULE if layer.has_features else layer.activation
            if level == 0 and layout.sparse:
                multiply_sparse_rows(worker, 0, rows)
            elif few:
                width = n_inputs if level == 0 else here[1]  # from row to row of the inputs
                for r in range(rows):
                    dense_row(
                        at(inputs, r * width), fan_in, fan_out, W, b, layer.activation, at(outputs, r * stride), stride
                    )
            elif layout.n_terms > 0:
                reduced_dense_rows(worker, level, inputs, here, 0, rows, activation)
            else:
                prefetching = level == 0 and layout.in_place
                dense_rows(
                    inputs, here, ahead if prefetching else here, PREFETCHING if prefetching else BY_ROW, 0, rows,
                    fan_in, fan_out, W, b, layer.packed, activation, outputs, stride, scratch,
                )  # fmt: skip
            if layer.has_features:
                finish_rows(worker, level, 0, rows, begin)
            inputs, here = outputs, at(layer_rows, (level + 1) * batch)
        for r in range(rows):
            source = at(inputs, r * last.stride)
            to = at(run.out, (begin + r) * n_outputs)
            for j in range(n_outputs):
                to[j] = source[j]
    run.input_sums[worker.thread] = total
    close_tiles(layout.unit, worker.tile_state)
    restore_denormals(denormals)


def mean_loss(
    code: int, n_averaged: int, option_step: int, outputs: Vector, y: Vector, sample_weight: Vector, n_weights: int,
    n_rows: int, n_outputs: int, options: Doubles, errors: Vector,
) -> float:  # fmt: skip
    """Weighted mean loss of the rows, summed in the order of a training step. ``errors`` is a buffer for one row."""
    denormals = flush_denormals()
    total: float = 0.0
    for r in range(n_rows):
        total += row_weight(at(sample_weight, r * n_weights), n_weights)
    mean: float = 0.0
    for r in range(n_rows):
        mean += row_loss(
            code, n_averaged, option_step, at(outputs, r * n_outputs), at(y, r * n_outputs),
            at(sample_weight, r * n_weights), n_weights, total, errors, n_outputs, options,
        )  # fmt: skip
    restore_denormals(denormals)
    return mean
