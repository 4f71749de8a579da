"""A simulator that runs CUDA kernels in Python, with the features missing in Numba's simulator.

Threads are greenlets that switch only at barriers. Besides syncthreads there are grid barriers, and warp barriers with
shuffles. New memory is poisoned. An index out of bounds, including negative ones, is an error, and so is a deadlock.
With ``races``, a data race is an error too: two threads access an element with no barrier between, and one writes.

Call ``install()`` right after ``from numba import cuda``, in a process with NUMBA_ENABLE_CUDASIM=1.
"""

import contextvars
import sys
from itertools import product
from types import ModuleType, SimpleNamespace

import greenlet
import numpy as np
from numba import cuda
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

WARP = 32
RUNS, AT_WARP, AT_BLOCK, AT_GRID, DONE = range(5)
_now = SimpleNamespace(thread=None, races=False)  # the running thread


class SimulationError(Exception):
    """The kernel is invalid on a GPU."""


class Dim3(tuple):
    x, y, z = (property(lambda self, axis=axis: self[axis]) for axis in range(3))


class Thread:
    """A thread of a kernel: its greenlet, and the barrier it waits at."""

    def __init__(self, block, place, number, run):
        self.block, self.place, self.number, self.state = block, place, number, RUNS
        self.lane, self.warp = number % WARP, block.warps.setdefault(number // WARP, [])
        self.warp.append(self)
        self.given = None  # the value passed to the lanes of its warp
        self.greenlet = greenlet.greenlet(run)
        self.greenlet.gr_context = contextvars.copy_context()  # includes NumPy's error state

    def wait(self, state):
        self.state = state
        self.greenlet.parent.switch()

    def when(self):
        """The number of barriers of each kind passed so far, to detect races."""
        return self.block.grid.passed, self.block.passed, self.block.warps_passed.get(id(self.warp), 0)


class Grid:
    """All threads of a launch, which run until all are done, or until a deadlock."""

    def __init__(self, function, blocks, threads, shared_bytes, arguments):
        self.shape, self.block_shape, self.passed, self.accesses = blocks, threads, 0, {}
        self.blocks = [Block(self, Dim3(place), shared_bytes) for place in np.ndindex(*blocks)]

        def run():
            function(*arguments)

        places = [Dim3(place[::-1]) for place in product(*map(range, threads[::-1]))]
        for block in self.blocks:
            block.threads = [Thread(block, place, number, run) for number, place in enumerate(places)]

    def run(self):
        live = [thread for block in self.blocks for thread in block.threads]
        while live:
            moved = False
            for thread in live:
                if thread.state == RUNS:
                    _now.thread, moved = thread, True
                    thread.greenlet.switch()
                    if thread.greenlet.dead:
                        thread.state = DONE
            _now.thread = None
            live = [thread for thread in live if thread.state != DONE]
            for block in self.blocks:
                moved |= block.release(AT_WARP) | block.release(AT_BLOCK)
            if live and all(thread.state == AT_GRID for thread in live):
                self.passed, moved = self.passed + 1, True
                for thread in live:
                    thread.state = RUNS
            if live and not moved:
                where = {("a warp", "its block", "the grid")[thread.state - 1] for thread in live}
                raise SimulationError(f"{len(live)} threads are deadlocked, waiting for {', '.join(sorted(where))}")


class Block:
    def __init__(self, grid, place, shared_bytes):
        self.grid, self.place, self.warps, self.shared, self.passed, self.warps_passed = grid, place, {}, {}, 0, {}
        self.dynamic = np.full(shared_bytes, 0xFF, np.uint8)  # NaN in every float

    def release(self, state):
        """Resume threads that have all reached the same barrier; return whether there were any."""
        found = False
        for group in self.warps.values() if state == AT_WARP else [self.threads]:
            waiting = [thread for thread in group if thread.state == state]
            if waiting and all(thread.state in (state, DONE) for thread in group):
                found = True
                for thread in waiting:
                    thread.state = RUNS
                if state == AT_BLOCK:
                    self.passed += 1
                else:
                    self.warps_passed[id(group)] = self.warps_passed.get(id(group), 0) + 1
        return found


class Checked(np.ndarray):
    """An array as a kernel sees it."""

    def __getitem__(self, index):
        return self._access(index, False, np.ndarray.__getitem__, index)

    def __setitem__(self, index, value):
        self._access(index, True, np.ndarray.__setitem__, index, value)

    def _access(self, index, writes, function, *given):
        for i in index if type(index) is tuple else (index,):
            if not isinstance(i, slice) and i < 0:
                raise SimulationError(f"index {index} of an array of shape {self.shape}")
        result = function(self, *given)
        if _now.races and _now.thread is not None and not isinstance(result, np.ndarray):
            places = index if type(index) is tuple else (index,)
            if not any(isinstance(i, slice) for i in places):
                start = self.__array_interface__["data"][0]
                note_access(start + sum(int(i) * stride for i, stride in zip(places, self.strides)), writes)
        return result


def note_access(address, writes):
    """Compare with the accesses of other threads to the same element since the last common barrier."""
    thread = _now.thread
    mine = thread.when()
    for other, when, wrote in thread.block.grid.accesses.get(address, ()):
        if other is thread or not (writes or wrote) or when[0] != mine[0]:
            continue
        if other.block is thread.block and (when[1] != mine[1] or (other.warp is thread.warp and when[2] != mine[2])):
            continue
        raise SimulationError(
            f"data race: thread {other.number} of block {other.block.place}, {thread.number} of {thread.block.place}"
        )
    kept = [access for access in thread.block.grid.accesses.get(address, ()) if access[1][0] == mine[0]]
    thread.block.grid.accesses[address] = [a for a in kept if a[0] is not thread or a[2] != writes] + [
        (thread, mine, writes)
    ]


def dtype_of(kind):
    """The NumPy dtype for a name, a NumPy type or a Numba type."""
    return np.dtype(kind if isinstance(kind, (str, type, np.dtype)) else str(kind))


def poisoned(shape, kind, alignment=None):
    """New memory, filled with NaN or the largest integer."""
    dtype = dtype_of(kind)
    return np.full(shape, np.nan if dtype.kind == "f" else np.iinfo(dtype).max, dtype)


def shared_array(shape, kind, alignment=None):
    """The block's array for each place in the program that allocates one; shape 0 is the dynamic shared memory."""
    block, dtype = _now.thread.block, dtype_of(kind)
    if shape == 0:
        return block.dynamic[: block.dynamic.size // dtype.itemsize * dtype.itemsize].view(dtype).view(Checked)
    caller = sys._getframe(1)
    key = caller.f_code, caller.f_lasti, shape, dtype
    if key not in block.shared:
        block.shared[key] = poisoned(shape, dtype).view(Checked)
    return block.shared[key]


def collective(value, choose):
    """Exchange values within a warp: each lane passes one, and receives ``choose(lane, values)``."""
    thread = _now.thread
    thread.given = value
    thread.wait(AT_WARP)
    result = choose(thread.lane, [other.given for other in thread.warp])
    thread.wait(AT_WARP)
    return result


class Kernel:
    """The result of cuda.jit for a kernel: kernel[blocks, threads, stream, shared_bytes](...)."""

    def __init__(self, function):
        self.function, self.py_func = function, function

    def __getitem__(self, configuration):
        blocks, threads, _, shared_bytes = (*configuration, 0, 0)[:4]
        blocks, threads = ((size,) if np.isscalar(size) else tuple(size) for size in (blocks, threads))

        def launch(*arguments):
            given = [a._ary.view(Checked) if isinstance(a, FakeCUDAArray) else a for a in arguments]
            if any(isinstance(a, np.ndarray) and not isinstance(a, Checked) for a in given):
                raise SimulationError("a host array was passed to a kernel")
            Grid(self.function, (*blocks, 1, 1)[:3], (*threads, 1, 1)[:3], shared_bytes, given).run()

        return launch


def jit(function=None, **options):
    """Replacement for cuda.jit; device functions stay plain functions."""
    if not callable(function):
        return lambda given: jit(given, **options)
    return function if options.get("device") else Kernel(function)


class SimulatedModule(ModuleType):
    """numba.cuda as seen by the running thread."""

    threadIdx = property(lambda self: _now.thread.place)
    blockIdx = property(lambda self: _now.thread.block.place)
    blockDim = property(lambda self: Dim3(_now.thread.block.grid.block_shape))
    gridDim = property(lambda self: Dim3(_now.thread.block.grid.shape))
    laneid = property(lambda self: _now.thread.lane)


def _add(array, index, value):
    old = np.ndarray.__getitem__(array, index)
    np.ndarray.__setitem__(array, index, old + value)
    return old


def install(races=False):
    """Replace Numba's simulator."""
    if "simulator" not in cuda.jit.__module__:
        raise RuntimeError("set NUMBA_ENABLE_CUDASIM=1 before numba.cuda is imported")
    _now.races = races
    cuda.__class__ = SimulatedModule
    cuda.jit = jit
    cuda.shared, cuda.local = SimpleNamespace(array=shared_array), SimpleNamespace(array=poisoned)
    cuda.grid = lambda n: cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    cuda.gridsize = lambda n: cuda.gridDim.x * cuda.blockDim.x
    cuda.syncthreads = lambda: _now.thread.wait(AT_BLOCK)
    cuda.cg = SimpleNamespace(this_grid=lambda: SimpleNamespace(sync=lambda: _now.thread.wait(AT_GRID)))
    cuda.syncwarp = lambda mask=None: collective(None, lambda lane, values: None)
    cuda.shfl_sync = lambda mask, value, source: collective(value, lambda lane, values: values[source % WARP])
    cuda.shfl_xor_sync = lambda mask, value, other: collective(value, lambda lane, values: values[lane ^ other])
    cuda.shfl_down_sync = lambda mask, value, by: collective(
        value, lambda lane, values: values[lane + by if lane + by < WARP else lane]
    )
    cuda.threadfence = lambda: None
    cuda.atomic = SimpleNamespace(add=_add)
    cuda.is_cuda_array = lambda array: isinstance(array, FakeCUDAArray)
    cuda.as_cuda_array = lambda array: FakeCUDAArray(array._ary)  # another object, as on a GPU
    FakeCUDAArray.__cuda_array_interface__ = property(lambda self: self._ary.__array_interface__)
