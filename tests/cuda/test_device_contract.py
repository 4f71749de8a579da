"""Backend cuda keeps the promises that kernels/test_contract.py asks of the others."""

import pytest
from test_contract import (  # noqa: F401
    test_a_batch_without_weight_makes_no_step,
    test_an_epoch_in_chunks_gives_the_same_bits,
    test_an_epoch_is_its_steps,
    test_forward_and_gradient_leave_their_arguments_alone,
    test_outputs_only_for_finite_rows,
    test_read_only_data_can_be_learned_from,
    test_zero_weight_equals_an_absent_row,
)

from fastmlp.kernels.cuda import contract


@pytest.fixture
def kernels():
    return contract
