"""The rules of the package rules compiled for the device: the same lines, with the elementary functions of CUDA below
them."""

from functools import cache
from types import FunctionType

from numba import cuda

from fastmlp.kernels import rules
from fastmlp.kernels.numba import random as numba_random
from fastmlp.kernels.rules import elementary

from .elementary import ELEMENTARY


def device(function):
    """A function that only other device functions and kernels call."""
    return cuda.jit(device=True)(function)


def _compiled(functions, supplied):
    """{name: device function}, each with those before it, and ``supplied``, in the place of what its module holds."""
    compiled = {}
    for function in functions:
        namespace = {**function.__globals__, **supplied, **compiled}
        copy = FunctionType(function.__code__, namespace, function.__name__)
        compiled[function.__name__] = device(copy)
    return compiled


@cache
def rules_for(dtype):
    """{name of a rule: device function} for numbers of one dtype."""
    return _compiled([*elementary.POLYNOMIALS, *rules.RULES], ELEMENTARY[str(dtype)])


def device_rule(rule, dtype):
    """The device function of a rule of the tables, or of a user's, which may give a number of any kind."""
    if rule in rules.RULES:
        return rules_for(dtype)[rule.__name__]
    T, given = dtype.type, device(getattr(rule, "py_func", rule))
    return device(lambda *numbers: T(given(*numbers)))


RANDOM = _compiled(numba_random.BY_PLACE, {})
