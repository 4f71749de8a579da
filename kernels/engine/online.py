"""Batches of a single row: a step is a handful of vectors, so parameters are kept in rows of SIMD vectors for a call.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .losses import row_loss, row_weight
from .primitives import (
    Doubles,
    Integers,
    Number,
    Vector,
    activate,
    apply_update,
    at,
    bint,
    combine,
    derive,
    dot,
    flush_denormals,
    outer,
    restore_denormals,
    step_rate,
    sum_of_squares,
)
from .records import Layer, Layout, Run


def rearrange(layers: Layer, n_layers: int, flat: Vector, local: Vector, back: bint) -> None:
    """Copy parameters to rows of SIMD vectors, or back. A narrow layer's weights are transposed."""
    for level in range(n_layers):
        layer: Layer = at(layers, level)
        fan_in, fan_out, stride = layer.fan_in, layer.fan_out, layer.stride
        W: Vector = at(flat, layer.weights)
        rows: Vector = at(local, layer.local)
        b: Vector = at(W, fan_in * fan_out)
        biases: Vector = at(rows, stride * (fan_out if layer.narrow else fan_in))
        for i in range(fan_in):
            for j in range(fan_out):
                place = j * stride + i if layer.narrow else i * stride + j
                if back:
                    W[i * fan_out + j] = rows[place]
                else:
                    rows[place] = W[i * fan_out + j]
        for j in range(fan_out):
            if back:
                b[j] = biases[j]
            else:
                biases[j] = b[j]


def padded_inputs(row: Vector, layers: Layer, workspace: Vector) -> Vector:
    """A row of X, padded to SIMD vectors for a narrow first layer."""
    if not layers.narrow:
        return row
    for i in range(layers.fan_in):
        workspace[i] = row[i]
    return workspace


def forward_row(layers: Layer, n_layers: int, w: Vector, inputs: Vector, workspace: Vector) -> None:
    """Outputs of every layer for one row."""
    T = type(w[0])
    a: Vector = inputs
    for level in range(n_layers):
        layer: Layer = at(layers, level)
        fan_in, fan_out, stride, width = layer.fan_in, layer.fan_out, layer.stride, layer.width
        W: Vector = at(w, layer.local)
        b: Vector = at(W, (fan_out if layer.narrow else fan_in) * stride)
        out: Vector = at(workspace, layer.outputs)
        for j in range(width):
            out[j] = b[j]
        if layer.narrow:
            for j in range(fan_out):
                out[j] += dot(at(W, j * stride), a, stride)
        else:
            combine(W, stride, a, fan_in, out)
        activate(layer.activation, out, 1, fan_out, width)
        for j in range(fan_out, width):  # f(0) is not always 0
            out[j] = T(0)
        a = out


def predict_row(layers: Layer, n_layers: int, x: Vector, w: Vector, out: Vector, workspace: Vector) -> None:
    """Outputs for one row, with parameters in local layout."""
    denormals = flush_denormals()
    last: Layer = at(layers, n_layers - 1)
    forward_row(layers, n_layers, w, padded_inputs(x, layers, workspace), workspace)
    outputs: Vector = at(workspace, last.outputs)
    for j in range(last.fan_out):
        out[j] = outputs[j]
    restore_denormals(denormals)


def steps_online(
    run: Run, layers: Layer, n_layers: int, n_local: int, w: Vector, g: Vector, slots: Vector, workspace: Vector
) -> None:
    """Run the training steps."""
    T = type(w[0])
    denormals = flush_denormals()
    layout: Layout = run.layout
    X: Vector = run.X
    y: Vector = run.y
    order: Integers = run.order
    sample_weight: Vector = run.sample_weight
    rates: Doubles = run.rates
    options: Doubles = run.optimizer_options
    results: Doubles = run.results
    alpha: float = run.alpha
    n_inputs, step = layers.fan_in, run.step
    last: Layer = at(layers, n_layers - 1)
    n_outputs = last.fan_out
    outputs: Vector = at(workspace, last.outputs)
    errors: Vector = at(workspace, last.deltas)
    for s in range(run.n_rows):
        number = order[s]
        weights: Vector = at(sample_weight, number * run.n_weights)
        total: float = row_weight(weights, run.n_weights)
        if total == 0:
            continue
        decay: float = alpha / total
        inputs: Vector = padded_inputs(at(X, number * n_inputs), layers, workspace)
        penalty: float = 0.0
        if alpha > 0:
            for level in range(n_layers):
                layer: Layer = at(layers, level)
                n = layer.fan_out if layer.narrow else layer.fan_in
                penalty += sum_of_squares(at(w, layer.local), n * layer.stride)
        forward_row(layers, n_layers, w, inputs, workspace)
        results[0] += row_loss(
            layout.loss, layout.n_averaged, layout.option_step, outputs, at(y, number * n_outputs), weights,
            run.n_weights, total, errors, n_outputs, run.loss_options,
        )  # fmt: skip
        results[1] += penalty * decay / 2
        if not layout.linked:
            derive(last.derivative, outputs, errors, 1, n_outputs, last.width)
        for level in range(n_layers - 1, -1, -1):
            layer = at(layers, level)
            fan_in, fan_out, stride, width = layer.fan_in, layer.fan_out, layer.stride, layer.width
            W: Vector = at(w, layer.local)
            G: Vector = at(g, layer.local)
            n = fan_out if layer.narrow else fan_in
            delta: Vector = at(workspace, layer.deltas)
            a: Vector = inputs if level == 0 else at(workspace, layer.inputs)
            if level > 0:
                below: Layer = at(layers, level - 1)
                error: Vector = at(workspace, below.deltas)
                if layer.narrow:
                    for i in range(stride):
                        error[i] = T(0)
                    combine(W, stride, delta, fan_out, error)
                else:
                    for i in range(fan_in):
                        error[i] = dot(at(W, i * stride), delta, stride)
                derive(below.derivative, a, error, 1, fan_in, below.width)
            if layer.narrow:
                outer(delta, fan_out, a, stride, G)
            else:
                outer(a, fan_in, delta, stride, G)
            if decay > 0:
                strength: Number = T(decay)
                for i in range(n * stride):
                    G[i] += strength * W[i]
            biases: Vector = at(G, n * stride)
            for j in range(width):
                biases[j] = delta[j]
        step += 1
        rate: float = step_rate(run.rate_rule, rates[s] if run.scheduled else rates[0], float(step), options)
        apply_update(run.optimizer, w, g, slots, n_local, n_local, rate, options)
    results[2] += step - run.step
    run.step = step
    restore_denormals(denormals)


def train_epoch_online(run: Run) -> None:
    """Run an epoch of steps of one row each.

    ``gradient`` is room for parameters, gradient and slots in local layout, and then for the workspace.
    """
    layout: Layout = run.layout
    layers: Layer = layout.layers
    n_layers, n_local = layout.n_layers, layout.n_local
    w: Vector = run.gradient
    g: Vector = at(w, n_local)
    slots: Vector = at(w, 2 * n_local)
    rearrange(layers, n_layers, run.parameters, w, 0)
    for slot in range(run.n_slots):
        rearrange(layers, n_layers, at(run.slots, slot * layout.n_parameters), at(slots, slot * n_local), 0)
    steps_online(run, layers, n_layers, n_local, w, g, slots, at(slots, run.n_slots * n_local))
    rearrange(layers, n_layers, run.parameters, w, 1)
    for slot in range(run.n_slots):
        rearrange(layers, n_layers, at(run.slots, slot * layout.n_parameters), at(slots, slot * n_local), 1)
