"""A whole epoch in one call on a team of threads.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from math import sqrt as _sqrt

from .layer_features import disturb_inputs, finish_deltas, finish_rows
from .partition import (
    ACTIVATE,
    CLIP,
    CLIP_NORM,
    CLIP_VALUE,
    COUPLED_DECAY,
    DECOUPLED_DECAY,
    DELTAS,
    DERIVE,
    FAN_IN,
    FAN_OUT,
    FIELDS,
    INPUTS,
    L1,
    L2,
    LASSO,
    MAX_NORM,
    OPTIONS,
    OUTPUTS,
    PACKED,
    RATE,
    SCALE,
    SHRINK,
    SPECIAL,
    SQUARES,
    STRIDE,
    WEIGHTS,
    share,
    wait_for_all,
)
from .primitives import (
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    at,
    at_doubles,
    at_integers,
    bint,
    derive,
    flush_denormals,
    lanes,
    restore_denormals,
    step_rate,
    tile_rows,
    weighted_loss,
)
from .products import delta_rows, dense_rows
from .update import BLOCK, learn_part, learn_sums, limit_norms, penalties_of, squares_of_gradient


def propagate(
    first_layer: int, low: int, high: int, inputs: Vector, offsets: Integers, layers: Integers, n_layers: int,
    layer_rows: Integers, batch: int, numbers: Integers, y: Vector, sample_weight: Vector, weighted: bint,
    total: float, loss: int, linked: bint, loss_options: Doubles, noisy: bint, extras: Doubles, seed: int, step: int,
    parameters: Vector, workspace: Vector, scratch: Vector, losses: Doubles, penalties: Doubles, weights: Doubles,
) -> None:  # fmt: skip
    """Outputs from ``first_layer`` on, losses and deltas of every layer, for rows low to high of the batch."""
    T = type(parameters[0])
    top: Integers = at_integers(layers, (n_layers - 1) * FIELDS)
    for level in range(first_layer, n_layers):
        layer: Integers = at_integers(layers, level * FIELDS)
        fan_in, fan_out = layer[FAN_IN], layer[FAN_OUT]
        W: Vector = at(parameters, layer[WEIGHTS])
        a: Vector = inputs if level == 0 else at(workspace, layer[INPUTS])
        here: Integers = offsets if level == 0 else at_integers(layer_rows, level * batch)
        dense_rows(
            a, here, low, high, fan_in, fan_out, W, at(W, fan_in * fan_out), layer[PACKED],
            NO_RULE if layer[SPECIAL] else layer[ACTIVATE], at(workspace, layer[OUTPUTS]), layer[STRIDE], scratch,
        )  # fmt: skip
        if layer[SPECIAL]:
            finish_rows(
                level, low, high, 0, inputs, offsets, layers, n_layers, layer_rows, batch, parameters, workspace,
                noisy, extras, seed, step, 1, scratch,
            )  # fmt: skip
    n_outputs, stride = top[FAN_OUT], top[STRIDE]
    outputs: Vector = at(workspace, top[OUTPUTS])
    delta: Vector = at(workspace, top[DELTAS])
    for r in range(low, high):
        weight: Number = (sample_weight[numbers[r]] if weighted else T(1)) / T(total)
        weights[r] = weight
        penalties[r] = 0.0
        losses[r] = weighted_loss(
            loss, at(outputs, r * stride), at(y, numbers[r] * n_outputs), weight, at(delta, r * stride), n_outputs,
            loss_options,
        )  # fmt: skip
    if not linked and top[SPECIAL]:
        finish_deltas(n_layers - 1, low, high, layers, n_layers, workspace, extras, penalties, weights)
    elif not linked:
        derive(top[DERIVE], at(outputs, low * stride), at(delta, low * stride), high - low, n_outputs, stride)
    for level in range(n_layers - 1, 0, -1):
        layer = at_integers(layers, level * FIELDS)
        below: Integers = at_integers(layers, (level - 1) * FIELDS)
        delta_rows(
            at(workspace, layer[DELTAS]), at_integers(layer_rows, (level + 1) * batch), low, high, layer[FAN_IN],
            layer[FAN_OUT], at(parameters, layer[WEIGHTS]), NO_RULE if below[SPECIAL] else below[DERIVE],
            at(workspace, below[OUTPUTS]), at(workspace, below[DELTAS]), below[STRIDE], scratch,
        )  # fmt: skip
        if below[SPECIAL]:
            finish_deltas(level - 1, low, high, layers, n_layers, workspace, extras, penalties, weights)


def train(
    thread: int, n_threads: int, counter: Integers, layers: Integers, n_layers: int, layer_rows: Integers, batch: int,
    X: Vector, n_inputs: int, in_place: bint, by_columns: bint, n_groups: int, y: Vector, order: Integers, n_rows: int,
    batch_size: int, sample_weight: Vector, weighted: bint, alpha: float, loss: int, linked: bint,
    loss_options: Doubles, noisy: bint, extras: Doubles, seed: int, optimizer: int, rate_rule: int, parameters: Vector,
    gradient: Vector, slots: Vector, n_parameters: int, step: int, rates: Doubles, scheduled: bint, settings: Doubles,
    workspace: Vector, sums: Vector, offsets: Integers, scratch: Vector, losses: Doubles, penalties: Doubles,
    weights: Doubles, squares: Doubles, n_squares: int, results: Doubles,
) -> None:  # fmt: skip
    """One thread's part of an epoch. Results do not depend on the number of threads.

    Each thread owns rows of the batch for the forward pass and the deltas, and rows of every weight matrix for gradient
    and update, so that nothing is summed across threads. ``by_columns``: of the first matrix it owns columns instead,
    for the forward pass too, and these weights never leave its core. ``n_groups``: where parameters are few beside the
    batch, the rows come in that many groups whose gradients are made apart, and are added up by the update.

    ``rates`` holds a learning rate, or where ``scheduled`` one for each batch.
    """
    T = type(parameters[0])
    denormals = flush_denormals()
    generation = 0
    strips: Integers = at_integers(layer_rows, (n_layers + 1) * batch)
    first_offsets: Integers = offsets if in_place else layer_rows
    first_step = step
    clipped = extras[CLIP_NORM] > 0
    rule = NO_RULE if clipped else optimizer
    settings[CLIP] = extras[CLIP_VALUE]
    for begin in range(0, n_rows, batch_size):
        rows = min(batch_size, n_rows - begin)
        numbers: Integers = at_integers(order, begin)
        total: float = float(rows)
        if weighted:
            total = 0.0
            for r in range(rows):
                total += sample_weight[numbers[r]]
            if total == 0:
                continue
        settings[L2] = 0.0  # what groups add up has none of it
        settings[L1] = 0.0
        parts = n_groups if n_groups > 0 else n_threads
        first_part, stop_part = share(parts, 1, thread, n_threads), share(parts, 1, thread + 1, n_threads)
        low, high = share(rows, tile_rows(), first_part, parts), share(rows, tile_rows(), stop_part, parts)
        inputs: Vector = X
        if in_place:
            for r in range(rows):
                offsets[r] = numbers[r] * n_inputs
            for r in range(rows, min(batch, rows + tile_rows())):
                offsets[r] = 0
        else:
            inputs = workspace
            for r in range(low, high):
                source: Vector = at(X, numbers[r] * n_inputs)
                to: Vector = at(workspace, layer_rows[r])
                for j in range(n_inputs):
                    to[j] = source[j]
                if noisy:
                    disturb_inputs(to, n_inputs, r, extras, seed, step, scratch)
        if alpha > 0 or extras[LASSO] > 0:
            for level in range(n_layers):
                layer: Integers = at_integers(layers, level * FIELDS)
                penalties_of(
                    at(parameters, layer[WEIGHTS]), layer[FAN_IN], layer[FAN_OUT], by_columns and level == 0, thread,
                    n_threads, alpha, extras[LASSO], at_doubles(squares, layer[SQUARES]),
                )  # fmt: skip
        if by_columns:
            W: Vector = at(parameters, layers[WEIGHTS])
            left = share(layers[FAN_OUT], lanes(W), thread, n_threads)
            columns = share(layers[FAN_OUT], lanes(W), thread + 1, n_threads) - left
            dense_rows(
                X, offsets, 0, rows, n_inputs, columns, at(W, n_inputs * left),
                at(W, n_inputs * layers[FAN_OUT] + left), layers[PACKED], layers[ACTIVATE],
                at(workspace, layers[OUTPUTS] + left), layers[STRIDE], scratch,
            )  # fmt: skip
            generation += 1
            wait_for_all(counter, n_threads, generation)
        for part in range(first_part, stop_part):
            low, high = share(rows, tile_rows(), part, parts), share(rows, tile_rows(), part + 1, parts)
            propagate(
                1 if by_columns else 0, low, high, inputs, first_offsets, layers, n_layers, layer_rows, batch, numbers,
                y, sample_weight, weighted, total, loss, linked, loss_options, noisy, extras, seed, step, parameters,
                workspace, scratch, losses, penalties, weights,
            )  # fmt: skip
            if n_groups > 0 and low == high:  # a last batch may be short
                for i in range(n_parameters):
                    sums[part * n_parameters + i] = T(0)
            elif n_groups > 0:
                learn_part(
                    0, 1, 0, low, high, inputs, first_offsets, strips, layers, n_layers, layer_rows, batch, NO_RULE,
                    parameters, at(sums, part * n_parameters), slots, n_parameters, extras, settings, workspace,
                    scratch,
                )  # fmt: skip
        generation += 1
        wait_for_all(counter, n_threads, generation)
        step += 1
        learning_rate: float = rates[begin // batch_size] if scheduled else rates[0]
        settings[L2] = alpha / total + extras[COUPLED_DECAY]
        settings[L1] = extras[LASSO] / total
        settings[SCALE] = 1.0
        settings[SHRINK] = learning_rate * extras[DECOUPLED_DECAY]
        if optimizer != NO_RULE:
            settings[RATE] = step_rate(rate_rule, learning_rate, float(step), at_doubles(settings, OPTIONS))
        if thread == 0:
            data_loss: float = 0.0
            penalty: float = 0.0
            for r in range(rows):
                data_loss += losses[r]
                penalty += penalties[r]
            if alpha > 0 or extras[LASSO] > 0:
                for i in range(n_squares):
                    penalty += squares[i] / total
            results[0] += rows * data_loss
            results[1] += rows * penalty
        if n_groups > 0:
            learn_sums(
                thread, n_threads, layers, n_layers, sums, n_groups, rule, parameters, gradient, slots, n_parameters,
                extras, settings, scratch,
            )  # fmt: skip
        else:
            learn_part(
                thread, n_threads, by_columns, 0, rows, inputs, first_offsets, strips, layers, n_layers, layer_rows,
                batch, rule, parameters, gradient, slots, n_parameters, extras, settings, workspace, scratch,
            )  # fmt: skip
        generation += 1
        wait_for_all(counter, n_threads, generation)
        if clipped:
            squares_of_gradient(gradient, n_parameters, thread, n_threads, squares)
            generation += 1
            wait_for_all(counter, n_threads, generation)
            norm: float = 0.0
            for i in range((n_parameters + BLOCK - 1) // BLOCK):
                norm += squares[i]
            norm = _sqrt(norm)
            settings[L2] = 0.0
            settings[L1] = 0.0
            settings[SCALE] = extras[CLIP_NORM] / norm if norm > extras[CLIP_NORM] else 1.0
            learn_sums(
                thread, n_threads, layers, n_layers, gradient, 1, optimizer, parameters, gradient, slots, n_parameters,
                extras, settings, scratch,
            )  # fmt: skip
            generation += 1
            wait_for_all(counter, n_threads, generation)
        if extras[MAX_NORM] > 0:
            limit_norms(layers, n_layers, thread, n_threads, parameters, extras[MAX_NORM], scratch)
            generation += 1
            wait_for_all(counter, n_threads, generation)
    if thread == 0:
        results[2] = step - first_step
    restore_denormals(denormals)
