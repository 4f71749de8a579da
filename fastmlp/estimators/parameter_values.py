"""The values of an estimator's parameters, with a cache of those that are known to be valid."""

from functools import cache, lru_cache
from numbers import Number
from operator import attrgetter

import numpy as np

from fastmlp.model.losses import Loss
from fastmlp.model.optimizers import Optimizer
from fastmlp.training.schedules import Schedule
from fastmlp.validation.sklearn_compat import validate_parameter_constraints

# The position of a RandomState is not a parameter.
IMMUTABLE = Number, str, np.bool_, type(None), np.random.RandomState, Optimizer, Loss, Schedule


@cache
def _getter(cls):
    return attrgetter(*cls._parameter_constraints)


def values_of(estimator):
    """The values of all parameters that are validated, in the order of ``_parameter_constraints``."""
    return _getter(type(estimator))(estimator)


def is_immutable(value):
    """Whether a value cannot be modified in place."""
    return all(map(is_immutable, value)) if isinstance(value, tuple) else isinstance(value, IMMUTABLE)


def are_valid(estimator):
    """Whether the parameters are valid, from a cache of recent values. False: unknown, validate them."""
    try:
        values = values_of(estimator)
        return is_immutable(values) and _are_valid(type(estimator), values, _kinds(values))
    except (AttributeError, TypeError):  # a subclass without one of the parameters, or a value without a hash
        return False


@lru_cache(maxsize=256)
def _are_valid(cls, values, kinds):
    try:
        validate_parameter_constraints(cls._parameter_constraints, dict(zip(cls._parameter_constraints, values)), "")
    except ValueError:
        return False
    return True


def _kinds(value):
    """The types of a value and of its elements: 1, 1.0 and True are equal, but not all may be valid."""
    return tuple(map(_kinds, value)) if isinstance(value, tuple) else type(value)
