"""Concurrent use of a model: one fit at a time, and consistent weights for predictions during a fit."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


# By the id of the model, so that copies and pickles are not marked. Only the running call holds its RunningFit, so a
# mark that an interrupt prevented from being removed disappears with the call.
_running: dict[int, weakref.ref[RunningFit]] = {}
_lock = threading.Lock()


class RunningFit:
    """Marks a model as being fitted by the current thread."""

    __slots__ = "__weakref__", "thread"

    def __init__(self):
        self.thread = threading.get_ident()


def claim(model: Any) -> RunningFit:
    """Mark a model as being fitted by this thread. RuntimeError if it is being fitted already.

    Keep the result in a local variable and pass it to ``release``.
    """
    own = RunningFit()
    with _lock:
        if running_fit(model) is not None:
            raise being_fitted(model)
        _running[id(model)] = weakref.ref(own)
    return own


def release(model: Any, own: RunningFit) -> None:
    """End what ``claim`` began."""
    if running_fit(model) is own:
        del _running[id(model)]


def running_fit(model: Any) -> RunningFit | None:
    """The RunningFit of a model that is being fitted."""
    mark = _running.get(id(model))
    return None if mark is None else mark()


def _forget():
    """Clear the marks in a forked child, where the fits of other threads do not continue."""
    global _lock
    _lock = threading.Lock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def one_at_a_time(fit: Method) -> Method:
    """Decorator of methods that fit or build a model: raises RuntimeError while another of them is running."""

    @wraps(fit)
    def guarded(self, *args, **kwargs):
        own = claim(self)
        try:
            return fit(self, *args, **kwargs)
        finally:
            release(self, own)

    return cast(Method, guarded)


def is_being_fitted(model):
    """Whether a fit of the model is running, in any thread."""
    return running_fit(model) is not None


def being_fitted(model):
    """The RuntimeError for a change that is not allowed during a fit of the model."""
    return RuntimeError(
        f"this {type(model).__name__} is already being fitted, by another thread or by the fit that called this "
        "callback: wait until that fit has ended, or use a copy.deepcopy of the model."
    )


def weights_to_read(model):
    """The parameters of a model, or their values at the start of the epoch while another thread fits the model."""
    state, fit = model._state, running_fit(model)
    if fit is None or fit.thread == threading.get_ident():
        return state.parameters
    while True:
        if (start := state.epoch_start) is not None:
            return start
        epoch, between = state.epoch, state.parameters.copy()
        if state.epoch_start is None and state.epoch == epoch:  # no epoch was begun (compiled steps are not noticed)
            return between
