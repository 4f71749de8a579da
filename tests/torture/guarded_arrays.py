"""Arrays of NumPy whose first or last byte touches a page that may not be accessed. Linux only.

NumPy takes memory from the functions of a handler (NEP 49). Here these are Python functions that map each buffer
between two forbidden pages, and unmap it when it is freed: an access outside of a buffer, or after its end, is a
segmentation fault. New memory is filled with bytes of 255, which are NaN as floats and -1 as integers, so that a read
of what nobody wrote shows too.
"""

import contextlib
import ctypes
import mmap
import sys

import numpy as np
from numpy._core import _multiarray_umath

from fastmlp.kernels import spec

PLACES = "first", "last", "heap"  # which byte touches a forbidden page; heap: by malloc, which sanitizers watch
SET_HANDLER = 304  # place of PyDataMem_SetHandler in NumPy's table of functions
PAGE, UNWRITTEN = mmap.PAGESIZE, 0xFF

_size, _pointer = ctypes.c_size_t, ctypes.c_void_p
_MALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _size)
_CALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _size, _size)
_REALLOC = ctypes.PYFUNCTYPE(_pointer, _pointer, _pointer, _size)
_FREE = ctypes.PYFUNCTYPE(None, _pointer, _pointer, _size)
_NAME = b"mem_handler"  # of the capsules that NumPy takes

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype, _libc.mmap.argtypes = _pointer, [_pointer, _size, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [_pointer, _size, ctypes.c_int]
_libc.munmap.argtypes = [_pointer, _size]
_libc.malloc.restype, _libc.malloc.argtypes, _libc.free.argtypes = _pointer, [_size], [_pointer]


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy."""

    _fields_ = [
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", _pointer), ("malloc", _MALLOC),
        ("calloc", _CALLOC), ("realloc", _REALLOC), ("free", _FREE),
    ]  # fmt: skip


class Allocator:
    """The functions of a handler that places buffers as PLACES say."""

    def __init__(self, place):
        self._place, self._buffers = place, {}  # address: (address and size of its mapping, size)
        self._handler = _Handler(
            b"guarded", 1, None, _MALLOC(lambda _, size: self._allocate(size)), _CALLOC(self._zeros),
            _REALLOC(self._again), _FREE(self._release),
        )  # fmt: skip
        capsule = ctypes.pythonapi.PyCapsule_New
        capsule.restype, capsule.argtypes = ctypes.py_object, [_pointer, ctypes.c_char_p, _pointer]
        self.capsule = capsule(ctypes.addressof(self._handler), _NAME, None)

    def _allocate(self, size, fill=UNWRITTEN):
        if self._place == "heap":
            address = mapping = _libc.malloc(max(size, 1))
            length = 0
        else:
            length = -(-max(size, 1) // PAGE) * PAGE
            mapping = _libc.mmap(None, length + 2 * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            if mapping == ctypes.c_void_p(-1).value:
                return None  # NumPy raises MemoryError
            _libc.mprotect(mapping + PAGE, length, mmap.PROT_READ | mmap.PROT_WRITE)
            address = mapping + PAGE + (length - size if self._place == "last" else 0)
        ctypes.memset(address, fill, size)
        self._buffers[address] = mapping, length, size
        return address

    def _zeros(self, _, count, size):
        return self._allocate(count * size, 0)

    def _again(self, _, address, size):
        new = self._allocate(size)
        if address:
            ctypes.memmove(new, address, min(size, self._buffers[address][2]))
            self._release(None, address, 0)
        return new

    def _release(self, _, address, size):
        if not address:
            return
        mapping, length, _ = self._buffers.pop(address)
        if length:
            _libc.munmap(mapping, length + 2 * PAGE)
        else:
            _libc.free(mapping)


_kept = []  # arrays may outlive the block that made them


@contextlib.contextmanager
def guarded(place):
    """Arrays that this thread makes in the block are placed so."""
    if not _kept or _kept[-1]._place != place:
        _kept.append(Allocator(place))
    before = _set_handler(_kept[-1].capsule)
    try:
        yield
    finally:
        _set_handler(before)


def _set_handler(capsule):
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = _pointer, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(address(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(_pointer))
    function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[SET_HANDLER])
    return function(capsule)


def without_alignment():
    """Make fastmlp's aligned arrays plain ones: the bytes that are there for alignment would hide an access to them.

    The kernels may not rely on the alignment, because the arrays of a caller have none.
    """
    given = spec.aligned_zeros
    for module in list(sys.modules.values()):
        if getattr(module, "aligned_zeros", None) is given:
            module.aligned_zeros = np.zeros
