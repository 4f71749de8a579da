"""Callbacks, which a fit calls between epochs, and in long ones: base class, checkpoints, progress bar, functions."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastmlp.extras import from_extra
from fastmlp.io.atomic import check_destination
from fastmlp.typing import StrPath
from fastmlp.validation.checks import check_integer, check_real


class NoBar(nullcontext):
    """A progress bar without output."""

    def __init__(self, **options):
        super().__init__()

    def update(self, n):
        """Do nothing."""


def progress_bar(progress=True):
    """The progress bar class: tqdm, or NoBar if ``progress`` is False. Raises ImportError if tqdm is missing."""
    if not progress:
        return NoBar
    with from_extra("cli", "progress bars need tqdm"):
        from tqdm import tqdm
    return tqdm


class Callback:
    """Base class of callbacks. Subclasses override the methods that they need."""

    def before_epoch(self, model: Any, epoch: int) -> None:
        """Called before each epoch; not called for 'lbfgs' and 'lm'.

        Parameters
        ----------
        model : MLP, MLPClassifier or MLPRegressor
            The model that is being fitted.
        epoch : int
            Number of the epoch, from 1 in each fit.
        """

    def within_epoch(self, model: Any, epoch: int) -> None:
        """Called several times a second within an epoch, between two steps; not called for 'lbfgs' and 'lm'.

        The model can be saved or used for predictions, but must not be changed.

        Parameters
        ----------
        model : MLP, MLPClassifier or MLPRegressor
            The model that is being fitted.
        epoch : int
            Number of the epoch, from 1 in each fit.
        """

    def after_epoch(self, model: Any, epoch: int, results: dict[str, float]) -> bool | None:
        """Called after each epoch, or after each iteration of 'lbfgs' and 'lm'.

        Parameters
        ----------
        model : MLP, MLPClassifier or MLPRegressor
            The model that is being fitted.
        epoch : int
            Number of the epoch or iteration, from 1 in each fit.
        results : dict of str to float
            'loss'; for an MLP with validation data also 'validation_loss' and 'validation_<metric>'; for an estimator
            with evaluation sets also '<name>-<metric>'.

        Returns
        -------
        bool or None
            Return True to stop training.
        """

    def after_fit(self, model: Any, error: BaseException | None) -> None:
        """Called at the end of the fit, also after an error.

        Parameters
        ----------
        model : MLP, MLPClassifier or MLPRegressor
            The model in its final state.
        error : BaseException or None
            The exception that ended the fit, if any.
        """


class Checkpoint(Callback):
    """Save the model to a file every few epochs, within long ones, and at the end of the fit.

    Checkpoints are written after all other callbacks have been called, so that they hold what these have changed. The
    last file holds the best weights if early stopping restores them. Files are replaced atomically. If an error ends
    the fit, the last checkpoint stays.

    Parameters
    ----------
    path : str or Path
        Path of the model file, which ``fastmlp.load`` reads. Training can be resumed from it with bit-identical
        results: an MLP is loaded and fitted again, an estimator continues by ``fit(..., resume_from=path)``. This also
        works within an epoch of ``fit``, or of ``fit_stream`` on a sequence of blocks; an epoch over other blocks is
        begun again.
    every : int, default=1
        Number of epochs between two checkpoints.
    seconds : float > 0 or None, default=None
        Also save within an epoch when the last checkpoint was that long ago.

    Raises
    ------
    OSError
        If the path cannot be written to.
    """

    def __init__(self, path: StrPath, every: int = 1, seconds: float | None = None) -> None:
        check_destination(path)
        self.path, self.every = path, check_integer("every", every, 1)
        self.seconds = None if seconds is None else check_real("seconds", seconds, 0, open_low=True)
        self._due = math.inf

    def before_epoch(self, model: Any, epoch: int) -> None:
        if self._due == math.inf and self.seconds is not None:
            self._due = time.monotonic() + self.seconds

    def within_epoch(self, model: Any, epoch: int) -> None:
        if time.monotonic() >= self._due:
            self._save(model)

    def after_epoch(self, model: Any, epoch: int, results: dict[str, float]) -> None:
        if epoch % self.every == 0:
            self._save(model)

    def after_fit(self, model: Any, error: BaseException | None) -> None:
        self._due = math.inf
        if error is None:
            model.save(self.path)

    def _save(self, model):
        model.save(self.path)
        if self.seconds is not None:
            self._due = time.monotonic() + self.seconds


class Progress(Callback):
    """Show a progress bar of epochs on stderr, with the latest results.

    Parameters
    ----------
    epochs : int or None, default=None
        Total number of epochs, if known.

    Raises
    ------
    ImportError
        If tqdm is not installed.
    """

    def __init__(self, epochs: int | None = None) -> None:
        self.epochs = None if epochs is None else check_integer("epochs", epochs, 1)
        self._bar: Any = None
        self._new_bar = progress_bar()

    def after_epoch(self, model: Any, epoch: int, results: dict[str, float]) -> None:
        if self._bar is None:
            self._bar = self._new_bar(total=self.epochs, unit=" epochs")
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in results.items()}, refresh=False)
        self._bar.update()

    def after_fit(self, model: Any, error: BaseException | None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Function(Callback):
    def __init__(self, function):
        self.after_epoch = function


def as_list(given):
    """The callbacks that a user has passed, as a list."""
    return [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]


class CombinedCallbacks:
    """Combine several callbacks into one. As a context manager it calls their ``after_fit`` on exit.

    Parameters
    ----------
    given : Callback, function, list of them, or None
        Callbacks of the user. A function is called as ``after_epoch``.
    model : MLP, MLPClassifier or MLPRegressor
    *more : Callback
        Further callbacks.

    Raises
    ------
    TypeError
        If ``given`` has elements that are neither Callback objects nor functions.
    """

    def __init__(self, given, model, *more):
        given = as_list(given)
        for one in given:
            if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
                raise TypeError(f"callbacks must be fastmlp.Callback objects or functions, got {one!r}.")
        own = [*(one if isinstance(one, Callback) else _Function(one) for one in given), *more]
        self._all = sorted(own, key=lambda one: isinstance(one, Checkpoint))  # these save what the others have changed
        self.model, self._epoch, self.stop = model, 0, False
        self._within = [one for one in self._all if type(one).within_epoch is not Callback.within_epoch]

    def __bool__(self):
        return bool(self._all)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        first = error
        for one in self._all:  # call all of them even if one raises
            try:
                one.after_fit(self.model, error)
            except BaseException as later:
                if first is None:
                    first = later
                else:
                    first.add_note(f"after_fit of {type(one).__name__} failed too: {later!r}")
        if first is not error:
            raise first

    def continue_from(self, epoch):
        """Number the epochs from the one after this epoch on."""
        self._epoch = epoch

    def before_epoch(self):
        for one in self._all:
            one.before_epoch(self.model, self._epoch + 1)

    def listens_within(self):
        """Whether a callback is called within epochs."""
        return bool(self._within)

    def within_epoch(self, state):
        """Call the callbacks that listen within epochs, unless the weights of the TrainingState diverge."""
        if self._within and math.isfinite(state.loss_sum + state.penalty_sum) and np.isfinite(state.parameters).all():
            for one in self._within:
                one.within_epoch(self.model, self._epoch + 1)

    def after_epoch(self, results):
        """Call all callbacks after an epoch. Returns whether to stop training."""
        self._epoch += 1
        self.stop = False
        for one in self._all:
            returned = one.after_epoch(self.model, self._epoch, results)
            try:
                self.stop = bool(returned) or self.stop  # what a Checkpoint, which comes last, finds here
            except ValueError as error:
                raise TypeError(f"a callback must return True, False or None, got {returned!r}.") from error
        return self.stop


NO_CALLBACKS = CombinedCallbacks((), None)
