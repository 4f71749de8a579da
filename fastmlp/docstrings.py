"""Docstrings with the names of a table, or with a text that several docstrings share."""

from collections.abc import Callable, Iterable
from inspect import cleandoc
from typing import TypeVar

T = TypeVar("T")

# Of the methods that predict.
MC_SAMPLES = """\
mc_samples : int >= 2 or None, default=None
    Number of stochastic passes with dropout and noise as in training (Monte Carlo dropout, Gal & Ghahramani 2016).
    Repeated calls give identical results."""

# Of the models that train.
MATMUL_PRECISION = """\
matmul_precision : {'highest', 'high', 'medium'}, default='highest'
    Precision of the matrix products in training and prediction. 'highest' is that of ``dtype``. In 'medium' each factor
    is rounded to bfloat16, which has 8 significant bits; in 'high' it is the sum of two bfloat16, about 16 bits. Sums,
    weights, optimizer state and everything else are float32. 'high' and 'medium' require float32 and are not available
    with 'lbfgs' and 'lm', 'high' not with the backend 'cuda'."""
COMMUNICATOR = """\
communicator : mpi4py.MPI.Intracomm, fastmlp.DataParallel or None, default=None
    Train together with the other processes of an MPI job, each of which computes its part of every batch: see
    ``fastmlp.DataParallel``."""
MISSING_TARGETS = """\
missing_targets : {'raise', 'ignore'}, default='raise'
    What to do about NaN in y: raise an error, or leave these targets out of loss, gradient, scaling and scores.
    Ignoring single targets of a sample requires a CPU backend."""


def with_texts(**texts: str) -> Callable[[T], T]:
    """Decorator that replaces {KEY} in a docstring by the text of that keyword."""

    def fill(documented: T) -> T:
        if documented.__doc__:  # None with python -OO
            filled = cleandoc(documented.__doc__)  # without indentation, as Python 3.13 compiles it
            for key, text in texts.items():
                filled = filled.replace(f"{{{key}}}", text)
            documented.__doc__ = filled
        return documented

    return fill


def with_names(**tables: Iterable[str]) -> Callable[[T], T]:
    """Decorator that replaces {KEY} in a docstring by the quoted names in the table of that keyword.

    So the documentation always matches the code.
    """
    return with_texts(**{key: "{" + ", ".join(map(repr, table)) + "}" for key, table in tables.items()})
