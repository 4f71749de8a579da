"""What some layers do beside f(A W + b): skip connections, dropout and noise, learned slopes, derivatives from z.

Such a layer (SPECIAL) keeps da/dz of every output in SLOPES, dropout included, and where it learns slopes da/dslope in
BENDS. A weighted skip is a matter of layout: the outputs that it brings are copied beside those of the layer below, and
its errors come back there.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from fastmlp.kernels.rules.activations import sign

from .partition import (
    ACTIVATE,
    ACTIVITY_L1,
    ACTIVITY_L2,
    BENDS,
    DELTAS,
    DERIVE,
    DEVIATE,
    DROPOUT,
    FAN_IN,
    FAN_OUT,
    FIELDS,
    INPUT_DEVIATION,
    INPUT_DROPOUT,
    LAYER_EXTRAS,
    LAYERS,
    LEARNED,
    OF_INPUT,
    OUTPUTS,
    SLOPES,
    SOURCE,
    STRIDE,
    WEIGHTED,
    WEIGHTS,
)
from .primitives import (
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    activate,
    activate_learned,
    at,
    at_integers,
    bint,
    derive,
    drop,
    fill_normal,
    random_key,
)


def disturb_inputs(row: Vector, n: int, number: int, extras: Doubles, seed: int, step: int, scratch: Vector) -> None:
    """Noise and dropout on a row of inputs, the ``number``th of its batch."""
    T = type(row[0])
    if extras[INPUT_DEVIATION] > 0:
        deviation: Number = T(extras[INPUT_DEVIATION])
        fill_normal(scratch, n, random_key(seed, step, 0), number * n)
        for j in range(n):
            row[j] += deviation * scratch[j]
    if extras[INPUT_DROPOUT] > 0:
        drop(row, n, random_key(seed, step, 1), number * n, extras[INPUT_DROPOUT])


def rows_of_layer(layers: Integers, number: int, inputs: Vector, workspace: Vector) -> Vector:
    """Where the outputs of layer ``number`` are, counted from 0, the network's inputs."""
    if number == 0:
        return inputs
    layer: Integers = at_integers(layers, (number - 1) * FIELDS)
    return at(workspace, layer[OUTPUTS])


def finish_rows(
    level: int, low: int, high: int, first_number: int, inputs: Vector, offsets: Integers, layers: Integers,
    n_layers: int, layer_rows: Integers, batch: int, parameters: Vector, workspace: Vector, noisy: bint,
    extras: Doubles, seed: int, step: int, learning: bint, scratch: Vector,
) -> None:  # fmt: skip
    """From A W + b, which is in OUTPUTS, to all that a special layer leaves behind, for rows low to high of a batch.

    The random numbers of row r are those of the row ``first_number`` + r.
    """
    T = type(parameters[0])
    layer: Integers = at_integers(layers, level * FIELDS)
    fan_in, fan_out, stride = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE]
    keeps = learning and layer[SLOPES] >= 0
    out: Vector = at(workspace, layer[OUTPUTS])
    slopes: Vector = at(workspace, layer[SLOPES] if keeps else layer[OUTPUTS])
    own: Vector = at(parameters, layer[WEIGHTS] + (fan_in + 1) * fan_out)
    for r in range(low, high):
        row: Vector = at(out, r * stride)
        slope: Vector = at(slopes, r * stride)
        if layer[SOURCE] >= 0 and not layer[WEIGHTED]:
            here: Integers = offsets if layer[SOURCE] == 0 else at_integers(layer_rows, layer[SOURCE] * batch)
            source: Vector = at(rows_of_layer(layers, layer[SOURCE], inputs, workspace), here[r])
            for j in range(fan_out):
                row[j] += source[j]
        if noisy and layer[DEVIATE] != NO_RULE:
            deviations: Vector = at(scratch, stride)
            for j in range(fan_out):
                deviations[j] = row[j]
            activate(layer[DEVIATE], deviations, 1, fan_out, fan_out)
            fill_normal(scratch, fan_out, random_key(seed, step, 2 * level + 2), (first_number + r) * fan_out)
            for j in range(fan_out):
                row[j] += deviations[j] * scratch[j]
        if layer[LEARNED] > 0:
            bend: Vector = at(workspace, layer[BENDS] + r * stride) if keeps else scratch
            activate_learned(
                layer[ACTIVATE], row, own, 1 if layer[LEARNED] == fan_out else 0, slope if keeps else scratch, bend,
                fan_out,
            )  # fmt: skip
        else:
            if keeps:
                for j in range(fan_out):
                    slope[j] = T(1)
            if keeps and layer[OF_INPUT]:
                derive(layer[DERIVE], row, slope, 1, fan_out, stride)
            activate(layer[ACTIVATE], row, 1, fan_out, stride)
            if keeps and not layer[OF_INPUT]:
                derive(layer[DERIVE], row, slope, 1, fan_out, stride)
        rate: float = extras[LAYERS + level * LAYER_EXTRAS + DROPOUT]
        if noisy and rate > 0:
            key = random_key(seed, step, 2 * level + 3)
            place = (first_number + r) * fan_out
            drop(row, fan_out, key, place, rate)
            if keeps:
                drop(slope, fan_out, key, place, rate)
            if keeps and layer[LEARNED] > 0:
                drop(at(workspace, layer[BENDS] + r * stride), fan_out, key, place, rate)
        if level + 1 < n_layers:
            above: Integers = at_integers(layers, (level + 1) * FIELDS)
            if above[SOURCE] >= 0 and above[WEIGHTED]:
                here = offsets if above[SOURCE] == 0 else at_integers(layer_rows, above[SOURCE] * batch)
                source = at(rows_of_layer(layers, above[SOURCE], inputs, workspace), here[r])
                for j in range(above[FAN_IN] - fan_out):
                    row[fan_out + j] = source[j]


