"""Errors raised when the GPU fails or runs out of memory, in a module that can be imported without a GPU."""


class DeviceError(RuntimeError):
    """The GPU failed. The weights on the host are unchanged."""


class OutOfDeviceMemory(DeviceError):
    """The GPU ran out of memory."""
