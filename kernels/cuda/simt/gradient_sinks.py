"""What becomes of a gradient, parameter by parameter: it is kept, added to others, or used for an update at once.

A sink is called as sink(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options)
and gives the penalty of the parameter. ``l2`` and ``l1`` are penalties over the sum of the batch's weights; ``decays``
says whether the parameter is a weight, and ``flip`` where it is in ``transposed``, or -1. All other arguments are as
``learner`` wants them.
"""

from fastmlp.kernels.cuda.rules import device
from fastmlp.kernels.engine.partition import COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS

from .update import learner, penalizer


@device
def add_up(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
    """Add a gradient to others of the same parameter."""
    gradient[p] += g
    return 0.0


def keep(dtype):
    """A sink for the whole gradient of the loss, penalties and coupled decay included."""
    penalized = penalizer(dtype)

    @device
    def sink(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        penalty = 0.0
        if decays:
            penalty, g = penalized(g, P[p], l2, l1, extras[COUPLED_DECAY])
        gradient[p] = g
        return penalty

    return sink


def apply(layout, level, optimizer, dtype):
    """A sink for what ``keep`` kept: the update."""
    learn, n, factor_at = learner(optimizer, dtype), layout.network.n_parameters, LAYERS + level * LAYER_EXTRAS + FACTOR

    @device
    def sink(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        new = learn(p, g, decays, extras[factor_at], rate, correction, P, slots, n, extras, options)
        if flip >= 0:
            transposed[flip] = new
        return 0.0

    return sink


def learn_at_once(layout, level, optimizer, dtype):
    """Both in one, without a gradient in memory."""
    penalized, update = penalizer(dtype), apply(layout, level, optimizer, dtype)

    @device
    def sink(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        penalty = 0.0
        if decays:
            penalty, g = penalized(g, P[p], l2, l1, extras[COUPLED_DECAY])
        update(p, flip, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options)
        return penalty

    return sink


def each_parameter(layout, level, fetch, sink):
    """visit(t, n, fetched, *given): ``sink`` for each parameter of a layer, of the gradient fetch(p, fetched)."""
    block, flipped = layout.blocks[level], layout.flipped[level]
    start, fan_in, fan_out = block.start, block.fan_in, block.fan_out
    n_weights, n_others = fan_in * fan_out, fan_out + block.n_slopes

    @device
    def visit(t, n, fetched, *given):
        penalty = 0.0
        for item in range(t, n_weights, n):
            flip = flipped + item % fan_out * fan_in + item // fan_out if flipped >= 0 else -1
            penalty += sink(start + item, flip, fetch(start + item, fetched), True, *given)
        for item in range(t, n_others, n):
            p = start + n_weights + item
            sink(p, -1, fetch(p, fetched), False, *given)
        return penalty

    return visit
