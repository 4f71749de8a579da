"""Check the precision of matrix products, ``matmul_precision``, and what it can be combined with."""

import numpy as np

from fastmlp.kernels.device_errors import NO_HIGH
from fastmlp.kernels.spec import PRECISIONS
from fastmlp.training.full_batch import is_full_batch
from fastmlp.typing import MatmulPrecision

HIGHEST: MatmulPrecision = "highest"


def check_precision(given):
    """Return the name of a precision, or raise ValueError if there is no such precision."""
    if not isinstance(given, str) or given not in PRECISIONS:
        raise ValueError(f"matmul_precision must be 'highest', 'high' or 'medium', got {given!r}.")
    return given


def check_precision_of_dtype(precision, dtype):
    """Raise ValueError unless networks in this dtype support this precision."""
    if precision != HIGHEST and dtype != np.float32:
        raise ValueError(
            f"matmul_precision {precision!r} requires float32, got dtype '{dtype}': use dtype='float32' or "
            "matmul_precision='highest'."
        )


def check_precision_of_optimizer(precision, optimizer, called):
    """Raise ValueError for optimizers that compute in float64. ``called``: the name of the parameter in messages."""
    if precision != HIGHEST and is_full_batch(optimizer):
        raise ValueError(
            f"{called} {optimizer!r} computes in float64 and does not support matmul_precision {precision!r}: use "
            f"matmul_precision='highest', or another {called}, such as 'adam'."
        )


def check_precision_of_backend(precision, kernels):
    """Raise ValueError unless a backend supports this precision: 'high' is not available with 'cuda'."""
    if precision not in kernels.PRECISIONS:
        raise ValueError(NO_HIGH)
