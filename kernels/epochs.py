"""A whole epoch in one call on a team of threads.

Compiled twice, like products.py.
"""

from __future__ import annotations

from fastmlp.kernels.learning import learn_part, learn_sums, squares_of
from fastmlp.kernels.primitives import (
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
from fastmlp.kernels.products import delta_rows, dense_rows
from fastmlp.kernels.sharing import (
    ACTIVATE,
    DELTAS,
    DERIVE,
    FAN_IN,
    FAN_OUT,
    FIELDS,
    INPUTS,
    OUTPUTS,
    PACKED,
    SQUARES,
    STRIDE,
    WEIGHTS,
    share,
    wait_for_all,
)


def propagate(
    first_layer: int, low: int, high: int, inputs: Vector, offsets: Integers, layers: Integers, n_layers: int,
    layer_rows: Integers, batch: int, numbers: Integers, y: Vector, sample_weight: Vector, weighted: bint,
    total: float, loss: int, linked: bint, parameters: Vector, workspace: Vector, scratch: Vector, losses: Doubles,
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
            a, here, low, high, fan_in, fan_out, W, at(W, fan_in * fan_out), layer[PACKED], layer[ACTIVATE],
            at(workspace, layer[OUTPUTS]), layer[STRIDE], scratch,
        )  # fmt: skip
    n_outputs, stride = top[FAN_OUT], top[STRIDE]
    outputs: Vector = at(workspace, top[OUTPUTS])
    delta: Vector = at(workspace, top[DELTAS])
    for r in range(low, high):
        weight: Number = (sample_weight[numbers[r]] if weighted else T(1)) / T(total)
        losses[r] = weighted_loss(
            loss, at(outputs, r * stride), at(y, numbers[r] * n_outputs), weight, at(delta, r * stride), n_outputs
        )
    if not linked:
        derive(top[DERIVE], at(outputs, low * stride), at(delta, low * stride), high - low, n_outputs, stride)
    for level in range(n_layers - 1, 0, -1):
        layer = at_integers(layers, level * FIELDS)
        below: Integers = at_integers(layers, (level - 1) * FIELDS)
        delta_rows(
            at(workspace, layer[DELTAS]), at_integers(layer_rows, (level + 1) * batch), low, high, layer[FAN_IN],
            layer[FAN_OUT], at(parameters, layer[WEIGHTS]), below[DERIVE], at(workspace, below[OUTPUTS]),
            at(workspace, below[DELTAS]), below[STRIDE], scratch,
        )  # fmt: skip


def train(
    thread: int, n_threads: int, counter: Integers, layers: Integers, n_layers: int, layer_rows: Integers, batch: int,
    X: Vector, n_inputs: int, in_place: bint, by_columns: bint, n_groups: int, y: Vector, order: Integers, n_rows: int,
    batch_size: int, sample_weight: Vector, weighted: bint, alpha: float, loss: int, linked: bint, optimizer: int,
    rate_rule: int, parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, step: int,
    learning_rate: float, options: Doubles, workspace: Vector, sums: Vector, offsets: Integers, scratch: Vector,
    losses: Doubles, squares: Doubles, n_squares: int, results: Doubles,
) -> None:  # fmt: skip
    """One thread's part of an epoch. Results do not depend on the number of threads.

    Each thread owns rows of the batch for the forward pass and the deltas, and rows of every weight matrix for gradient
    and update, so that nothing is summed across threads. ``by_columns``: of the first matrix it owns columns instead,
    for the forward pass too, and these weights never leave its core. ``n_groups``: where parameters are few beside the
    batch, the rows come in that many groups whose gradients are made apart, and are added up by the update.
    """
    T = type(parameters[0])
    denormals = flush_denormals()
    generation = 0
    strips: Integers = at_integers(layer_rows, (n_layers + 1) * batch)
    first_offsets: Integers = offsets if in_place else layer_rows
    first_step = step
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
        if alpha > 0:
            for level in range(n_layers):
                layer: Integers = at_integers(layers, level * FIELDS)
                squares_of(
                    at(parameters, layer[WEIGHTS]), layer[FAN_IN], layer[FAN_OUT], by_columns and level == 0, thread,
                    n_threads, at_doubles(squares, layer[SQUARES]),
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
                y, sample_weight, weighted, total, loss, linked, parameters, workspace, scratch, losses,
            )  # fmt: skip
            if n_groups > 0 and low == high:  # a last batch may be short
                for i in range(n_parameters):
                    sums[part * n_parameters + i] = T(0)
            elif n_groups > 0:
                learn_part(
                    0, 1, 0, low, high, inputs, first_offsets, strips, layers, n_layers, layer_rows, batch, NO_RULE,
                    parameters, at(sums, part * n_parameters), slots, n_parameters, 0.0, 0.0, options, workspace,
                    scratch,
                )  # fmt: skip
        generation += 1
        wait_for_all(counter, n_threads, generation)
        step += 1
        rate: float = learning_rate
        if optimizer != NO_RULE:
            rate = step_rate(rate_rule, learning_rate, float(step), options)
        if thread == 0:
            data_loss: float = 0.0
            for r in range(rows):
                data_loss += losses[r]
            penalty: float = 0.0
            if alpha > 0:
                for i in range(n_squares):
                    penalty += squares[i]
            results[0] += rows * data_loss
            results[1] += rows * penalty * alpha / total / 2
        if n_groups > 0:
            learn_sums(
                thread, n_threads, layers, n_layers, sums, n_groups, optimizer, parameters, gradient, slots,
                n_parameters, alpha / total, rate, options, scratch,
            )  # fmt: skip
        else:
            learn_part(
                thread, n_threads, by_columns, 0, rows, inputs, first_offsets, strips, layers, n_layers, layer_rows,
                batch, optimizer, parameters, gradient, slots, n_parameters, alpha / total, rate, options, workspace,
                scratch,
            )  # fmt: skip
        generation += 1
        wait_for_all(counter, n_threads, generation)
    if thread == 0:
        results[2] = step - first_step
    restore_denormals(denormals)
