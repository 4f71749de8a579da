"""Backend cuda passes the contract tests of the other backends (tests/kernels/test_contract.py)."""

import inspect

import numpy as np
import pytest
from test_contract import (  # noqa: F401
    test_a_batch_with_zero_weights_makes_no_step,
    test_an_epoch_in_chunks_gives_the_same_bits,
    test_an_epoch_is_its_steps,
    test_forward_and_gradient_do_not_modify_their_arguments,
    test_outputs_only_for_finite_rows,
    test_read_only_data,
    test_zero_weight_equals_omitting_the_sample,
)

from fastmlp.backends import registry
from fastmlp.kernels import CONTRACT, PRIMITIVES
from fastmlp.kernels.cuda import contract, devices
from fastmlp.kernels.reference import contract as reference
from fastmlp.kernels.spec import Penalty, optimizer
from problems import Problem


@pytest.fixture
def kernels():
    return contract


@pytest.mark.parametrize("function", [*CONTRACT, *PRIMITIVES])
def test_signatures_are_those_of_the_reference(function):
    assert inspect.signature(getattr(contract, function)) == inspect.signature(getattr(reference, function))


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_outputs_is_the_data_loss_of_loss_and_gradient(weighted):
    """With host arrays and with device arrays."""
    problem = Problem()
    arrays = problem.X, problem.y, problem.weight if weighted else None
    expected = contract.loss_and_gradient(problem.network, problem.parameters, *arrays, Penalty(alpha=0.3))[0]
    for X, *given in (arrays, contract.hold(*arrays)):
        outputs = contract.forward(problem.network, problem.parameters, X)
        np.testing.assert_allclose(contract.loss_of_outputs(problem.network, outputs, *given), expected, rtol=1e-12)


def test_passes_jacobians_and_given_gradients_are_refused_with_a_remedy():
    problem = Problem()
    for prepare in (
        lambda: contract.prepare_gradient(problem.network, "float32", 8),
        lambda: contract.output_jacobian(problem.network, problem.parameters, problem.X, None),
        lambda: contract.prepare_part(problem.network, problem.parameters, problem.parameters.copy(), 8),
        lambda: contract.prepare_update(problem.network, optimizer("sgd"), problem.parameters, np.zeros((0, 1))),
    ):
        with pytest.raises(ValueError, match="set the backend of the model to 'cython' or 'numba'"):
            prepare()


def test_fields_describe_the_backend():
    assert contract.DEVICE == devices.current().name
    assert registry.runs_on_gpu("cuda")
    assert not registry.runs_on_gpu("auto")
    assert contract.PRECISIONS == ("highest", "medium")
    assert not contract.USES_BLAS
    steps = contract.describe(Problem().network, optimizer("sgd"), np.dtype("float32"), 8)
    assert steps.startswith("one block of")
