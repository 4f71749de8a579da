"""The pieces of a pass over a whole network, in the order of its layers, with a barrier after each.

Kernels are compiled for the very network: a loop over its layers, which are of different kinds, is unrolled here, into
one device function made of theirs.
"""

from functools import reduce

from fastmlp.kernels.cuda.rules import device

from .backward import bias_gradients, hidden_errors, output_errors, shared_slope, weight_gradients
from .forward import dense_layer, disturbed_inputs


def chain(functions):
    """A device function that calls several, one after the other, with the same arguments."""

    def both(first, second):
        @device
        def call(*given):
            first(*given)
            second(*given)

        return call

    return reduce(both, functions)


def total_of(functions):
    """The same, with the sum of what they give."""
    return reduce(lambda first, second: device(lambda *given: first(*given) + second(*given)), functions, _nothing)


_nothing = device(lambda *given: 0.0)


def then_wait(function, barrier):
    """The same function, with a barrier after it."""

    @device
    def waiting(*given):
        result = function(*given)
        barrier()
        return result

    return waiting


def forward_pass(layout, dtype, barrier):
    """forward(t, n, first, rows, place, X, order, P, work, extras, seed, step): all layers, but for a last softmax."""
    layers = [dense_layer(layout, level, dtype) for level in range(len(layout.blocks))]
    layers = [then_wait(layer, barrier) for layer in layers]
    if layout.inputs < 0:
        return chain(layers)
    forward, disturb = chain(layers), disturbed_inputs(layout, dtype)

    @device
    def from_disturbed(t, n, first, rows, place, X, order, P, work, extras, seed, step):
        disturb(t, n, first, rows, place, X, order, work, extras, seed, step)
        barrier()
        return forward(t, n, first, rows, place, X, order, P, work, extras, seed, step)

    return from_disturbed


def backward_pass(layout, dtype, barrier):
    """backward(...) -> (loss, activity penalty) of the thread's part; deltas of all layers are ready afterwards."""
    head = output_errors(layout, dtype)
    hidden = [hidden_errors(layout, level, dtype) for level in reversed(range(len(layout.blocks) - 1))]
    down = total_of([then_wait(back, barrier) for back in hidden])

    @device
    def backward(t, n, rows, place, y, order, sample_weight, total, work, transposed, extras, loss_options):
        lost = head(t, n, rows, place, y, order, sample_weight, total, work, loss_options)
        barrier()
        return lost, down(t, n, rows, place, order, sample_weight, total, work, transposed, extras)

    return backward


def gradient_pass(layout, dtype, sinks):
    """gather(t, n, rows, place, X, order, work, *given) -> penalty: every gradient, handed to its layer's sink."""
    levels = range(len(layout.blocks))
    weights = total_of([weight_gradients(layout, level, dtype, sinks[level]) for level in levels])
    biases = chain([bias_gradients(layout, level, dtype, sinks[level]) for level in levels])
    slopes = [shared_slope(layout, level, dtype, sinks[level]) for level in levels if layout.shares_slope(level)]
    shared = total_of(slopes)

    @device
    def gather(t, n, rows, place, X, order, work, *given):
        penalty = weights(t, n, rows, place, X, order, work, *given)
        biases(n - 1 - t, n, rows, work, *given)  # those who had less of the weights begin
        shared(t, rows, work, *given)
        return penalty

    return gather
