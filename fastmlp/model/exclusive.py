"""Concurrent use of a model: one fit at a time, and consistent weights for predictions during a fit.

A method that changes a model (``one_at_a_time``) is refused while another one runs. A method that reads it (``reads``)
uses the model itself while none runs, and a method that changes it waits for such readers. During a fit of another
thread it reads a copy instead, with weights that nothing writes to. Single steps and passes are short and come one
after the other: readers wait for them.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Self, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])

PAUSE = 1e-4  # seconds between two looks at a call that must end first


# By the id of the model, so that copies and pickles are not marked. Only the running call holds its mark, so one that
# an interrupt prevented from being removed disappears with the call.
_running: dict[int, weakref.ref[RunningFit]] = {}
_readers: dict[int, weakref.ref[Reading]] = {}  # by their own ids, of all models
_lock = threading.RLock()  # a signal handler may predict too, so that each change of the tables is one operation


class RunningFit:
    """Marks a model as being fitted by the current thread.

    Attributes
    ----------
    before : dict
        The attributes of the model before the call, or of a short call an empty one.
    state : TrainingState or None
        What an estimator trains, from the moment on when its other attributes are complete.
    is_short : bool
        Whether readers wait for its end.
    has_begun : bool
        Whether the readers that it waits for have left.
    """

    __slots__ = "__weakref__", "before", "has_begun", "is_short", "state", "thread"

    def __init__(self, model: Any, is_short: bool) -> None:
        self.thread, self.state = threading.get_ident(), None
        self.is_short, self.has_begun = is_short, False
        self.before = {} if is_short else vars(model).copy()  # a single operation


def claim(model: Any, is_short: bool = False) -> RunningFit:
    """Mark a model as being fitted by this thread. RuntimeError if it is being fitted already.

    Keep the result in a local variable and pass it to ``release``.
    """
    with _lock:
        if running_fit(model) is not None:
            raise being_fitted(model)
        own = RunningFit(model, is_short)
        _running[id(model)] = weakref.ref(own)
    try:
        while not _begin(model, own):
            time.sleep(PAUSE)
    except BaseException:  # Ctrl-C
        release(model, own)
        raise
    return own


def release(model: Any, own: RunningFit) -> None:
    """End what ``claim`` began."""
    if running_fit(model) is own:
        _running.pop(id(model), None)


def running_fit(model: Any) -> RunningFit | None:
    """The RunningFit of a model that is being fitted."""
    mark = _running.get(id(model))
    return None if mark is None else mark()


def _readers_of(model):
    """The Readings that read the model itself, or wait for a short call to do so."""
    readers = [mark() for mark in list(_readers.values())]
    return [reader for reader in readers if reader is not None and reader.model is model]


def _begin(model, own):
    """Let a fit begin unless other threads read the model. Returns whether it has begun."""
    with _lock:
        own.has_begun = all(reader.thread == own.thread for reader in _readers_of(model))
    return own.has_begun


class Reading:
    """Context manager: the model, or during a fit of another thread a copy of it, with consistent attributes.

    In the block no other thread changes what it returns.
    """

    __slots__ = "__weakref__", "model", "thread"

    def __init__(self, model: Any) -> None:
        self.model, self.thread = model, threading.get_ident()

    def __enter__(self) -> Any:
        model = self.model
        try:
            while True:
                with _lock:
                    fit = running_fit(model)
                    if fit is None or self._goes_before(fit):
                        _readers[id(self)] = weakref.ref(self)
                        return model
                    if fit.is_short and fit.has_begun:  # the next short call waits for this reader
                        _readers[id(self)] = weakref.ref(self)
                if not fit.is_short:
                    found = model._during_fit(fit)
                    if running_fit(model) is fit:  # otherwise another one may have begun while it was copied
                        return found
                    continue
                while running_fit(model) is fit:
                    time.sleep(PAUSE)
        except BaseException:  # Ctrl-C
            self.__exit__()
            raise

    def _goes_before(self, fit):
        """Whether this thread is the one that fits, or already reads the model, so that the fit waits for it."""
        if fit.thread == self.thread:
            return True
        return not fit.has_begun and any(reader.thread == self.thread for reader in _readers_of(self.model))

    def __exit__(self, *exception: object) -> None:
        _readers.pop(id(self), None)


def reads(method: Method) -> Method:
    """Decorator of methods that compute something with a model and do not change it, as ``Reading`` says."""

    @wraps(method)
    def reading(self, *args, **kwargs):
        with Reading(self) as model:
            return method(model, *args, **kwargs)

    return cast(Method, reading)


class UsedByThreads:
    """Mixin of models that one thread may fit while others predict."""

    def _during_fit(self, fit: RunningFit) -> Self:
        """What other threads read during a fit: by default this model as it was before."""
        return with_attributes(type(self), fit.before)

    @contextmanager
    def _unchanging(self) -> Iterator[None]:
        """Context manager: no other thread changes the model. RuntimeError if one is fitting it."""
        with Reading(self) as found:
            if found is not self:
                raise RuntimeError(
                    f"this {type(self).__name__} is being fitted by another thread, so it cannot be saved, copied or "
                    "pickled now: do it when that fit has ended, or in a callback of the fit (fastmlp.Checkpoint saves "
                    "it there)."
                )
            yield

    def __getstate__(self):
        with self._unchanging():
            return super().__getstate__()


def with_attributes(kind: type, attributes: dict[str, Any]) -> Any:
    """An object of a class with these attributes."""
    made: Any = object.__new__(kind)
    vars(made).update(attributes)
    return made


def _forget():
    """Clear the marks in a forked child, where the calls of other threads do not continue."""
    global _lock
    _lock = threading.RLock()
    _running.clear()
    _readers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def one_at_a_time(fit: Method) -> Method:
    """Decorator of methods that fit or build a model: raises RuntimeError while another of them is running."""
    return _exclusive(fit, is_short=False)


def one_step_at_a_time(step: Method) -> Method:
    """As ``one_at_a_time``, for single steps and passes: other threads wait for their end to read the model."""
    return _exclusive(step, is_short=True)


def _exclusive(method, is_short):
    @wraps(method)
    def guarded(self, *args, **kwargs):
        own = claim(self, is_short)
        try:
            return method(self, *args, **kwargs)
        finally:
            release(self, own)

    return guarded


def is_being_fitted(model):
    """Whether a fit of the model is running, in any thread."""
    return running_fit(model) is not None


def being_fitted(model):
    """The RuntimeError for a change that is not allowed during a fit of the model."""
    return RuntimeError(
        f"this {type(model).__name__} is already being fitted, by another thread or by the fit that called this "
        "callback: wait until that fit has ended, or use a copy.deepcopy of the model."
    )


def note_state(model, state):
    """Tell readers in other threads which TrainingState the running fit of an estimator changes.

    Call it when the other attributes of the estimator are complete.
    """
    fit = running_fit(model)
    if fit is not None:
        fit.state = state
