"""Numbers near the bounds of a dtype and large numbers of steps, on every backend."""

import math
import warnings

import numpy as np
import pytest

from fastmlp.kernels.spec import Penalty
from problems import DTYPES, Problem


@pytest.mark.parametrize("penalty", [Penalty(), Penalty(activity_l1=1e-3, l1=1e-3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_penalty_that_is_0_is_not_computed(kernels, dtype, penalty):
    """The square of a large activation or weight overflows; without a penalty on it the loss is finite nevertheless."""
    problem = Problem("binary_cross_entropy", "logistic", ("relu",), (5, 7, 1), dtype=dtype)
    problem.X *= dtype_root(dtype) * 64
    args = problem.network, problem.parameters, problem.X, problem.y, problem.weight, penalty
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of NumPy: compiled backends do not warn
        *sums, gradient = kernels.loss_and_gradient(*args)
        outputs = kernels.forward(problem.network, problem.parameters, problem.X)
    assert np.isfinite(sums).all()
    assert np.isfinite(gradient).all()
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_in_a_prediction_is_silent(kernels, dtype):
    problem = Problem(hidden=("relu",), sizes=(5, 7, 1), dtype=dtype)
    X = np.full_like(problem.X, np.finfo(dtype).max)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = kernels.forward(problem.network, problem.parameters, X)
        kernels.loss_of_outputs(problem.network, outputs, problem.y)
    assert not np.isfinite(outputs).all()


def dtype_root(dtype):
    """The power of two near the root of the largest number."""
    return 2.0 ** (math.frexp(float(np.finfo(dtype).max))[1] // 2)
