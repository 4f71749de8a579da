"""CUDA graphs: a sequence of launches captured once and replayed without Python between them."""

import sys

from numba import cuda

from . import devices


class Graph:
    """The launches made by ``queue(stream)``.

    All kernels must have been launched before, because a capture cannot load a kernel.
    """

    def __init__(self, queue):
        from cuda.bindings import driver

        self._driver, self._executable = driver, None
        # A non-blocking stream, so that other threads can use the default stream during the capture.
        handle = devices.checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        try:
            graph = self._captured(handle, queue)
        finally:
            driver.cuStreamDestroy(handle)
        try:
            self._executable = devices.checked(driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)

    @staticmethod
    def _captured(handle, queue):
        from cuda.bindings import driver

        # In relaxed mode, memory that Python frees meanwhile does not invalidate the capture.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        with cuda.defer_cleanup():
            devices.checked(driver.cuStreamBeginCapture(handle, mode))
            try:
                queue(cuda.external_stream(int(handle)))
            except BaseException:
                _, graph = driver.cuStreamEndCapture(handle)
                driver.cuGraphDestroy(graph)
                raise
            return devices.checked(driver.cuStreamEndCapture(handle))

    def __call__(self, stream):
        devices.checked(self._driver.cuGraphLaunch(self._executable, self._driver.CUstream(int(stream))))

    def __del__(self):
        if getattr(self, "_executable", None) is not None and not sys.is_finalizing():
            self._driver.cuGraphExecDestroy(self._executable)
