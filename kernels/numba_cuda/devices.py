"""The GPU that kernels run on: what it must be, what it has, and one clear error for whatever befalls it."""

from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from numba import cuda

LEAST_CAPABILITY = (7, 5)
INSTALL = "pip install 'fastmlp[cuda]'"


class Device(NamedTuple):
    """A GPU's name, compute capability, number of multiprocessors, and bytes of shared memory a block may have."""

    name: str
    capability: tuple[int, int]
    processors: int
    shared_bytes: int


@cache
def current():
    """The Device in use.

    Raises
    ------
    ImportError
        If there is none that works; the message says what is missing and how to get it.
    """
    if find_spec("numba_cuda") is None:
        raise ImportError(f"the package numba-cuda is not installed: {INSTALL}")
    if not cuda.is_available():
        why = cuda.cuda_error() or "none is visible"
        raise ImportError(f"no NVIDIA GPU with a driver for CUDA 13 was found: {why}")
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    if device.compute_capability < LEAST_CAPABILITY:
        found, least = (".".join(map(str, pair)) for pair in (device.compute_capability, LEAST_CAPABILITY))
        raise ImportError(f"{name} has compute capability {found}, but {least} or newer is needed")
    return Device(
        name, tuple(device.compute_capability), device.MULTIPROCESSOR_COUNT,
        device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
    )  # fmt: skip


def free_bytes():
    """Memory of the device that nobody uses."""
    return cuda.current_context().get_memory_info().free


@contextmanager
def guarded():
    yield
