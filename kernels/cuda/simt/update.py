"""The update of one parameter from its gradient: weight decay, clipping, and the optimizer's rule.

The CPU engine's counterpart is engine/update.py. ``extras`` is laid out as in engine/partition.py.
"""

from functools import cache
from math import sqrt

import numpy as np

from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.cuda.rules import rules_for
from fastmlp.kernels.engine.partition import CLIP_VALUE, DECOUPLED_DECAY
from fastmlp.kernels.rules.activations import sign
from fastmlp.kernels.rules.optimizers import OPTIMIZERS
from fastmlp.kernels.spec import loss_row


def _tuple_loader(count):
    """load(array, start, stride) -> a tuple of ``count`` elements, at most three."""

    def none(array, start, stride):
        return ()

    def one(array, start, stride):
        return (array[start],)

    def two(array, start, stride):
        return array[start], array[start + stride]

    def three(array, start, stride):
        return array[start], array[start + stride], array[start + 2 * stride]

    return device((none, one, two, three)[count])


tuple_loader = cache(_tuple_loader)


def loss_arguments(network):
    """take(options) -> what the loss takes after prediction and target: options, and the number of outputs if needed."""
    row, n_outputs = loss_row(network.loss), network.sizes[-1]
    load = tuple_loader(len(row.options))
    alone = device(lambda options: load(options, 0, 1))
    counted = device(lambda options: load(options, 0, 1) + (n_outputs,))  # noqa: RUF005
    return counted if row.counts else alone


def _tuple_storer(count):
    """store(array, start, stride, values): write values[1:] where ``tuple_loader`` read them; return values[0]."""

    def none(array, start, stride, values):
        return values

    def one(array, start, stride, values):
        array[start] = values[1]
        return values[0]

    def two(array, start, stride, values):
        array[start], array[start + stride] = values[1], values[2]
        return values[0]

    def three(array, start, stride, values):
        array[start], array[start + stride], array[start + 2 * stride] = values[1], values[2], values[3]
        return values[0]

    return device((none, one, two, three)[count])


@cache
def update_function(optimizer, dtype):
    """update_parameter(p, g, decays, factor, rate, correction, P, slots, n, extras, options) -> new value.

    The slots of parameter p are ``slots[p + s n]``. ``decays``: whether it is a weight; ``factor``: the layer's factor
    of the learning rate; ``correction``: that of ``rate_correction`` for the step.
    """
    row = OPTIMIZERS[optimizer]
    rule, T = rules_for(dtype)[row.update.__name__], dtype.type
    take_slots, take_options = tuple_loader(len(row.slots)), tuple_loader(len(row.options))
    store_slots = _tuple_storer(len(row.slots))

    @device
    def update_parameter(p, g, decays, factor, rate, correction, P, slots, n, extras, options):
        w = P[p]
        bound = T(extras[CLIP_VALUE])
        if bound > 0:
            g = -bound if g < -bound else bound if g > bound else g
        if decays and extras[DECOUPLED_DECAY] > 0:
            w *= T(1 - extras[DECOUPLED_DECAY] * rate * factor)
        new = rule(w, g, *take_slots(slots, p, n), rate * factor * correction, *take_options(options, 0, 1))
        value = store_slots(slots, p, n, new)
        P[p] = value
        return value

    return update_parameter


@cache
def penalizer(dtype):
    """penalized(g, w, l2, l1, decay) -> (penalty of a weight, its gradient with penalty and coupled decay added)."""
    sign_of, T = rules_for(dtype)[sign.__name__], dtype.type

    @device
    def penalized(g, w, l2, l1, decay):
        penalty, pull = l2 / 2 * w * w + l1 * abs(w), l2 + decay
        if pull > 0:
            g += T(pull) * w
        if l1 > 0:
            g += T(l1) * sign_of(w)
        return penalty, g

    return penalized


@cache
def clipper(dtype):
    """scale(squares, bound): the factor that clips a gradient with this sum of squares to the norm ``bound``."""
    T = dtype.type

    @device
    def scale(squares, bound):
        norm = sqrt(squares)
        return T(bound / norm) if norm > bound else T(1)

    return scale


@cache
def rate_correction(optimizer):
    """correction(step, options): the factor of the learning rate in a step, in float64."""
    if not optimizer or OPTIMIZERS[optimizer].rate is None:
        return device(lambda step, options: 1.0)
    row = OPTIMIZERS[optimizer]
    take_options = tuple_loader(len(row.options))
    rule = rules_for(np.dtype("float64"))[row.rate.__name__]

    @device
    def correction(step, options):
        return rule(1.0, float(step), *take_options(options, 0, 1))

    return correction
