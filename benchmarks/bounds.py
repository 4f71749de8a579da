"""What bounds a step beside its arithmetic: python bounds.py. Prints the cost of a barrier, of a cache line that goes
from one core to another, of an Adam update where its numbers lie, and the rate of tiles, all on this machine.
"""

import statistics
import threading
import time

import numba
import numpy as np

from fastmlp.kernels import compiled, cython_cpu, numba_engine
from fastmlp.kernels.network import aligned_zeros, new_slots, optimizer
from fastmlp.kernels.numba_primitives import data_of

wait_for_all = numba_engine._compiled["wait_for_all"]


@numba.njit(nogil=True)
def exchange(thread, counter, buffers, rounds):
    """Each of two threads writes its buffer, waits, reads the other's, waits, ``rounds`` times."""
    total, generation = np.float32(0), 0
    for turn in range(rounds):
        own, other = buffers[thread], buffers[1 - thread]
        for i in range(own.size):
            own[i] = turn
        generation += 1
        wait_for_all(data_of(counter), 2, generation)
        for i in range(0, other.size, 16):
            total += other[i]
        generation += 1
        wait_for_all(data_of(counter), 2, generation)
    return total


def in_pair(function, *arguments):
    """Seconds of function(thread, *arguments) in two threads at once."""
    other = threading.Thread(target=function, args=(1, *arguments))
    start = time.perf_counter()
    other.start()
    function(0, *arguments)
    other.join()
    return time.perf_counter() - start


def median(measure, times=7):
    return statistics.median(measure() for _ in range(times))


def lines(n_floats, rounds=2000):
    def measure():
        counter = aligned_zeros(8, np.int64)
        return in_pair(exchange, counter, aligned_zeros((2, n_floats), "f4"), rounds) / rounds

    measure()
    return median(measure)


def adam(n):
    w, g, slots = aligned_zeros(n, "f4"), aligned_zeros(n, "f4"), new_slots("adam", n, np.dtype("f4"))
    g[:] = 1e-3
    rule, repeats = optimizer("adam"), max(1, 4_000_000 // n)

    def measure():
        start = time.perf_counter()
        for _ in range(repeats):
            cython_cpu.update(rule, w, g, slots, 1)
        return (time.perf_counter() - start) / repeats / n

    return median(measure)


def tiles(rows, inner, columns):
    """GFLOP/s of one product in one thread."""
    A, B = aligned_zeros((rows, inner), "f4"), aligned_zeros((inner, columns), "f4")
    run, _ = compiled.prepared_product(cython_cpu._engine, A, B, np.zeros(columns, "f4"))
    repeats = max(1, int(2e8 / (2 * rows * inner * columns)))

    def measure():
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return 2 * rows * inner * columns * repeats / (time.perf_counter() - start)

    return median(measure) / 1e9


if __name__ == "__main__":
    empty = lines(16)
    print(f"two barriers and one line each way: {empty * 1e9:.0f} ns")
    for kilobytes in (16, 64, 256):
        n = kilobytes * 256
        each = (lines(n) - empty) / (n / 16)
        print(
            f"write {kilobytes} KiB that the other core has read, and read as much of its: {each * 1e9:.1f} ns a line"
        )
    for n in (4_737, 101_770, 8_343_528):
        print(f"Adam, {n:,} parameters, one thread: {adam(n) * 1e9:.2f} ns each")
    for shape in ((32, 64, 64), (128, 128, 128), (128, 784, 128), (256, 512, 512)):
        print(f"tiles, {shape}, one thread: {tiles(*shape):.0f} GFLOP/s")