def finish_deltas(
    level: int, low: int, high: int, layers: Integers, n_layers: int, workspace: Vector, extras: Doubles,
    penalties: Doubles, weights: Doubles,
) -> None:  # fmt: skip
    """From dLoss/da by way of the layer above, which is in DELTAS, to dLoss/dz of a special layer.

    ``weights`` are those of the rows; their activity penalties are added to ``penalties``.
    """
    T = type(workspace[0])
    layer: Integers = at_integers(layers, level * FIELDS)
    fan_out, stride = layer[FAN_OUT], layer[STRIDE]
    first: float = extras[ACTIVITY_L1]
    second: float = extras[ACTIVITY_L2]
    for r in range(low, high):
        a: Vector = at(workspace, layer[OUTPUTS] + r * stride)
        delta: Vector = at(workspace, layer[DELTAS] + r * stride)
        for upper in range(level + 1, n_layers):
            above: Integers = at_integers(layers, upper * FIELDS)
            if above[SOURCE] == level + 1:
                error: Vector = at(workspace, above[DELTAS] + r * above[STRIDE])
                if above[WEIGHTED]:
                    below: Integers = at_integers(layers, (upper - 1) * FIELDS)
                    error = at(workspace, below[DELTAS] + r * below[STRIDE] + below[FAN_OUT])
                for j in range(fan_out):
                    delta[j] += error[j]
        if level < n_layers - 1 and (first > 0 or second > 0):
            pull: Number = T(first * weights[r])
            pull_back: Number = T(second * weights[r])
            total: float = 0.0
            for j in range(fan_out):
                value: float = float(a[j])
                total += first * abs(value) + second / 2 * value * value
                delta[j] += pull * sign(a[j]) + pull_back * a[j]
            penalties[r] += weights[r] * total
        if layer[LEARNED] > 0:
            bend: Vector = at(workspace, layer[BENDS] + r * stride)
            for j in range(fan_out):
                bend[j] *= delta[j]
        if layer[SLOPES] >= 0:
            slope: Vector = at(workspace, layer[SLOPES] + r * stride)
            for j in range(fan_out):
                delta[j] *= slope[j]
        elif layer[DERIVE] != NO_RULE:
            derive(layer[DERIVE], a, delta, 1, fan_out, stride)
