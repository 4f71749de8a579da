"""Batches of a single row: a step is a handful of vectors, so parameters are kept in rows of whole vectors for a call.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .partition import (
    ACTIVATE,
    DELTAS,
    DERIVE,
    FAN_IN,
    FAN_OUT,
    FIELDS,
    INPUTS,
    LOCAL,
    NARROW,
    OUTPUTS,
    STRIDE,
    WEIGHTS,
    WIDTH,
)
from .primitives import (
    Doubles,
    Integers,
    Number,
    Vector,
    activate,
    apply_update,
    at,
    at_integers,
    bint,
    combine,
    derive,
    dot,
    flush_denormals,
    outer,
    restore_denormals,
    step_rate,
    sum_of_squares,
    weighted_loss,
)


def rearrange(layers: Integers, n_layers: int, flat: Vector, local: Vector, back: bint) -> None:
    """Copy parameters to rows of whole vectors, or back. A narrow layer's weights are transposed."""
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out, stride = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE]
        W: Vector = at(flat, layer[WEIGHTS])
        rows: Vector = at(local, layer[LOCAL])
        b: Vector = at(W, fan_in * fan_out)
        biases: Vector = at(rows, stride * (fan_out if layer[NARROW] else fan_in))
        for i in range(fan_in):
            for j in range(fan_out):
                place = j * stride + i if layer[NARROW] else i * stride + j
                if back:
                    W[i * fan_out + j] = rows[place]
                else:
                    rows[place] = W[i * fan_out + j]
        for j in range(fan_out):
            if back:
                b[j] = biases[j]
            else:
                biases[j] = b[j]


def padded_inputs(row: Vector, layers: Integers, workspace: Vector) -> Vector:
    """A row of X where a first layer that is narrow can take it by whole vectors."""
    if not layers[NARROW]:
        return row
    for i in range(layers[FAN_IN]):
        workspace[i] = row[i]
    return workspace


def forward_row(layers: Integers, n_layers: int, w: Vector, inputs: Vector, workspace: Vector) -> None:
    """Outputs of every layer for one row."""
    T = type(w[0])
    a: Vector = inputs
    for level in range(n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out, stride, width = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE], layer[WIDTH]
        W: Vector = at(w, layer[LOCAL])
        b: Vector = at(W, (fan_out if layer[NARROW] else fan_in) * stride)
        out: Vector = at(workspace, layer[OUTPUTS])
        for j in range(width):
            out[j] = b[j]
        if layer[NARROW]:
            for j in range(fan_out):
                out[j] += dot(at(W, j * stride), a, stride)
        else:
            combine(W, stride, a, fan_in, out)
        activate(layer[ACTIVATE], out, 1, fan_out, width)
        for j in range(fan_out, width):  # f(0) is not always 0
            out[j] = T(0)
        a = out


def predict_row(layers: Integers, n_layers: int, x: Vector, w: Vector, out: Vector, workspace: Vector) -> None:
    """Outputs for one row, with parameters in local layout."""
    denormals = flush_denormals()
    last: Integers = at_integers(layers, (n_layers - 1) * FIELDS)
    forward_row(layers, n_layers, w, padded_inputs(x, layers, workspace), workspace)
    outputs: Vector = at(workspace, last[OUTPUTS])
    for j in range(last[FAN_OUT]):
        out[j] = outputs[j]
    restore_denormals(denormals)


def train_online(
    layers: Integers, n_layers: int, X: Vector, n_inputs: int, y: Vector, order: Integers, n_rows: int,
    sample_weight: Vector, weighted: bint, alpha: float, loss: int, linked: bint, loss_options: Doubles, optimizer: int,
    rate_rule: int, w: Vector, g: Vector, slots: Vector, n_local: int, step: int, rates: Doubles, scheduled: bint,
    options: Doubles, workspace: Vector, results: Doubles,
) -> None:  # fmt: skip
    """An epoch of steps of one row each. Parameters w, gradient g and slots are in local layout, ``n_local`` long."""
    T = type(w[0])
    denormals = flush_denormals()
    first_step = step
    last: Integers = at_integers(layers, (n_layers - 1) * FIELDS)
    n_outputs = last[FAN_OUT]
    outputs: Vector = at(workspace, last[OUTPUTS])
    errors: Vector = at(workspace, last[DELTAS])
    for s in range(n_rows):
        number = order[s]
        decay: float = alpha
        if weighted:
            if sample_weight[number] == 0:
                continue
            decay = alpha / sample_weight[number]
        inputs: Vector = padded_inputs(at(X, number * n_inputs), layers, workspace)
        penalty: float = 0.0
        if alpha > 0:
            for level in range(n_layers):
                layer: Integers = at_integers(layers, level * FIELDS)
                n = layer[FAN_OUT] if layer[NARROW] else layer[FAN_IN]
                penalty += sum_of_squares(at(w, layer[LOCAL]), n * layer[STRIDE])
        forward_row(layers, n_layers, w, inputs, workspace)
        results[0] += weighted_loss(loss, outputs, at(y, number * n_outputs), T(1), errors, n_outputs, loss_options)
        results[1] += penalty * decay / 2
        if not linked:
            derive(last[DERIVE], outputs, errors, 1, n_outputs, last[WIDTH])
        for level in range(n_layers - 1, -1, -1):
            layer = at_integers(layers, level * FIELDS)
            fan_in, fan_out, stride, width = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE], layer[WIDTH]
            W: Vector = at(w, layer[LOCAL])
            G: Vector = at(g, layer[LOCAL])
            n = fan_out if layer[NARROW] else fan_in
            delta: Vector = at(workspace, layer[DELTAS])
            a: Vector = inputs if level == 0 else at(workspace, layer[INPUTS])
            if level > 0:
                below: Integers = at_integers(layers, (level - 1) * FIELDS)
                error: Vector = at(workspace, below[DELTAS])
                if layer[NARROW]:
                    for i in range(stride):
                        error[i] = T(0)
                    combine(W, stride, delta, fan_out, error)
                else:
                    for i in range(fan_in):
                        error[i] = dot(at(W, i * stride), delta, stride)
                derive(below[DERIVE], a, error, 1, fan_in, below[WIDTH])
            if layer[NARROW]:
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
        rate: float = step_rate(rate_rule, rates[s] if scheduled else rates[0], float(step), options)
        apply_update(optimizer, w, g, slots, n_local, n_local, rate, options)
    results[2] = step - first_step
    restore_denormals(denormals)
