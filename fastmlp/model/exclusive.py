"""Fits and other threads: one fit of a model at a time, and weights to read while one is running."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


class RunningFit:
    """Marks a model as being fitted by the current thread."""

    def __init__(self):
        self.thread = threading.get_ident()


def one_at_a_time(fit: Method) -> Method:
    """Decorator of the fit methods of MLP: raises RuntimeError if another fit of the same model is running."""

    @wraps(fit)
    def guarded(self, *args, **kwargs):
        own = RunningFit()
        if vars(self).setdefault("_running_fit", own) is not own:  # atomic
            raise RuntimeError(
                "this MLP is already being fitted, by another thread or by the fit that called this callback: wait "
                "until that fit has ended, or fit a copy.deepcopy of the model."
            )
        try:
            return fit(self, *args, **kwargs)
        finally:
            del self._running_fit

    return cast(Method, guarded)


def weights_to_read(model):
    """The parameters of a model, or their values at the start of the epoch while another thread fits the model."""
    state, fit = model._state, vars(model).get("_running_fit")
    if fit is None or fit.thread == threading.get_ident():
        return state.parameters
    while True:
        if (start := state.epoch_start) is not None:
            return start
        epoch, between = state.epoch, state.parameters.copy()
        if state.epoch_start is None and state.epoch == epoch:  # no step was made in the meantime
            return between
