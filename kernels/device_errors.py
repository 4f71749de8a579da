"""Errors raised when the GPU fails or runs out of memory, in a module that can be imported without a GPU."""


class DeviceError(RuntimeError):
    """The GPU failed. The weights on the host are unchanged."""


BY_TARGET = (
    "the backend 'cuda' does not support weights of single targets, missing targets among several, and lists of "
    "quantiles: use backend='cython' or 'auto'."
)
NO_HIGH = "matmul_precision 'high' is not available with the backend 'cuda': use 'medium' or 'highest'."


class OutOfDeviceMemory(DeviceError):
    """The GPU ran out of memory."""
