"""Work that is queued on a stream once, captured, and queued again at once: no Python between its launches."""

import sys

from numba import cuda

from . import devices


class Graph:
    """What ``queue(stream)`` queues. All of it must have run before: loading a kernel is no part of a graph."""

    def __init__(self, queue):
        from cuda.bindings import driver

        self._driver, self._replay = driver, None
        # A stream that the default one does not wait for: other threads go on using that meanwhile.
        handle = devices.checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        try:
            graph = self._captured(handle, queue)
        finally:
            driver.cuStreamDestroy(handle)
        try:
            self._replay = devices.checked(driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)

    @staticmethod
    def _captured(handle, queue):
        from cuda.bindings import driver

        # Relaxed: memory that Python gives back meanwhile must not spoil the capture.
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
        devices.checked(self._driver.cuGraphLaunch(self._replay, self._driver.CUstream(int(stream))))

    def __del__(self):
        if getattr(self, "_replay", None) is not None and not sys.is_finalizing():
            self._driver.cuGraphExecDestroy(self._replay)
