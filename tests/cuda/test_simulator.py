"""The simulator used by the other tests behaves like a GPU, and detects invalid kernels."""

import os

import numpy as np
import pytest
from numba import cuda

if os.environ.get("FASTMLP_GPU") == "1":
    pytest.skip("tests of the simulator, but FASTMLP_GPU=1", allow_module_level=True)
from cuda_simulator import SimulationError


def run(function, *arguments, blocks=1, threads=64, shared_bytes=0):
    there = [cuda.to_device(a) if isinstance(a, np.ndarray) else a for a in arguments]
    cuda.jit(function)[blocks, threads, 0, shared_bytes](*there)
    return there[0].copy_to_host()


def test_lanes_exchange_values_and_warps_do_not():
    def kernel(out):
        t = cuda.threadIdx.x
        out[t] = cuda.shfl_xor_sync(0xFFFFFFFF, t, 1) + 100 * cuda.shfl_sync(0xFFFFFFFF, t, 5)

    t = np.arange(64)
    np.testing.assert_array_equal(run(kernel, np.zeros(64)), (t ^ 1) + 100 * (t // 32 * 32 + 5))


def test_blocks_wait_for_the_grid():
    def kernel(out, sums):
        b = cuda.blockIdx.x
        if cuda.threadIdx.x == 0:
            sums[b] = b + 1
        cuda.cg.this_grid().sync()
        out[cuda.grid(1)] = sums[0] + sums[1] + sums[2]

    assert (run(kernel, np.zeros(6), np.zeros(3), blocks=3, threads=2) == 6).all()


def test_shared_arrays_belong_to_blocks_and_do_not_overlap():
    def kernel(out):
        t = cuda.threadIdx.x
        a, b = cuda.shared.array(4, "float64"), cuda.shared.array(4, "float64")
        a[t], b[t] = cuda.blockIdx.x, 10
        cuda.syncthreads()
        out[cuda.grid(1)] = a[3 - t] + b[3 - t]

    np.testing.assert_array_equal(run(kernel, np.zeros(8), blocks=2, threads=4), [10] * 4 + [11] * 4)


def test_new_memory_is_poisoned():
    def kernel(out):
        out[0], out[1] = cuda.shared.array(1, "float32")[0], cuda.local.array(1, "float64")[0]
        out[2] = cuda.shared.array(0, "float64")[1]

    assert np.isnan(run(kernel, np.zeros(3), threads=1, shared_bytes=16)).all()


def beyond(out):
    out[out.size] = 1


def below(out):
    out[cuda.threadIdx.x - 1] = 1


def race_of_writes(out):
    out[0] = cuda.threadIdx.x


def race_with_a_reader(out):
    out[cuda.threadIdx.x] = out[(cuda.threadIdx.x + 1) % 64]


def race_between_blocks(out):
    if cuda.threadIdx.x == 0:
        out[0] += 1
    cuda.syncthreads()


def race_in_shared_memory(out):
    shared = cuda.shared.array(64, "float64")
    shared[cuda.threadIdx.x] = 1
    out[cuda.threadIdx.x] = shared[63 - cuda.threadIdx.x]


def deadlock(out):
    if cuda.threadIdx.x < 32:
        cuda.syncthreads()
    else:
        cuda.cg.this_grid().sync()


def host_array(out):
    cuda.jit(beyond)[1, 1](np.zeros(1))


@pytest.mark.parametrize(
    "function, message",
    [
        (beyond, "out of bounds"), (below, "index"), (race_of_writes, "race"), (race_with_a_reader, "race"),
        (race_between_blocks, "race"), (race_in_shared_memory, "race"), (deadlock, "deadlocked"), (host_array, "host"),
    ],
)  # fmt: skip
def test_errors_are_found(function, message):
    with pytest.raises((SimulationError, IndexError), match=message):
        run(function, np.zeros(64), blocks=2)


def test_barriers_prevent_races():
    def kernel(out):
        t = cuda.threadIdx.x
        value = out[(t + 1) % 64]
        cuda.syncthreads()
        out[t] = value

    np.testing.assert_array_equal(run(kernel, np.arange(64.0)), np.roll(np.arange(64.0), -1))
