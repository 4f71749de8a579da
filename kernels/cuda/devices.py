"""The GPU that kernels run on: what it must be, what it has, and one clear error for whatever befalls it."""

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import NamedTuple

from numba import cuda

from fastmlp.kernels.device_errors import DeviceError, OutOfDeviceMemory

LEAST_CAPABILITY = (7, 5)
LEAST_DRIVER = (13, 0)
USUAL_SHARED_BYTES = 48 * 1024  # of a block; for more a kernel needs leave
_for_good = ExitStack()  # what lasts to the end of the process


class Device(NamedTuple):
    """A GPU's name, compute capability, number of multiprocessors, and bytes of shared memory a block may have."""

    name: str
    capability: tuple[int, int]
    processors: int
    shared_bytes: int


def _dotted(pair):
    return ".".join(map(str, pair))


@cache
def current():
    """The Device in use.

    Raises
    ------
    ImportError
        If there is none that works; the message says what is missing and how to get it.
    """
    if not cuda.is_available():
        why = " ".join((cuda.cuda_error() or "none is visible").split()).rstrip(".")
        raise ImportError(f"no NVIDIA GPU was found ({why}); it needs one, with a driver for CUDA {LEAST_DRIVER[0]}")
    from numba.cuda.cudadrv.driver import driver

    if driver.get_version() < LEAST_DRIVER:
        raise ImportError(
            f"the NVIDIA driver is for CUDA {_dotted(driver.get_version())}, too old: it needs one for CUDA "
            f"{_dotted(LEAST_DRIVER)} or newer (version 580 or newer)"
        )
    try:
        device = cuda.get_current_device()
        cuda.current_context()
    except Exception as error:
        raise ImportError(
            f"the NVIDIA GPU cannot be used: {_first_line(error)}. nvidia-smi shows who holds it"
        ) from error
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    if device.compute_capability < LEAST_CAPABILITY:
        raise ImportError(
            f"{name} has compute capability {_dotted(device.compute_capability)}: it needs "
            f"{_dotted(LEAST_CAPABILITY)} or newer"
        )
    return Device(
        name, tuple(device.compute_capability), device.MULTIPROCESSOR_COUNT,
        device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
    )  # fmt: skip


def free_bytes():
    """Memory of the device that nobody uses."""
    context = cuda.current_context()
    context.deallocations.clear()
    return context.get_memory_info().free


def compiled_for(kernel, arguments):
    """The kernel compiled and loaded for arguments of these types."""
    return kernel.compile(tuple(kernel.typeof_pyval(argument) for argument in arguments))


def allow_shared(kernel, arguments, n_bytes):
    """Let a kernel have more shared memory than is usual."""
    from cuda.bindings import driver

    function = compiled_for(kernel, arguments)._codelibrary.get_cufunc()
    most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    checked(driver.cuKernelSetAttribute(most, n_bytes, function.handle, cuda.get_current_device().id))


def most_blocks(kernel, arguments, threads, shared_bytes):
    """How many blocks can wait for each other."""
    return compiled_for(kernel, arguments).max_cooperative_grid_blocks(threads, shared_bytes)


def _first_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _failure(reason):
    """The error for what the driver said."""
    if "OUT_OF_MEMORY" in reason:
        return OutOfDeviceMemory(
            "the GPU has not enough free memory for this. Take a smaller batch_size or a narrower network, end "
            "what else uses the GPU (nvidia-smi shows it), or take another backend."
        )
    return DeviceError(
        f"the GPU failed: {reason}. The weights so far are kept: save the model. A new process can use the GPU again; "
        "in this one take another backend."
    )


def checked(returned):
    """What a function of cuda.bindings gave, of which the first is a status."""
    status, *found = returned
    if status:
        raise _failure(status.name)
    return found[0] if found else None


def _leave_if_lost():
    """After an error that stays, nothing can be given back, and Numba is not to try: it would say so each time."""
    try:
        cuda.synchronize()
    except Exception:
        _for_good.enter_context(cuda.defer_cleanup())


@contextmanager
def guarded():
    """What happens inside has the device, in any thread; errors of the driver, of which there are two families, come
    out as one DeviceError that says what to do."""
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.error import CudaDriverError

    try:
        cuda.current_context()  # makes it this thread's
        yield
    except (CudaDriverError, CUDAError, DeviceError) as error:
        failure = error if isinstance(error, DeviceError) else _failure(_first_line(error))
        if not isinstance(failure, OutOfDeviceMemory):
            _leave_if_lost()
        raise failure from error
