"""CUDA device discovery, requirements and errors."""

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import NamedTuple

from numba import cuda

from fastmlp.kernels.device_errors import DeviceError, OutOfDeviceMemory

MIN_CAPABILITY = (7, 5)
MIN_DRIVER = (13, 0)
DEFAULT_SHARED_BYTES = 48 * 1024  # per block; kernels must opt in to more
_until_exit = ExitStack()  # contexts that stay open until the process ends


class Device(NamedTuple):
    """A GPU: name, compute capability, number of multiprocessors, and maximal bytes of shared memory per block."""

    name: str
    capability: tuple[int, int]
    processors: int
    shared_bytes: int


def _version(pair):
    return ".".join(map(str, pair))


@cache
def current():
    """Return the Device in use.

    Raises
    ------
    ImportError
        If there is no usable GPU; the message says what is missing and how to get it.
    """
    if not cuda.is_available():
        why = " ".join((cuda.cuda_error() or "none is visible").split()).rstrip(".")
        raise ImportError(f"no NVIDIA GPU was found ({why}); a GPU and a driver for CUDA {MIN_DRIVER[0]} are required")
    from numba.cuda.cudadrv.driver import driver

    if driver.get_version() < MIN_DRIVER:
        raise ImportError(
            f"the NVIDIA driver supports CUDA {_version(driver.get_version())}, but CUDA {_version(MIN_DRIVER)} is "
            "required: install driver 580 or newer"
        )
    try:
        device = cuda.get_current_device()
        cuda.current_context()
    except Exception as error:
        raise ImportError(
            f"the NVIDIA GPU cannot be used: {_first_line(error)}. nvidia-smi shows which processes use it"
        ) from error
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    if device.compute_capability < MIN_CAPABILITY:
        raise ImportError(
            f"{name} has compute capability {_version(device.compute_capability)}, but {_version(MIN_CAPABILITY)} or "
            "newer is required"
        )
    return Device(
        name, tuple(device.compute_capability), device.MULTIPROCESSOR_COUNT,
        device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
    )  # fmt: skip


def free_bytes():
    """Free memory of the device, after pending deallocations."""
    context = cuda.current_context()
    context.deallocations.clear()
    return context.get_memory_info().free


def compiled_for(kernel, arguments):
    """Compile a kernel for the types of these arguments and load it."""
    return kernel.compile(tuple(kernel.typeof_pyval(argument) for argument in arguments))


def allow_shared_memory(kernel, arguments, n_bytes):
    """Let a kernel use more than DEFAULT_SHARED_BYTES of shared memory."""
    from cuda.bindings import driver

    function = compiled_for(kernel, arguments)._codelibrary.get_cufunc()
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    checked(driver.cuKernelSetAttribute(attribute, n_bytes, function.handle, cuda.get_current_device().id))


def max_resident_blocks(kernel, arguments, threads, shared_bytes):
    """The largest grid of a cooperative launch."""
    return compiled_for(kernel, arguments).max_cooperative_grid_blocks(threads, shared_bytes)


def _first_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _device_error(reason):
    """Make the exception for an error reported by the driver."""
    if "OUT_OF_MEMORY" in reason:
        return OutOfDeviceMemory(
            "the GPU is out of memory. Use a smaller batch_size or a narrower network, end other programs that use "
            "the GPU (nvidia-smi lists them), or use another backend."
        )
    return DeviceError(
        f"the GPU failed: {reason}. The weights from before the failed call are kept: save the model. "
        "Continue with another backend, or use the GPU again in a new process."
    )


def checked(returned):
    """Return the result of a function of cuda.bindings, whose first value is a status, or raise DeviceError."""
    status, *results = returned
    if status:
        raise _device_error(status.name)
    return results[0] if results else None


def _stop_cleanup_if_lost():
    """After an error that persists, stop Numba from freeing memory: every attempt would fail and print an error."""
    try:
        cuda.synchronize()
    except Exception:
        _until_exit.enter_context(cuda.defer_cleanup())


@contextmanager
def driver_errors():
    """Bind the device to this thread, and convert the errors of Numba and of cuda.core to DeviceError."""
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.error import CudaDriverError

    try:
        cuda.current_context()
        yield
    except (CudaDriverError, CUDAError, DeviceError) as error:
        converted = error if isinstance(error, DeviceError) else _device_error(_first_line(error))
        if not isinstance(converted, OutOfDeviceMemory):
            _stop_cleanup_if_lost()
        raise converted from error
