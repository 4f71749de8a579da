"""Rows that are on a GPU already: arrays of CuPy, torch, JAX and Numba, by the protocols that these share.

With backend 'cuda' they stay where they are, and are not copied. Any other backend gets a copy on the host.
"""

import numpy as np

from . import registry

CUDA = 2  # the number of NVIDIA's devices in DLPack


def is_on_gpu(X):
    """Whether X says that it lies in a GPU's memory."""
    where = getattr(X, "__dlpack_device__", None)  # which torch gives also where X wants gradients
    if where is not None and not isinstance(X, np.ndarray) and where()[0] == CUDA:
        return True
    return hasattr(X, "__cuda_array_interface__")


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
    """Numba's view of an array on the GPU, which is complete: whoever makes it may use streams of its own."""
    from numba import cuda

    if registry.why_not("cuda") is not None:
        raise ValueError(f"{type(X).__name__} lies on a GPU, which cannot be used: {registry.why_not('cuda')}.")
    cuda.synchronize()
    X = X.detach() if hasattr(X, "detach") else X  # torch hands out no view of what wants gradients
    try:
        X = cuda.as_cuda_array(X if hasattr(X, "__cuda_array_interface__") else _Interface(X))
    except Exception as error:
        what = f"{type(X).__name__} says that it lies on a GPU, but cannot be read"
        raise ValueError(f"{what}: {type(error).__name__}: {error}") from error
    check_is_here(X)
    return X


def check_is_here(X):
    """ValueError if Numba's array X lies on another GPU than the one that models use."""
    from cuda.bindings import driver
    from numba import cuda

    from fastmlp.kernels.cuda.devices import checked

    ordinal = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    there = checked(driver.cuPointerGetAttribute(ordinal, X.device_ctypes_pointer.value))
    here = cuda.get_current_device().id
    if there != here:
        raise ValueError(f"X lies on GPU {there}, and models use GPU {here}: move it there, or to the host.")


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
