"""Passes over a whole network, layer by layer, with a barrier after each layer.

Kernels are compiled for one network: the loop over its layers is unrolled here, by composing their device functions.
"""

from fastmlp.kernels.cuda.composition import chain, device, sum_of

from .backward import bias_gradients, hidden_errors, output_errors, shared_slope_gradient, weight_gradients
from .forward import dense_layer, noisy_inputs


def then_wait(function, barrier):
    """A device function that calls a function and then a barrier."""

    @device
    def waiting(*given):
        result = function(*given)
        barrier()
        return result

    return waiting


def forward_pass(layout, dtype, barrier):
    """forward(t, n, first, rows, position, X, order, P, work, extras, seed, step): all layers, without softmax."""
    layers = [dense_layer(layout, level, dtype) for level in range(len(layout.blocks))]
    layers = [then_wait(layer, barrier) for layer in layers]
    if layout.inputs < 0:
        return chain(layers)
    forward, add_noise = chain(layers), noisy_inputs(layout, dtype)

    @device
    def forward_from_noisy(t, n, first, rows, position, X, order, P, work, extras, seed, step):
        add_noise(t, n, first, rows, position, X, order, work, extras, seed, step)
        barrier()
        return forward(t, n, first, rows, position, X, order, P, work, extras, seed, step)

    return forward_from_noisy


def backward_pass(layout, dtype, barrier):
    """backward(...) -> (loss, activity penalty) of the thread's part; computes the deltas of all layers."""
    head = output_errors(layout, dtype)
    hidden = [hidden_errors(layout, level, dtype) for level in reversed(range(len(layout.blocks) - 1))]
    down = sum_of([then_wait(back, barrier) for back in hidden])

    @device
    def backward(t, n, rows, position, y, order, sample_weight, total, work, transposed, extras, loss_options):
        loss = head(t, n, rows, position, y, order, sample_weight, total, work, loss_options)
        barrier()
        return loss, down(t, n, rows, position, order, sample_weight, total, work, transposed, extras)

    return backward


def gradient_pass(layout, dtype, consumers):
    """gather(t, n, rows, position, X, order, work, *given) -> penalty: calls the consumers with all gradients."""
    levels = range(len(layout.blocks))
    weights = sum_of([weight_gradients(layout, level, dtype, consumers[level]) for level in levels])
    biases = chain([bias_gradients(layout, level, dtype, consumers[level]) for level in levels])
    slopes = [
        shared_slope_gradient(layout, level, dtype, consumers[level])
        for level in levels
        if layout.has_shared_slope(level)
    ]
    shared = sum_of(slopes)

    @device
    def gather(t, n, rows, position, X, order, work, *given):
        penalty = weights(t, n, rows, position, X, order, work, *given)
        biases(n - 1 - t, n, rows, work, *given)  # starting with the threads that had fewer weights
        shared(t, rows, work, *given)
        return penalty

    return gather
