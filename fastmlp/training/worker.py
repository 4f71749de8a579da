"""What runs in another process: one fit, of a parcel."""

import sys
import threading
import traceback
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

import cloudpickle
from sklearn import config_context

from fastmlp.backends.threads import dask_worker, each_limited_to

from .interruption import shared_with_fits
from .parcels import Result, opened, packed_result

_lock = threading.Lock()
_recording: list[warnings.catch_warnings] = []  # the catch_warnings of the fits that are running
_found = ContextVar("fastmlp_warnings_of_a_fit", default=None)


def fit_parcel(parcel, settings, n_threads, *blocks):
    """Run the Fit of a parcel.

    Parameters
    ----------
    parcel : bytes
        Of ``Post.parcels``.
    settings : dict
        scikit-learn's, of ``get_config``.
    n_threads : int
        Number of threads that the fit may use.
    *blocks : ndarrays of bytes
        Those that the parcel needs.

    Returns
    -------
    bytes
        A Result, for ``Post.take_over``.
    """
    fit, named = opened(parcel, blocks)
    value = error = None
    with recorded_warnings() as found, each_limited_to(n_threads), config_context(**settings):
        try:
            with shared_with_fits(Cancelled()):
                value = fit.run()
        except BaseException as raised:
            error = sendable(raised)
    try:
        return packed_result(Result(fit.model, value, error, found), named)
    except Exception as raised:
        text = f"what a fit has made cannot be sent back by the worker: {type(raised).__name__}: {raised}"
        return packed_result(Result(None, None, TypeError(text), found), [])


def sendable(error):
    """The error, with the traceback as a note; a RuntimeError with its text if it cannot be pickled."""
    note = "On the worker:\n" + "".join(traceback.format_exception(error))
    try:
        found = cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        found = None
    if type(found) is not type(error):
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note(note)
    return found


class Cancelled:
    """Whether the task of dask that runs in this thread has been cancelled, in the place of an Interruption."""

    def __init__(self):
        worker = dask_worker()
        self._task = None if worker is None else worker.state.tasks.get(worker.get_current_task())

    @property
    def requested(self):
        return self._task is not None and self._task.state == "cancelled"


@contextmanager
def recorded_warnings():
    """Context manager: record the warnings of this thread, as a list of (category, text).

    Fits may overlap in the threads of a worker, and filters are those of the process: the last fit restores them.
    """
    found = []
    token = _found.set(found)
    with _lock:
        if not _recording:
            caught = warnings.catch_warnings()
            caught.__enter__()
            warnings.simplefilter("always")
            show = warnings.showwarning
            warnings.showwarning = lambda *given, **more: _note(show, *given, **more)
            _recording.append(caught)
        else:
            _recording.append(_recording[0])
    try:
        yield found
    finally:
        _found.reset(token)
        with _lock:
            caught = _recording.pop()
            if not _recording:
                caught.__exit__(*sys.exc_info())


def _note(show, message, category, *given, **more):
    found = _found.get()
    if found is None:
        show(message, category, *given, **more)
    else:
        found.append((category, str(message)))
