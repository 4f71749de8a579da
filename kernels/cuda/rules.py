"""The formulas of fastmlp.kernels.rules compiled as CUDA device functions."""

from functools import cache
from types import FunctionType

from fastmlp.kernels import rules
from fastmlp.kernels.numba import random as numba_random
from fastmlp.kernels.rules import elementary

from .composition import device
from .elementary import ELEMENTARY


def _compiled(functions, supplied):
    """{name: device function}. Each sees those before it, and ``supplied``, in place of the globals of its module."""
    compiled = {}
    for function in functions:
        namespace = {**function.__globals__, **supplied, **compiled}
        copy = FunctionType(function.__code__, namespace, function.__name__)
        compiled[function.__name__] = device(copy)
    return compiled


@cache
def rules_for(dtype):
    """{name of a rule: device function} for one dtype."""
    return _compiled([*elementary.POLYNOMIALS, *rules.RULES], ELEMENTARY[str(dtype)])


def device_rule(rule, dtype):
    """The device function of a built-in or custom rule; the result of a custom one is converted to ``dtype``."""
    if rule in rules.RULES:
        return rules_for(dtype)[rule.__name__]
    T, given = dtype.type, device(getattr(rule, "py_func", rule))
    return device(lambda *numbers: T(given(*numbers)))


RANDOM = _compiled(numba_random.BY_PLACE, {})
