"""Kernel launches: by Numba, or directly by the driver for known argument types, which takes a fifth of the time."""

import ctypes
import threading

from numba import config
from numba.cuda import types

from . import devices

BLOCKS_PER_PROCESSOR = 8  # in grids whose threads share a loop, at most
_config_lock = threading.Lock()


def grid_size(n_items, threads):
    """The number of blocks for a loop over ``n_items`` that all threads share."""
    return max(1, min(BLOCKS_PER_PROCESSOR * devices.current().processors, -(-n_items // threads)))


def launch(kernel, blocks, threads, stream, shared_bytes, *arguments):
    """Launch a kernel by Numba, which makes the launch cooperative if the kernel synchronises its grid."""
    with _config_lock:  # a grid of one block may be the best choice: no warning about low occupancy
        warns, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            configured = kernel[blocks, threads, stream, shared_bytes]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = warns
    configured(*arguments)


def kernel_parameters(arguments):
    """Yield device arrays and scalars as the list of parameters of a kernel compiled by Numba."""
    for argument in arguments:
        if hasattr(argument, "device_ctypes_pointer"):
            address = argument.device_ctypes_pointer.value
            yield from (0, 0, argument.size, argument.dtype.itemsize, address, *argument.shape, *argument.strides)
        else:
            yield argument


def direct_launcher(kernel, arguments, blocks, threads, shared_bytes):
    """Return start(stream, *arguments), which launches a kernel for C-contiguous arrays and scalars of these types."""
    from cuda.bindings import driver

    compiled = devices.compiled_for(kernel, arguments)
    function = driver.CUfunction(int(compiled._codelibrary.get_cufunc().handle))
    ctypes_of_parameters = []
    for kind in compiled.argument_types:
        n_parameters = 5 + 2 * kind.ndim if isinstance(kind, types.Array) else 1
        ctypes_of_parameters += [ctypes.c_double if kind == types.float64 else ctypes.c_int64] * n_parameters
    ctypes_of_parameters, shape = tuple(ctypes_of_parameters), (blocks, 1, 1, threads, 1, 1, shared_bytes)
    launch, last = (driver.cuLaunchCooperativeKernel, ()) if compiled.cooperative else (driver.cuLaunchKernel, (0,))

    def start(stream, *given):
        parameters = tuple(kernel_parameters(given)), ctypes_of_parameters
        devices.checked(launch(function, *shape, driver.CUstream(int(stream)), parameters, *last))

    return start


class PreparedKernel:
    """A kernel with its launch configuration, loaded at the first call.

    ``cooperative``: all blocks must be resident on the device at once, because they wait for each other.
    """

    def __init__(self, kernel, threads, shared_bytes, blocks, cooperative):
        self.kernel, self.threads, self.shared_bytes, self.blocks = kernel, threads, shared_bytes, blocks
        self._cooperative, self._launchers = cooperative, {}

    def __call__(self, stream, *arguments):
        dtypes = tuple(getattr(argument, "dtype", None) for argument in arguments)
        if dtypes not in self._launchers:
            self._launchers[dtypes] = self._launcher(arguments)
        self._launchers[dtypes](stream, *arguments)

    def _launcher(self, arguments):
        if self.shared_bytes > devices.DEFAULT_SHARED_BYTES:
            devices.allow_shared_memory(self.kernel, arguments, self.shared_bytes)
        if self._cooperative:
            most = devices.max_resident_blocks(self.kernel, arguments, self.threads, self.shared_bytes)
            if self.blocks > most:
                raise devices.DeviceError(f"the GPU can run only {most} of the {self.blocks} blocks at once.")
        return direct_launcher(self.kernel, arguments, self.blocks, self.threads, self.shared_bytes)
