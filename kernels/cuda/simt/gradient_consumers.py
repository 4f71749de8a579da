"""Functions that receive the gradient of one parameter: store it, accumulate it, or update the parameter.

Their signature is consume(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options),
and they return the penalty of the parameter. ``at``: the index of the weight in ``transposed``, or -1; ``decays``:
whether it is a weight; ``l2``, ``l1``: penalties divided by the sum of the batch's weights. The other arguments are
those of ``update_parameter`` in simt/update.py.
"""

from fastmlp.kernels.cuda.composition import device
from fastmlp.kernels.engine.partition import COUPLED_DECAY, FACTOR, LAYER_EXTRAS, LAYERS

from .update import penalizer, update_function


@device
def accumulate(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
    """Add to the gradient of the parameter."""
    gradient[p] += g
    return 0.0


def store(dtype):
    """Store the gradient, with penalties and coupled decay."""
    penalized = penalizer(dtype)

    @device
    def consume(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        penalty = 0.0
        if decays:
            penalty, g = penalized(g, P[p], l2, l1, extras[COUPLED_DECAY])
        gradient[p] = g
        return penalty

    return consume


def apply_stored(layout, level, optimizer, dtype):
    """Update the parameter from a gradient as ``store`` stores it."""
    update_parameter, n = update_function(optimizer, dtype), layout.network.n_parameters
    factor_at = LAYERS + level * LAYER_EXTRAS + FACTOR

    @device
    def consume(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        new = update_parameter(p, g, decays, extras[factor_at], rate, correction, P, slots, n, extras, options)
        if at >= 0:
            transposed[at] = new
        return 0.0

    return consume


def update_immediately(layout, level, optimizer, dtype):
    """Update the parameter from the gradient of the loss, without storing it."""
    penalized, update = penalizer(dtype), apply_stored(layout, level, optimizer, dtype)

    @device
    def consume(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options):
        penalty = 0.0
        if decays:
            penalty, g = penalized(g, P[p], l2, l1, extras[COUPLED_DECAY])
        update(p, at, g, decays, rate, correction, l2, l1, P, slots, gradient, transposed, extras, options)
        return penalty

    return consume


def each_parameter(layout, level, fetch, consume):
    """visit(t, n, source, *given): call ``consume`` with the gradient fetch(p, source) of each parameter of a layer."""
    block, transposed_at = layout.blocks[level], layout.transposed_at[level]
    start, fan_in, fan_out = block.start, block.fan_in, block.fan_out
    n_weights, n_others = fan_in * fan_out, fan_out + block.n_slopes

    @device
    def visit(t, n, source, *given):
        penalty = 0.0
        for item in range(t, n_weights, n):
            at = transposed_at + item % fan_out * fan_in + item // fan_out if transposed_at >= 0 else -1
            penalty += consume(start + item, at, fetch(start + item, source), True, *given)
        for item in range(t, n_others, n):
            p = start + n_weights + item
            consume(p, -1, fetch(p, source), False, *given)
        return penalty

    return visit
