"""Jacobian of a network's outputs with respect to its parameters, for a block of rows in one thread.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .epoch import backward_rows, forward_rows, gather_inputs
from .passes import store_outputs
from .primitives import Integers, Number, Vector, at, copy, flush_denormals, restore_denormals
from .records import Layer, Layout, Run, Worker


def store_derivatives(worker: Worker, output: int) -> None:
    """Store the derivatives of an output with respect to all parameters, from the deltas of its backward pass."""
    run: Run = worker.run
    layout: Layout = run.layout
    workspace: Vector = worker.workspace
    T = type(workspace[0])
    n_parameters = layout.n_parameters
    top: Layer = at(layout.layers, layout.n_layers - 1)
    for level in range(layout.n_layers):
        layer: Layer = at(layout.layers, level)
        fan_in, fan_out = layer.fan_in, layer.fan_out
        a: Vector = worker.inputs if level == 0 else at(workspace, layer.inputs)
        here: Integers = worker.offsets if level == 0 else at(layout.layer_rows, level * layout.batch)
        for r in range(run.n_rows):
            row: Vector = at(a, here[r])
            delta: Vector = at(workspace, layer.deltas + r * layer.stride)
            to: Vector = at(run.gradient, (r * top.fan_out + output) * n_parameters + layer.weights)
            for i in range(fan_in):
                value: Number = row[i]
                weights: Vector = at(to, i * fan_out)
                for j in range(fan_out):
                    weights[j] = value * delta[j]
            biases: Vector = at(to, fan_in * fan_out)
            copy(delta, fan_out, biases)
            if layer.n_slopes > 0:
                slope_delta: Vector = at(workspace, layer.slope_deltas + r * layer.stride)
                slopes: Vector = at(biases, fan_out)
                for j in range(layer.n_slopes):
                    slopes[j] = T(0)
                for j in range(fan_out):
                    slopes[min(j, layer.n_slopes - 1)] += slope_delta[j]


def differentiate_outputs(worker: Worker) -> None:
    """Compute the outputs of all rows, into ``out``, and the Jacobian (row, output, parameter), into ``gradient``."""
    run: Run = worker.run
    layout: Layout = run.layout
    workspace: Vector = worker.workspace
    T = type(workspace[0])
    top: Layer = at(layout.layers, layout.n_layers - 1)
    n_outputs, rows = top.fan_out, run.n_rows
    denormals = flush_denormals()
    worker.numbers = run.order
    worker.low = 0
    worker.high = rows
    gather_inputs(worker, rows, 0, rows)
    for output in range(n_outputs):
        if output == 0 or layout.has_features:  # a backward pass overwrites the derivatives for trainable slopes
            forward_rows(worker, 0)
        for r in range(rows):
            delta: Vector = at(workspace, top.deltas + r * top.stride)
            for j in range(n_outputs):
                delta[j] = T(1) if j == output else T(0)
        backward_rows(worker)
        store_derivatives(worker, output)
    store_outputs(worker)
    restore_denormals(denormals)
