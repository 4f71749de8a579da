"""Memory for the operands of products in reduced precision: a part of a Plan (engine/plan.py)."""

import numpy as np

from .bfloat16_tiles import FLOAT_UNIT, INNER, SIDE, TILE_SCRATCH, WORDS
from .reduced_precision import n_tiles, rows_at_once


def place_operands(layers, batch, strides, n_terms, unit, learning, of_inputs):
    """Set the offsets of the operands of each Layer in ``packed``.

    Parameters
    ----------
    layers : array of Layer (engine/records.py)
    batch : int
        Rows of a batch, a multiple of the rows of a tile.
    strides : sequence of int
        Numbers from row to row of the inputs of each layer, and of the outputs.
    n_terms, unit : int
        As in Layout.
    learning, of_inputs : bool
        Whether gradients of weights are computed, and dLoss/d(inputs).

    Returns
    -------
    (table of the rows of all weights, size of ``packed``, size of a thread's scratch), sizes in elements
    """
    weight_rows = np.concatenate([np.arange(layer.fan_in, dtype=np.int64) * layer.fan_out for layer in layers])
    packed = first = left = 0
    for level, layer in enumerate(layers):
        fan_in, fan_out = layer.fan_in, layer.fan_out
        layer.first_weight_row, first = first, first + fan_in
        # The inner dimension of each operand, the other one, and the numbers from row to row of a copy in float32.
        operands = {"packed_weights": (fan_in, fan_out, fan_out)}
        if learning:
            operands["packed_inputs"] = batch, fan_in, strides[level]
            operands["packed_deltas"] = batch, fan_out, strides[level + 1]
            if unit != FLOAT_UNIT and (level > 0 or of_inputs):
                operands["packed_transpose"] = fan_out, fan_in, fan_in
        for name in ("packed_weights", "packed_transpose", "packed_inputs", "packed_deltas"):
            setattr(layer, name, packed if name in operands else -1)
            if name in operands:
                inner, other, stride = operands[name]
                if unit == FLOAT_UNIT:
                    packed += -(-inner * stride // SIDE) * SIDE
                else:
                    packed += n_tiles(inner) * -(-other // SIDE) * n_terms * WORDS
        for inner in (fan_in, fan_out):
            left = max(left, rows_at_once(inner) * n_tiles(inner) * n_terms * SIDE, INNER * layer.stride)
    return weight_rows, packed, 0 if unit == FLOAT_UNIT else TILE_SCRATCH + left
