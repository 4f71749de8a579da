"""Numbers that go to the device and back in every call, with as few requests to the driver as can be.

Memory on both sides is kept from call to call. Numba's own copies cost 50 us each in Python, these 3.
"""

import numpy as np
from numba import cuda
from numba.cuda.cudadrv.driver import device_to_host, host_to_device

ALIGNMENT = 256  # bytes, of each array


class Parcel:
    """Arrays that travel together: ``here[name]`` in page-locked memory, ``there[name]`` on the device.

    ``sizes`` is {name: (size, dtype)}, in the order of their places; kernels want at least one number of each.
    """

    def __init__(self, sizes):
        self._places, end = {}, 0
        for name, (size, dtype) in sizes.items():
            self._places[name] = end, end + max(size, 1) * np.dtype(dtype).itemsize
            end += -(-(self._places[name][1] - end) // ALIGNMENT) * ALIGNMENT
        self._here, self._there = cuda.pinned_array(end, np.uint8), cuda.device_array(end, np.uint8)
        self.here, self.there = (
            {name: memory[slice(*self._places[name])].view(dtype) for name, (_, dtype) in sizes.items()}
            for memory in (self._here, self._there)
        )
        self._parts = {}

    def _part(self, first, last):
        """(here, there): all from one array to another."""
        if (first, last) not in self._parts:
            begin, end = self._places[first][0], self._places[last][1]
            self._parts[first, last] = self._here[begin:end], self._there[begin:end]
        return self._parts[first, last]

    def send(self, first, last, stream):
        """Queue the copy to the device of all from one array to another; until it is done they must not change."""
        here, there = self._part(first, last)
        host_to_device(there, here, here.nbytes, stream)

    def fetch(self, first, last, stream):
        """Queue the copy to the host."""
        here, there = self._part(first, last)
        device_to_host(here, there, here.nbytes, stream)


class Room:
    """Device memory for as many numbers of a dtype as were ever asked for."""

    def __init__(self, dtype):
        self.array = cuda.device_array(1, dtype)
        self._view = self.array

    def of(self, size):
        """An array of that many numbers at least."""
        if size > self.array.size:
            self.array = cuda.device_array(size, self.array.dtype)
        return self.array

    def copy_of(self, array, stream):
        """A copy of a flat array of the host's, as large as that; until it is made the array must not change."""
        if self._view.size != array.size:
            self._view = self.of(array.size)[: array.size]
        host_to_device(self._view, array, array.nbytes, stream)
        return self._view
