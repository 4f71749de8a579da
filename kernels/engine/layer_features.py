"""Layer features in addition to f(A W + b): skip connections, dropout and noise, trainable slopes, derivatives of z.

A layer with ``has_features`` stores da/dz of every output, including dropout, and da/dslope for trainable slopes. A
weighted skip only changes the layout: the source's outputs are copied next to those of the layer below, and its errors
are read from there.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.rules.activations import sign

from .partition import ACTIVITY_L1, ACTIVITY_L2, DROPOUT, INPUT_DROPOUT, INPUT_STD, LAYER_EXTRAS, LAYERS
from .primitives import (
    NO_RULE,
    Doubles,
    Number,
    Vector,
    activate,
    activate_trainable,
    at,
    derive,
    drop,
    fill_normal,
    random_key,
)
from .records import Layer, Layout, Run, Worker


def disturb_inputs(worker: Worker, row: Vector, number: int) -> None:
    """Add noise and dropout to a row of inputs, row ``number`` of its batch."""
    T = type(row[0])
    run: Run = worker.run
    extras: Doubles = run.extras
    n = run.layout.n_inputs
    if extras[INPUT_STD] > 0:
        noise: Vector = worker.scratch
        std: Number = T(extras[INPUT_STD])
        fill_normal(noise, n, random_key(run.seed, worker.step, 0), number * n)
        for j in range(n):
            row[j] += std * noise[j]
    if extras[INPUT_DROPOUT] > 0:
        drop(row, n, random_key(run.seed, worker.step, 1), number * n, extras[INPUT_DROPOUT])


def row_of_layer(worker: Worker, number: int, r: int) -> Vector:
    """Row r of the outputs of layer ``number``; layer 0 is the network's inputs."""
    layout: Layout = worker.run.layout
    if number == 0:
        return at(worker.inputs, worker.offsets[r])
    layer: Layer = at(layout.layers, number - 1)
    return at(worker.workspace, layer.outputs + layout.layer_rows[number * layout.batch + r])


def finish_rows(worker: Worker, level: int, low: int, high: int, first_number: int) -> None:
    """Complete the forward pass of a layer with features from A W + b in ``outputs``, for rows low to high.

    Row r uses the random numbers of row ``first_number`` + r.
    """
    run: Run = worker.run
    layers: Layer = run.layout.layers
    layer: Layer = at(layers, level)
    workspace: Vector = worker.workspace
    scratch: Vector = worker.scratch
    T = type(workspace[0])
    fan_in, fan_out, stride = layer.fan_in, layer.fan_out, layer.stride
    keeps = layer.da_dz >= 0
    out: Vector = at(workspace, layer.outputs)
    derivatives: Vector = at(workspace, layer.da_dz if keeps else layer.outputs)
    own: Vector = at(run.parameters, layer.weights + (fan_in + 1) * fan_out)
    rate: float = run.extras[LAYERS + level * LAYER_EXTRAS + DROPOUT]
    for r in range(low, high):
        row: Vector = at(out, r * stride)
        derivative: Vector = at(derivatives, r * stride)
        if layer.skip_source >= 0 and not layer.skip_weighted:
            source: Vector = row_of_layer(worker, layer.skip_source, r)
            for j in range(fan_out):
                row[j] += source[j]
        if run.noisy and layer.noise_std != NO_RULE:
            stds: Vector = at(scratch, stride)
            for j in range(fan_out):
                stds[j] = row[j]
            activate(layer.noise_std, stds, 1, fan_out, fan_out)
            key = random_key(run.seed, worker.step, 2 * level + 2)
            fill_normal(scratch, fan_out, key, (first_number + r) * fan_out)
            for j in range(fan_out):
                row[j] += stds[j] * scratch[j]
        if layer.n_slopes > 0:
            da_dslope: Vector = at(workspace, layer.da_dslope + r * stride) if keeps else scratch
            activate_trainable(
                layer.activation, row, own, 1 if layer.n_slopes == fan_out else 0, derivative if keeps else scratch,
                da_dslope, fan_out,
            )  # fmt: skip
        else:
            if keeps:
                for j in range(fan_out):
                    derivative[j] = T(1)
            if keeps and layer.of_input:
                derive(layer.derivative, row, derivative, 1, fan_out, stride)
            activate(layer.activation, row, 1, fan_out, stride)
            if keeps and not layer.of_input:
                derive(layer.derivative, row, derivative, 1, fan_out, stride)
        if run.noisy and rate > 0:
            key = random_key(run.seed, worker.step, 2 * level + 3)
            place = (first_number + r) * fan_out
            drop(row, fan_out, key, place, rate)
            if keeps:
                drop(derivative, fan_out, key, place, rate)
            if keeps and layer.n_slopes > 0:
                drop(at(workspace, layer.da_dslope + r * stride), fan_out, key, place, rate)
        if level + 1 < run.layout.n_layers:
            above: Layer = at(layers, level + 1)
            if above.skip_source >= 0 and above.skip_weighted:
                source = row_of_layer(worker, above.skip_source, r)
                for j in range(above.fan_in - fan_out):
                    row[fan_out + j] = source[j]


