"""Scalar formulas of activations, losses and optimizers, each written once; the tables list them.

A rule is a plain function of scalars. Numba compiles it unchanged (CPU and CUDA); tools/typed_cython.py types the
same lines for Cython. ``T = type(z)`` and ``T(1)`` instead of bare literals keep float32 in float32. Comparisons are
written so that NaN propagates: a diverging fit must not look healthy.

The tables are the only lists of names: code, tests, benchmarks, help and error messages read them.
"""

from types import FunctionType

from . import activations, losses, optimizers
from .activations import ACTIVATIONS, Activation
from .losses import LOSSES, Loss
from .optimizers import OPTIMIZERS, OptimizerRule

__all__ = ["ACTIVATIONS", "LOSSES", "OPTIMIZERS", "RULES", "Activation", "Loss", "OptimizerRule"]

# Every rule, each after those it calls.
RULES = [
    rule
    for module in (activations, losses, optimizers)
    for rule in vars(module).values()
    if isinstance(rule, FunctionType) and rule.__module__ == module.__name__
]
