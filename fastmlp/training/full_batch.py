"""Solvers that use all samples in each step: L-BFGS and Levenberg-Marquardt."""

from functools import partial
from typing import NamedTuple

from fastmlp.validation.checks import check_real

from .lbfgs import fit_lbfgs
from .levenberg_marquardt import fit_levenberg_marquardt

FULL_BATCH = {"lbfgs": fit_lbfgs, "lm": fit_levenberg_marquardt}
BAYES = "bayes"  # an alpha that 'lm' chooses


class Limits(NamedTuple):
    """Stopping criteria: iterations, evaluations of the loss, and the largest gradient component."""

    max_iter: int
    max_fun: int
    tol: float


def is_full_batch(optimizer):
    """Whether an optimizer, as users give it, is one of these solvers."""
    return isinstance(optimizer, str) and optimizer in FULL_BATCH


def is_bayes(alpha):
    """Whether the solver chooses the L2 penalty."""
    return isinstance(alpha, str) and alpha == BAYES


def solver_of(name, alpha):
    """The function that minimises the loss, called like ``fit_lbfgs``."""
    return partial(fit_levenberg_marquardt, chooses_alpha=True) if is_bayes(alpha) else FULL_BATCH[name]


def check_alpha(alpha, optimizer, called):
    """Return a number >= 0, or 'bayes'. ``called`` is how users name the optimizer: 'optimizer' or 'solver'."""
    if not isinstance(alpha, str):
        return check_real("alpha", alpha, 0)
    if alpha != BAYES:
        raise ValueError(f"alpha must be a number >= 0 or '{BAYES}', got {alpha!r}.")
    if not (isinstance(optimizer, str) and optimizer == "lm"):
        raise ValueError(f"alpha='{BAYES}' requires {called}='lm': pass a number, or set {called}='lm'.")
    return alpha