def add_skip_errors(worker: Worker, source: int, r: int, delta: Vector, n: int) -> None:
    """Add to row r of dLoss/da of layer ``source`` (0: the inputs) what comes back through skip connections."""
    layout: Layout = worker.run.layout
    layers: Layer = layout.layers
    workspace: Vector = worker.workspace
    for upper in range(source, layout.n_layers):
        above: Layer = at(layers, upper)
        if above.skip_source == source:
            error: Vector = at(workspace, above.deltas + r * above.stride)
            if above.skip_weighted:
                below: Layer = at(layers, upper - 1)
                error = at(workspace, below.deltas + r * below.stride + below.fan_out)
            for j in range(n):
                delta[j] += error[j]


def finish_deltas(worker: Worker, level: int) -> None:
    """Complete dLoss/dz of a layer with features from the layer above's share of dLoss/da in ``deltas``.

    Adds the activity penalties of the rows to the run's ``penalties``.
    """
    run: Run = worker.run
    layers: Layer = run.layout.layers
    layer: Layer = at(layers, level)
    workspace: Vector = worker.workspace
    T = type(workspace[0])
    penalties: Doubles = run.penalties
    weights: Doubles = run.weights
    n_layers, fan_out, stride = run.layout.n_layers, layer.fan_out, layer.stride
    first: float = run.extras[ACTIVITY_L1]
    second: float = run.extras[ACTIVITY_L2]
    for r in range(worker.low, worker.high):
        a: Vector = at(workspace, layer.outputs + r * stride)
        delta: Vector = at(workspace, layer.deltas + r * stride)
        add_skip_errors(worker, level + 1, r, delta, fan_out)
        if level < n_layers - 1 and (first > 0 or second > 0):
            pull: Number = T(first * weights[r])
            pull_back: Number = T(second * weights[r])
            total: float = 0.0
            for j in range(fan_out):
                value: float = float(a[j])
                total += first * abs(value) + second / 2 * value * value
                delta[j] += pull * sign(a[j]) + pull_back * a[j]
            penalties[r] += weights[r] * total
        if layer.n_slopes > 0:
            da_dslope: Vector = at(workspace, layer.da_dslope + r * stride)
            slope_delta: Vector = at(workspace, layer.slope_deltas + r * stride)
            for j in range(fan_out):
                slope_delta[j] = da_dslope[j] * delta[j]
        if layer.da_dz >= 0:
            derivative: Vector = at(workspace, layer.da_dz + r * stride)
            for j in range(fan_out):
                delta[j] *= derivative[j]
        elif layer.derivative != NO_RULE:
            derive(layer.derivative, a, delta, 1, fan_out, stride)
