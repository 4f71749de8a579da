"""Fits and other threads: one fit of a model at a time, and weights to read while one is running."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


_running: dict[int, RunningFit] = {}  # by the id of the model, so that copies and pickles of a model are not marked

if hasattr(os, "register_at_fork"):  # the fits of other threads do not go on in a child
    os.register_at_fork(after_in_child=_running.clear)


class RunningFit:
    """Marks a model as being fitted by the current thread."""

    __slots__ = ("thread",)

    def __init__(self):
        self.thread = threading.get_ident()


def claim(model: Any) -> None:
    """Mark a model as being fitted by this thread, until ``release``. RuntimeError if it is being fitted already."""
    own = RunningFit()
    if _running.setdefault(id(model), own) is not own:  # atomic
        raise being_fitted(model)


def release(model: Any) -> None:
    """End what ``claim`` began."""
    _running.pop(id(model), None)  # None in the child of a fork within a fit


def one_at_a_time(fit: Method) -> Method:
    """Decorator of methods that fit or build a model: raises RuntimeError while another of them is running."""

    @wraps(fit)
    def guarded(self, *args, **kwargs):
        claim(self)
        try:
            return fit(self, *args, **kwargs)
        finally:
            release(self)

    return cast(Method, guarded)


def is_being_fitted(model):
    """Whether a fit of the model is running, in any thread."""
    return id(model) in _running


def being_fitted(model):
    """The RuntimeError for a change that is not allowed during a fit of the model."""
    return RuntimeError(
        f"this {type(model).__name__} is already being fitted, by another thread or by the fit that called this "
        "callback: wait until that fit has ended, or use a copy.deepcopy of the model."
    )


def weights_to_read(model):
    """The parameters of a model, or their values at the start of the epoch while another thread fits the model."""
    state, fit = model._state, _running.get(id(model))
    if fit is None or fit.thread == threading.get_ident():
        return state.parameters
    while True:
        if (start := state.epoch_start) is not None:
            return start
        epoch, between = state.epoch, state.parameters.copy()
        if state.epoch_start is None and state.epoch == epoch:  # no step was made in the meantime
            return between
