"""One fit of a model at a time."""

import threading
from functools import wraps


class RunningFit:
    """Marks a model as being fitted, by this thread."""

    def __init__(self):
        self.thread = threading.get_ident()


def one_at_a_time(fit):
    """A method of MLP that refuses to begin while the model is being fitted: both would change the same weights."""

    @wraps(fit)
    def alone(self, *given, **named):
        own = RunningFit()
        if vars(self).setdefault("_running_fit", own) is not own:  # in one step for all threads
            raise RuntimeError(
                "this MLP is being fitted already, by another thread or by the fit that called this callback: wait "
                "until that has ended, or fit a copy.deepcopy of it."
            )
        try:
            return fit(self, *given, **named)
        finally:
            del self._running_fit

    return alone
