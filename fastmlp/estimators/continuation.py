"""Repeated ``partial_fit`` with unchanged parameters, without validating them again.

The first call stores what it worked out in a Continuation. A later call with the same parameters and arrays of the same
kind uses it; any other call goes through the full validation.
"""

from numbers import Integral
from operator import is_
from typing import NamedTuple

import numpy as np

from fastmlp.backends import registry
from fastmlp.model.precision import HIGHEST
from fastmlp.training.problem import Problem, Samples
from fastmlp.validation.arrays import CSR, plain_rows
from fastmlp.validation.checks import check_seed

from . import samples as samples_of
from .architecture import Plan
from .parameter_values import is_immutable, values_of


class Continuation(NamedTuple):
    """The values of the parameters of a call of ``partial_fit``, and what it worked out from them."""

    values: tuple
    plan: Plan
    problem: Problem


def keep(estimator, plan, problem):
    """Store what a call has worked out, unless a parameter could be modified in place."""
    values = values_of(estimator)
    kept = Continuation(values, plan, problem) if is_immutable(values) else None
    estimator._net.continuation = kept


def continued(estimator, X, y, sample_weight, classes):
    """What ``prepared`` returns, for a call of ``partial_fit`` like the last one; None if it must be validated."""
    net = estimator._net
    kept = None if net is None else net.continuation
    if kept is None or sample_weight is not None or net.training is None or estimator.communicator is not None:
        return None
    dtype = net.parameters.dtype
    if not all(map(is_, values_of(estimator), kept.values)):
        return None
    is_plain = type(X) is np.ndarray or (type(X) in CSR and net.scaling is None)
    if not is_plain or "feature_names_in_" in vars(estimator):
        return None
    if X.dtype != dtype and estimator.dtype is None and net.network.matmul_precision == HIGHEST:
        return None
    X = plain_rows(X, dtype if net.scaling is None else X.dtype)
    sizes = net.network.sizes
    if X is None or not X.shape[1] == sizes[0] == estimator.n_features_in_ or np.shape(y)[:1] != X.shape[:1]:
        return None
    targets = estimator._plain_targets(y, classes, dtype)
    if targets is None or targets.shape[1] != sizes[-1]:
        return None
    net.make_writable()
    if isinstance(estimator.random_state, Integral):  # a new generator of this seed, but making one takes long
        estimator._random_state.seed(estimator.random_state)
    else:
        estimator._random_state = check_seed(estimator.random_state)
    if estimator.backend != "auto":  # reset the reason, to which the fit adds the kernels in use
        estimator.backend_, _, estimator.backend_reason_ = registry.choose(estimator.backend)
    samples = Samples(X, targets)
    if targets.dtype != dtype:
        samples = samples_of.in_dtype(estimator, samples)
    if net.scaling is not None or net.target_scaling is not None:
        samples = samples_of.as_network_sees(estimator, samples)
    return kept.plan, kept.problem, samples, None
