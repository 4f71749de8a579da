"""Starting a kernel."""

from numba import config

from fastmlp.kernels.numba_cuda import devices


def launch(kernel, blocks, threads, stream, shared_bytes, *arguments):
    """One launch; a kernel that waits for its grid is started as a cooperative one by Numba itself."""
    warns, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0  # one block may be the best grid
    try:
        kernel[blocks, threads, stream, shared_bytes](*arguments)
    finally:
        config.CUDA_LOW_OCCUPANCY_WARNINGS = warns


class Prepared:
    """A kernel, with leave to use its shared memory, and blocks that fit on the device together if it waits for all."""

    def __init__(self, kernel, threads, shared_bytes, blocks, together):
        self.kernel, self.threads, self.shared_bytes, self.blocks = kernel, threads, shared_bytes, blocks
        self._together, self._ready = together, False

    def __call__(self, stream, *arguments):
        if not self._ready:
            if self.shared_bytes > devices.USUAL_SHARED_BYTES:
                devices.allow_shared(self.kernel, arguments, self.shared_bytes)
            if self._together:
                most = devices.most_blocks(self.kernel, arguments, self.threads, self.shared_bytes)
                if self.blocks > most:
                    raise devices.DeviceError(f"{self.blocks} blocks must run at once, but only {most} can.")
            self._ready = True
        launch(self.kernel, self.blocks, self.threads, stream, self.shared_bytes, *arguments)
