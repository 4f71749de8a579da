"""A training step layer by layer: all threads share the work on a layer, then wait at a barrier.

With one block the barrier is cheap; this suits tiny networks and batches. With several blocks it is a grid barrier, of
about a microsecond; this suits networks of medium size.
"""

from fastmlp.kernels.cuda.composition import device

from .network import backward_pass, forward_pass, gradient_pass


def phased_step(layout, dtype, consumers, barrier):
    """run(...) -> (loss, penalty) of the thread's part of a batch; ``consumers`` are called with the gradient."""
    forward, backward = forward_pass(layout, dtype, barrier), backward_pass(layout, dtype, barrier)
    gather = gradient_pass(layout, dtype, consumers)

    @device
    def run(t, n, rows, begin, X, y, order, sample_weight, total, work, sums, seed, step, loss_options, given):
        P, transposed, extras = given[4], given[7], given[8]
        forward(t, n, 0, rows, begin, X, order, P, work, extras, seed, step)
        loss, penalty = backward(
            t, n, rows, begin, y, order, sample_weight, total, work, transposed, extras, loss_options
        )
        return loss, penalty + gather(t, n, rows, begin, X, order, work, *given)

    return run
