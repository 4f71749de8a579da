"""Arrays in GPU memory: those of CuPy, PyTorch, JAX and Numba, through DLPack or ``__cuda_array_interface__``.

Backend 'cuda' uses them without a copy; for the other backends they are copied to the host.
"""

import numpy as np

from . import registry

DLPACK_CUDA = 2  # kDLCUDA, the device type of NVIDIA GPUs


def is_on_gpu(X):
    """Whether X is an array in GPU memory."""
    if isinstance(X, np.ndarray):
        return False
    device = getattr(X, "__dlpack_device__", None)  # torch provides it also for tensors that require gradients
    if device is not None and device()[0] == DLPACK_CUDA:
        return True
    return hasattr(X, "__cuda_array_interface__")


class _FromDLPack:
    """Adapter that offers a DLPack array through ``__cuda_array_interface__`` and keeps its memory alive."""

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
    """Return X as a Numba device array, without a copy.

    Waits until the GPU is idle, because the library that owns X may still be writing to it on another stream.
    """
    from numba import cuda

    reason = registry.why_not(registry.GPU)
    if reason is not None:
        raise ValueError(f"the {type(X).__name__} is on a GPU, which cannot be used: {reason}.")
    cuda.synchronize()
    X = X.detach() if hasattr(X, "detach") else X  # torch refuses to export tensors that require gradients
    try:
        X = cuda.as_cuda_array(X if hasattr(X, "__cuda_array_interface__") else _FromDLPack(X))
    except Exception as error:
        raise ValueError(
            f"the {type(X).__name__} is on a GPU but cannot be read: {type(error).__name__}: {error}"
        ) from error
    check_device(X)
    return X


def check_device(X):
    """Raise ValueError if the Numba device array X is on another GPU than the one in use."""
    from cuda.bindings import driver
    from numba import cuda

    from fastmlp.kernels.cuda.devices import checked

    ordinal = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    device_of_X = checked(driver.cuPointerGetAttribute(ordinal, X.device_ctypes_pointer.value))
    device_in_use = cuda.get_current_device().id
    if device_of_X != device_in_use:
        raise ValueError(
            f"X is on GPU {device_of_X}, but models use GPU {device_in_use}: move X there, or to the host."
        )


def to_host(X):
    """Copy an array in GPU memory to a NumPy array; return anything else unchanged."""
    return view_of(X).copy_to_host() if is_on_gpu(X) else X


def check_device_rows(X, dtype):
    """Return a view of samples for backend 'cuda', or raise ValueError.

    X must be 2-D, C-contiguous, finite and of the model's dtype.
    """
    from fastmlp.kernels.cuda.primitives import all_finite

    X = view_of(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X on the GPU must be a non-empty 2-D array, got shape {X.shape}.")
    if X.dtype != dtype:
        raise ValueError(
            f"X on the GPU is {X.dtype}, but the model is {dtype}: convert it, for example with X.astype('{dtype}')."
        )
    if not X.is_c_contiguous():
        raise ValueError("X on the GPU must be C-contiguous: convert it, for example with cupy.ascontiguousarray(X).")
    if not all_finite(X):
        raise ValueError("X on the GPU contains NaN or infinity.")
    return X
