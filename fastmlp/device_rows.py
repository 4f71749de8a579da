"""Rows that are on a GPU already: arrays of CuPy, torch, JAX and Numba, by the protocols that these share.

With backend 'cuda' they stay where they are, and are not copied. Any other backend gets a copy on the host.
"""

import numpy as np

CUDA = 2  # the number of NVIDIA's devices in DLPack


def is_on_gpu(X):
    """Whether X says that it lies in a GPU's memory."""
    if hasattr(X, "__cuda_array_interface__"):
        return True
    where = getattr(X, "__dlpack_device__", None)
    return where is not None and not isinstance(X, np.ndarray) and where()[0] == CUDA


class _Interface:
    """What DLPack says of an array, in the words of the other protocol; ``owner`` keeps its memory."""

    def __init__(self, owner):
        from cuda.core.utils import StridedMemoryView

        view = StridedMemoryView.from_dlpack(owner, -1)
        strides = None if view.strides is None else tuple(n * view.dtype.itemsize for n in view.strides)
        self.owner = view
        self.__cuda_array_interface__ = {
            "shape": tuple(view.shape), "strides": strides, "typestr": view.dtype.str,
            "data": (view.ptr, view.readonly), "version": 3,
        }  # fmt: skip


def view_of(X):
    """Numba's view of an array on the GPU."""
    from numba import cuda

    X = X.detach() if hasattr(X, "detach") else X  # torch hands out no view of what wants gradients
    return cuda.as_cuda_array(X if hasattr(X, "__cuda_array_interface__") else _Interface(X))


def to_host(X):
    """A NumPy array of what is on the GPU; anything else as it is."""
    return view_of(X).copy_to_host() if is_on_gpu(X) else X


def check_device_rows(X, dtype, all_finite):
    """A view of rows for backend 'cuda': 2-D, C-contiguous, finite and of the model's dtype, or a ValueError."""
    X = view_of(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X on the GPU must have two dimensions, neither of them empty; its shape is {X.shape}.")
    if X.dtype != dtype:
        raise ValueError(
            f"X on the GPU is {X.dtype}, the model {dtype}: cast it there, for instance X.astype('{dtype}')."
        )
    if not X.is_c_contiguous():
        raise ValueError(
            "X on the GPU must be C-contiguous: make it so there, for instance with cupy.ascontiguousarray."
        )
    if not all_finite(X):
        raise ValueError("X on the GPU contains NaN or infinity.")
    return X
