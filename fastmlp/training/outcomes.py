"""How a fit may end: the statuses of a Result, and the exceptions that end it early."""

COMPLETED = "completed"  # all epochs were run, or a full-batch solver terminated
STOPPED = "stopped"  # by the stopping rule or a callback
INTERRUPTED = "interrupted"  # by Ctrl-C
DIVERGED = "diverged"  # loss or weights are no longer finite


class Diverged(Exception):
    """Raised if loss, parameters or outputs are not finite; the parameters are those of the last finite epoch."""


class DivergenceError(ValueError):
    """Raised by ``fit`` of an estimator if training diverges. The estimator is fitted with the last finite weights.

    Not a subclass of Diverged: if a callback fits another estimator that diverges, the surrounding fit must not be
    treated as diverged.
    """


class Interrupted(Exception):
    """Raised after Ctrl-C; the state is that after the last completed chunk."""
