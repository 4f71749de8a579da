"""How a fit can end early."""


class Diverged(Exception):
    """Loss, parameters or outputs stopped being finite; the parameters are those of the last good epoch."""


class DivergenceError(ValueError):
    """Raised by the fit of an estimator, which is fitted with the last finite weights.

    It is not a Diverged: a callback may fit another estimator, whose divergence is not that of the surrounding fit.
    """


class Interrupted(Exception):
    """Ctrl-C: the state is where the last chunk left it."""
