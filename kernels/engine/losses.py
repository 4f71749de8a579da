"""Loss of a row whose outputs may each have a weight and options of their own.

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .primitives import Doubles, Number, Vector, at, weighted_loss


def row_weight(weights: Vector, n_weights: int) -> float:
    """Weight of a row with ``n_weights`` weights: their mean, or 1 without any."""
    if n_weights == 0:
        return 1.0
    total: float = 0.0
    for j in range(n_weights):
        total += weights[j]
    return total / n_weights


def row_loss(
    code: int, n_averaged: int, option_step: int, prediction: Vector, target: Vector, weights: Vector, n_weights: int,
    total: float, delta: Vector, n: int, options: Doubles,
) -> float:  # fmt: skip
    """``weighted_loss`` with weights divided by ``total``: one for the row, or one for each output.

    ``option_step`` is 0 if all outputs have the same options, otherwise the number of options of an output. A loss that
    is a mean divides by the number of outputs of a call, here 1, so weights of single outputs are divided by
    ``n_averaged``.
    """
    T = type(prediction[0])
    weight: Number = T(1) / T(total)
    if n_weights <= 1 and option_step == 0:
        if n_weights == 1:
            weight = weights[0] / T(total)
        return weighted_loss(code, prediction, target, weight, delta, n, options)
    loss: float = 0.0
    for j in range(n):
        if n_weights > 0:
            weight = weights[j if n_weights > 1 else 0] / T(total)
        loss += weighted_loss(
            code, at(prediction, j), at(target, j), weight / T(n_averaged), at(delta, j), 1,
            at(options, j * option_step),
        )  # fmt: skip
    return loss
