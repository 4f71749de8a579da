"""What a GPU that fails, or is full, raises: for those who want to know of it without importing the backend."""


class DeviceError(RuntimeError):
    """The GPU failed; the host's weights are as they were."""


class OutOfDeviceMemory(DeviceError):
    """There was too little memory on the GPU."""
