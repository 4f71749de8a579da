"""Checks of arrays that go to the kernels as they are: layout, dtype and shape, but not their values."""

import numpy as np
from scipy.sparse import issparse

from fastmlp.validation.arrays import CSR, is_valid_csr

SPARSE_WITH_INPUTS = "sparse X is not available with inputs and input_scale: pass X.toarray()."


def check_array(name, array, dtype, shape):
    """Raise ValueError unless the argument is a C-contiguous array; n_samples in ``shape`` stands for any number."""
    good = (
        type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous and array.ndim == len(shape)
        and array.shape[1:] == shape[1:] and shape[0] in ("n_samples", len(array))
    )  # fmt: skip
    if not good:
        wanted = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        raise ValueError(f"{name} must be a C-contiguous {dtype} array of shape {wanted}, got {described(array)}.")


def check_rows(X, dtype, network, n_samples="n_samples"):
    """Raise ValueError unless X is a C-contiguous array or a valid CSR matrix of rows for a network.

    Kernels read a CSR matrix by its indices, so these must be valid.
    """
    n_columns = network.n_columns
    if not issparse(X):
        check_array("X", X, dtype, (n_samples, n_columns))
        return
    if network.inputs is not None:
        raise ValueError(SPARSE_WITH_INPUTS)
    if X.format != "csr":
        raise ValueError(f"X must be an array or a CSR matrix, got {type(X).__name__}: use X.tocsr().")
    good = type(X) in CSR and X.dtype == dtype and X.shape[1:] == (n_columns,)
    if not good or n_samples not in ("n_samples", X.shape[0]):
        raise ValueError(
            f"X must be a {dtype} csr_array or csr_matrix of shape ({n_samples}, {n_columns}), or an array, got "
            f"{X.dtype} {type(X).__name__} of shape {X.shape}."
        )
    if not is_valid_csr(X):
        raise ValueError(
            f"X is an invalid CSR matrix: indptr and indices must be int32 or int64 arrays, indptr must start at 0, "
            f"not decrease, and end within data and indices, and indices must be from 0 to {n_columns - 1}."
        )


def described(given):
    """What an argument is, for an error message."""
    if not isinstance(given, np.ndarray):
        return type(given).__name__
    layout = "" if given.flags.c_contiguous else "non-contiguous "
    return f"{layout}{given.dtype} of shape {given.shape}"
