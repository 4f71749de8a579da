"""Starting kernels: by Numba, or, in a fifth of its time, by the driver for arguments of types that are known."""

import ctypes
import threading

from numba import config
from numba.cuda import types

from . import devices

_quiet = threading.Lock()


def launch(kernel, blocks, threads, stream, shared_bytes, *arguments):
    """One launch; a kernel that waits for its grid is started as a cooperative one by Numba itself."""
    with _quiet:  # one block may be the best grid
        warns, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:
            configured = kernel[blocks, threads, stream, shared_bytes]
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = warns
    configured(*arguments)


def flattened(arguments):
    """The words of device arrays and numbers as Numba's kernels take them."""
    for argument in arguments:
        if hasattr(argument, "device_ctypes_pointer"):
            address = argument.device_ctypes_pointer.value
            yield from (0, 0, argument.size, argument.dtype.itemsize, address, *argument.shape, *argument.strides)
        else:
            yield argument


def direct_launch(kernel, arguments, blocks, threads, shared_bytes):
    """start(stream, *arguments): launches of a kernel, for C-contiguous arrays and numbers of these types."""
    from cuda.bindings import driver

    compiled = devices.compiled_for(kernel, arguments)
    function = driver.CUfunction(int(compiled._codelibrary.get_cufunc().handle))
    words = []
    for kind in compiled.argument_types:
        n_words = 5 + 2 * kind.ndim if isinstance(kind, types.Array) else 1
        words += [ctypes.c_double if kind == types.float64 else ctypes.c_int64] * n_words
    words, shape = tuple(words), (blocks, 1, 1, threads, 1, 1, shared_bytes)
    begin, after = (driver.cuLaunchCooperativeKernel, ()) if compiled.cooperative else (driver.cuLaunchKernel, (0,))

    def start(stream, *given):
        devices.checked(begin(function, *shape, driver.CUstream(int(stream)), (tuple(flattened(given)), words), *after))

    return start


class Prepared:
    """A kernel, with leave to use its shared memory, and blocks that fit on the device together if it waits for all."""

    def __init__(self, kernel, threads, shared_bytes, blocks, together):
        self.kernel, self.threads, self.shared_bytes, self.blocks = kernel, threads, shared_bytes, blocks
        self._together, self._starts = together, {}

    def __call__(self, stream, *arguments):
        kinds = tuple(getattr(argument, "dtype", None) for argument in arguments)
        if kinds not in self._starts:
            self._starts[kinds] = self._made_ready(arguments)
        self._starts[kinds](stream, *arguments)

    def _made_ready(self, arguments):
        if self.shared_bytes > devices.USUAL_SHARED_BYTES:
            devices.allow_shared(self.kernel, arguments, self.shared_bytes)
        if self._together:
            most = devices.most_blocks(self.kernel, arguments, self.threads, self.shared_bytes)
            if self.blocks > most:
                raise devices.DeviceError(f"{self.blocks} blocks must run at once, but only {most} can.")
        return direct_launch(self.kernel, arguments, self.blocks, self.threads, self.shared_bytes)
