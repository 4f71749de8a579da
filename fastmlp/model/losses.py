"""Losses by name with options, or as custom functions."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastmlp.docstrings import with_names
from fastmlp.kernels.rules import LOSSES
from fastmlp.kernels.rules import Loss as LossRow
from fastmlp.validation.checks import Range, call_text, check_option_values, known, option_values

from .activations import check_functions, try_functions

RANGES = {
    "delta": Range(0, open_low=True), "quantile": Range(0, 1, open_low=True, open_high=True),
    "label_smoothing": Range(0, 1, open_high=True),
}  # fmt: skip
BY_OUTPUT = ("quantile",)  # options that may be a list, with a number for each output


@dataclass(frozen=True, repr=False)
class Loss:
    """A loss in the table LOSSES with the values of its options, in the order of the table; None uses the defaults.

    ``make_loss`` takes options by name. Values are validated on construction.
    """

    name: str
    options: tuple[float | tuple[float, ...], ...] | None = None

    def __post_init__(self):
        defaults = dict(LOSSES[known("loss", self.name, LOSSES)].options)
        given = None if isinstance(self.options, tuple) and not self.options else self.options  # () in earlier files
        options = check_option_values("loss", self.name, given, defaults, RANGES, BY_OUTPUT)
        object.__setattr__(self, "options", options)

    def __repr__(self):
        return call_text("make_loss", self.name, dict(zip(dict(LOSSES[self.name].options), self.options)))


@with_names(LOSSES=LOSSES)
def make_loss(name: str, **options: float | Sequence[float]) -> Loss:
    """Make a loss with options, for every parameter named ``loss``.

    Parameters
    ----------
    name : {LOSSES}
        Formulas: ``help(fastmlp.kernels.rules.losses)``.
    **options : float or list of float
        'huber': delta > 0 (default 1), the error at which the loss changes from quadratic to linear. 'quantile':
        quantile in (0, 1) (default 0.5, the median), or an increasing list of them: the network then has an output for
        each, and all learn the same target. 'categorical_cross_entropy' and 'binary_cross_entropy': label_smoothing s
        in [0, 1) (default 0) replaces a target t by (1 - s) t + s / n_classes, with two classes for 'binary'
        (Szegedy et al. 2016). Losses of held-out samples are smoothed too, as in PyTorch; scores are not.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If the name or an option is unknown, or a value is out of range.
    """
    return Loss(name, option_values("loss", name, options, dict(LOSSES[known("loss", name, LOSSES)].options)))


def check_loss(given):
    """(name or table row, option values) from a name, a Loss, or a custom (function, derivative)."""
    if isinstance(given, str):
        given = Loss(given)
    elif isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):  # from a model file
        name, options = given
        if not isinstance(options, tuple):
            raise ValueError(f"a loss with options is made by make_loss({name!r}, ...), got {given!r}.")
        given = Loss(name, options)
    if isinstance(given, Loss):
        return given.name, given.options
    row = LossRow(*check_functions("loss", given[:2] if isinstance(given, LossRow) else given, LOSSES))
    if isinstance(given, LossRow) and given != row:
        raise ValueError("pass the name of a built-in loss, not its row of the table LOSSES.")
    try_functions("loss", row[:2], (0.5, 0.25))
    return row, ()
