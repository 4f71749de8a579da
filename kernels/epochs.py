"""A whole epoch in one call on a team of threads.

Compiled twice, like products.py.
"""

from __future__ import annotations

from fastmlp.kernels.learning import learn_biases, learn_weights, squares_of
from fastmlp.kernels.primitives import (
    at_doubles,
    NO_RULE,
    Doubles,
    Integers,
    Number,
    Vector,
    at,
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

def train(
    thread: int, n_threads: int, counter: Integers, layers: Integers, n_layers: int, layer_rows: Integers, batch: int,
    X: Vector, n_inputs: int, in_place: bint, by_columns: bint, y: Vector, order: Integers, n_rows: int, batch_size: int,
    sample_weight: Vector, weighted: bint, alpha: float, loss: int, linked: bint, optimizer: int, rate_rule: int,
    parameters: Vector, gradient: Vector, slots: Vector, n_parameters: int, step: int, learning_rate: float,
    options: Doubles, workspace: Vector, offsets: Integers, scratch: Vector, losses: Doubles, squares: Doubles,
    n_squares: int, results: Doubles,
) -> None:  # fmt: skip
    """One thread's part of an epoch.

    Each thread owns rows of the batch for the forward pass and the deltas, and rows of every weight matrix for
    gradient and update. So nothing is summed across threads, and results do not depend on their number. ``by_columns``:
    of the first matrix a thread owns columns instead, for the forward pass too, and these weights never leave its core.
    """
    T = type(parameters[0])
    denormals = flush_denormals()
    generation = 0
    strips: Integers = at_integers(layer_rows, (n_layers + 1) * batch)
    last = n_layers - 1
    top: Integers = at_integers(layers, last * FIELDS)
    n_outputs = top[FAN_OUT]
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
        first_row, stop_row = share(rows, tile_rows(), thread, n_threads), share(rows, tile_rows(), thread + 1, n_threads)
        inputs: Vector = X
        if in_place:
            for r in range(rows):
                offsets[r] = numbers[r] * n_inputs
            for r in range(rows, min(batch, rows + tile_rows())):
                offsets[r] = 0
        else:
            inputs = workspace
            for r in range(first_row, stop_row):
                source: Vector = at(X, numbers[r] * n_inputs)
                to: Vector = at(workspace, layer_rows[r])
                for j in range(n_inputs):
                    to[j] = source[j]
        for l in range(n_layers):
            layer: Integers = at_integers(layers, l * FIELDS)
            W: Vector = at(parameters, layer[WEIGHTS])
            fan_in, fan_out = layer[FAN_IN], layer[FAN_OUT]
            a: Vector = inputs if l == 0 else at(workspace, layer[INPUTS])
            here: Integers = first_offsets if l == 0 else at_integers(layer_rows, l * batch)
            b: Vector = at(W, fan_in * fan_out)
            out: Vector = at(workspace, layer[OUTPUTS])
            low, high, left = first_row, stop_row, 0
            if by_columns and l == 0:
                low, high = 0, rows
                left = share(fan_out, lanes(W), thread, n_threads)
                fan_out = share(fan_out, lanes(W), thread + 1, n_threads) - left
                W = at(W, fan_in * left)
                b = at(b, left)
                out = at(out, left)
            if alpha > 0:
                squares_of(
                    W, fan_in, fan_out, by_columns and l == 0, thread, n_threads, left, at_doubles(squares, layer[SQUARES])
                )
            dense_rows(
                a, here, low, high, fan_in, fan_out, W, b, layer[PACKED], layer[ACTIVATE], out, layer[STRIDE], scratch
            )
            if by_columns and l == 0:
                generation += 1
                wait_for_all(counter, n_threads, generation)
        outputs: Vector = at(workspace, top[OUTPUTS])
        delta: Vector = at(workspace, top[DELTAS])
        for r in range(first_row, stop_row):
            weight: Number = (sample_weight[numbers[r]] if weighted else T(1)) / T(total)
            losses[r] = weighted_loss(
                loss, at(outputs, r * top[STRIDE]), at(y, numbers[r] * n_outputs), weight, at(delta, r * top[STRIDE]),
                n_outputs,
            )  # fmt: skip
        if not linked:
            derive(
                top[DERIVE], at(outputs, first_row * top[STRIDE]), at(delta, first_row * top[STRIDE]),
                stop_row - first_row, n_outputs, top[STRIDE],
            )  # fmt: skip
        for l in range(last, 0, -1):
            layer = at_integers(layers, l * FIELDS)
            below: Integers = at_integers(layers, (l - 1) * FIELDS)
            delta_rows(
                at(workspace, layer[DELTAS]), at_integers(layer_rows, (l + 1) * batch), first_row, stop_row,
                layer[FAN_IN], layer[FAN_OUT], at(parameters, layer[WEIGHTS]), below[DERIVE],
                at(workspace, below[OUTPUTS]), at(workspace, below[DELTAS]), below[STRIDE], scratch,
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
        for l in range(n_layers):
            layer = at_integers(layers, l * FIELDS)
            fan_in, fan_out, offset = layer[FAN_IN], layer[FAN_OUT], layer[WEIGHTS]
            a = inputs if l == 0 else at(workspace, layer[INPUTS])
            here = first_offsets if l == 0 else at_integers(layer_rows, l * batch)
            left, right = share(fan_out, lanes(a), thread, n_threads), share(fan_out, lanes(a), thread + 1, n_threads)
            errors: Vector = at(workspace, layer[DELTAS])
            learn_biases(
                errors, layer[STRIDE], rows, left, right, optimizer, parameters, gradient, slots, n_parameters,
                offset + fan_in * fan_out, rate, options, scratch,
            )  # fmt: skip
            low, high = share(fan_in, tile_rows(), thread, n_threads), share(fan_in, tile_rows(), thread + 1, n_threads)
            if by_columns and l == 0:
                low, high, fan_out = 0, fan_in, right - left
                errors = at(errors, left)
                offset += fan_in * left
            if fan_out > 0:
                learn_weights(
                    a, here, rows, errors, layer[STRIDE], low, high, fan_out, layer[PACKED], strips, optimizer, parameters,
                    gradient, slots, n_parameters, offset, alpha / total, rate, options, scratch,
                )  # fmt: skip
        generation += 1
        wait_for_all(counter, n_threads, generation)
    if thread == 0:
        results[2] = step - first_step
    restore_denormals(denormals)
