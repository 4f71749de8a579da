"""Fits and other threads: one fit of a model at a time, and weights to read while one is running."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


# By the id of the model, so that copies and pickles of a model are not marked. Only the call that fits holds the marks:
# one that an interrupt kept from being removed goes with its call.
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
    mark = weakref.ref(own)
    if _running.setdefault(id(model), mark) is not mark:
        with _lock:
            if running_fit(model) is not None:
                raise being_fitted(model)
            _running[id(model)] = mark
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
    """In a forked child the fits of other threads do not go on."""
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
        if state.epoch_start is None and state.epoch == epoch:  # no step was made in the meantime
            return between
