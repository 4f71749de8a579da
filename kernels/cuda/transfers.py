"""Host-device copies that are made in every call, with as few driver calls as possible.

Buffers on both sides are kept from call to call. A copy by Numba takes 50 us in Python, one of these 3 us.
"""

import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import device_to_host, host_to_device

ALIGNMENT = 256  # bytes, of each array


class TransferBuffer:
    """Arrays in one buffer, copied together: ``host[name]`` in page-locked memory, ``device[name]`` on the device.

    ``sizes`` is {name: (size, dtype)}, in the order in memory. Each has at least one element, which kernels need.
    """

    def __init__(self, sizes):
        self._offsets, end = {}, 0
        for name, (size, dtype) in sizes.items():
            self._offsets[name] = end, end + max(size, 1) * np.dtype(dtype).itemsize
            end += -(-(self._offsets[name][1] - end) // ALIGNMENT) * ALIGNMENT
        self._host, self._device = cuda.pinned_array(end, np.uint8), cuda.device_array(end, np.uint8)
        self.host, self.device = (
            {name: memory[slice(*self._offsets[name])].view(dtype) for name, (_, dtype) in sizes.items()}
            for memory in (self._host, self._device)
        )
        self._ranges = {}

    def _range(self, first, last):
        """(host, device) memory from the array ``first`` to the array ``last``, inclusive."""
        if (first, last) not in self._ranges:
            begin, end = self._offsets[first][0], self._offsets[last][1]
            self._ranges[first, last] = self._host[begin:end], self._device[begin:end]
        return self._ranges[first, last]

    def send(self, first, last, stream):
        """Queue a copy to the device, from one array to another. Do not change the host side until it is done."""
        host, device = self._range(first, last)
        host_to_device(device, host, host.nbytes, stream)

    def fetch(self, first, last, stream):
        """Queue a copy to the host, from one array to another."""
        host, device = self._range(first, last)
        device_to_host(host, device, host.nbytes, stream)


class GrowingBuffer:
    """A device array that is reallocated only when a larger one is needed."""

    def __init__(self, dtype):
        self.array = cuda.device_array(1, dtype)
        self._view = self.array

    def reserve(self, size):
        """Return an array of at least ``size`` elements."""
        if size > self.array.size:
            self.array = cuda.device_array(size, self.array.dtype)
        return self.array

    def copy_from(self, array, stream):
        """Queue a copy of a 1-D host array and return it. Do not change the host array until the copy is done."""
        if self._view.size != array.size:
            self._view = self.reserve(array.size)[: array.size]
        host_to_device(self._view, array, array.nbytes, stream)
        return self._view
