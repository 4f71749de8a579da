"""A step phase by phase: all threads share a layer's numbers, then wait for each other.

With one block the barrier costs next to nothing: tiny networks and batches. With several it is the grid's, about a
microsecond: networks of medium size.
"""

from fastmlp.kernels.cuda.rules import device

from .network import backward_pass, forward_pass, gradient_pass


def phased_step(layout, dtype, sinks, barrier):
    """run(...) -> (loss, penalty) of the thread's part of a batch, whose gradient goes to ``sinks``."""
    forward, backward = forward_pass(layout, dtype, barrier), backward_pass(layout, dtype, barrier)
    gather = gradient_pass(layout, dtype, sinks)

    @device
    def run(t, n, rows, begin, X, y, order, sample_weight, total, work, sums, seed, step, loss_options, given):
        P, transposed, extras = given[4], given[7], given[8]
        forward(t, n, 0, rows, begin, X, order, P, work, extras, seed, step)
        lost, penalty = backward(
            t, n, rows, begin, y, order, sample_weight, total, work, transposed, extras, loss_options
        )
        return lost, penalty + gather(t, n, rows, begin, X, order, work, *given)

    return run
