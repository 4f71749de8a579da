"""What a fit calls between epochs: a user's own functions, checkpoints, a progress bar."""

from contextlib import nullcontext

from fastmlp.extras import from_extra
from fastmlp.io.atomic import check_destination
from fastmlp.validation.checks import check_integer


class NoBar(nullcontext):
    """A progress bar that shows nothing."""

    def __init__(self, **options):
        super().__init__()

    def update(self, n):
        """Do nothing."""


def progress_bar(progress=True):
    """The class of progress bars: tqdm, or NoBar if ``progress`` is false. Raises ImportError if tqdm is missing."""
    if not progress:
        return NoBar
    with from_extra("cli", "progress bars need tqdm"):
        from tqdm import tqdm
    return tqdm


class Callback:
    """Base of callbacks: a subclass overrides what it needs. ``model`` is the one that is being fitted.

    ``epoch`` counts from 1 in each fit ('lbfgs': iterations). ``results`` is what is known after an epoch: 'loss',
    'validation_loss' of an MLP with validation data, and '<name>-<metric>' of an estimator's ``eval_set``.
    """

    def before_epoch(self, model, epoch):
        """Called before each epoch, but not for 'lbfgs'."""

    def after_epoch(self, model, epoch, results):
        """Called after each epoch; what is true ends the fit."""

    def after_fit(self, model, error):
        """Called in the end, however it comes: ``error`` is None, or what ended the fit. The model is as it stays."""


class Checkpoint(Callback):
    """Save the model every few epochs, and in the end, with the best weights if these are restored; the file is always
    whole. Where an error ends the fit it stays as it was.

    Parameters
    ----------
    path : str or Path
        The file that ``fastmlp.load`` reads. An MLP goes on from it bit for bit.
    every : int, default=1
        Epochs from one to the next.
    """

    def __init__(self, path, every=1):
        check_destination(path)
        self.path, self.every = path, check_integer("every", every, 1)

    def after_epoch(self, model, epoch, results):
        if epoch % self.every == 0:
            model.save(self.path)

    def after_fit(self, model, error):
        if error is None:
            model.save(self.path)


class Progress(Callback):
    """A progress bar on stderr, of epochs, with the latest results."""

    def __init__(self, epochs=None):
        self.epochs = None if epochs is None else check_integer("epochs", epochs, 1)
        self._bar, self._new_bar = None, progress_bar()

    def after_epoch(self, model, epoch, results):
        if self._bar is None:
            self._bar = self._new_bar(total=self.epochs, unit=" epochs")
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in results.items()}, refresh=False)
        self._bar.update()

    def after_fit(self, model, error):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Function(Callback):
    def __init__(self, function):
        self.after_epoch = function


class Callbacks:
    """Some Callbacks, or functions that stand for their ``after_epoch``, as one; a context that ends with the fit.

    ``more`` are Callbacks beside those that a user has given.

    Raises
    ------
    TypeError
        For anything else.
    """

    def __init__(self, given, model, *more):
        given = () if given is None else given if isinstance(given, (list, tuple)) else [given]
        for one in given:
            if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
                raise TypeError(f"callbacks must be fastmlp.Callback objects or functions, got {one!r}.")
        self._all = [*(one if isinstance(one, Callback) else _Function(one) for one in given), *more]
        self._model, self._epoch, self.stop = model, 0, False

    def __bool__(self):
        return bool(self._all)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        first = error
        for one in self._all:  # all of them, also where one raises
            try:
                one.after_fit(self._model, error)
            except BaseException as later:
                if first is None:
                    first = later
                else:
                    first.add_note(f"after_fit of {type(one).__name__} failed too: {later!r}")
        if first is not error:
            raise first

    def before_epoch(self):
        for one in self._all:
            one.before_epoch(self._model, self._epoch + 1)

    def after_epoch(self, results):
        """Returns whether the fit is to end."""
        self._epoch += 1
        wishes = [one.after_epoch(self._model, self._epoch, results) for one in self._all]
        try:
            self.stop = any(wishes)
        except ValueError as error:
            raise TypeError(f"a callback must return True, False or None, got {wishes!r}.") from error
        return self.stop


NO_CALLBACKS = Callbacks((), None)
