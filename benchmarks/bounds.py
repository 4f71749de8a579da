"""What bounds a step: python bounds.py. Prints the cost of a barrier, of a cache line that goes from one core to
another, of an Adam update where its numbers lie, the rate of products, and how many rows a second each work of the
training table would pass if its hot loops followed each other with all they need at hand; then the same for the
products alone in high and medium precision, if this processor has a unit for them. All on this machine.
"""

import math
import statistics
import threading
import time

import numba
import numpy as np
from works import WORKS

from fastmlp.kernels.cpu import contract_primitives, matrix_unit
from fastmlp.kernels.cpu import cython as cython_cpu
from fastmlp.kernels.engine.bfloat16_tiles import FLOAT_UNIT
from fastmlp.kernels.numba import engine as numba_engine
from fastmlp.kernels.numba.primitives import data_of
from fastmlp.kernels.spec import PRECISIONS, aligned_zeros, new_slots, optimizer

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
    """Seconds a parameter of one thread's update of n, less the way from Python and back."""
    return (update(n) - update(16)) / n


def update(n):
    w, g, slots = aligned_zeros(n, "f4"), aligned_zeros(n, "f4"), new_slots("adam", n, np.dtype("f4"))
    g[:] = 1e-3
    rule, repeats = optimizer("adam"), max(1, 4_000_000 // (n + 10_000))

    def measure():
        start = time.perf_counter()
        for _ in range(repeats):
            cython_cpu.update(rule, w, g, slots, 1)
        return (time.perf_counter() - start) / repeats

    return median(measure)


def seconds(run, flops):
    """Of one call in one thread."""
    repeats = max(1, min(10_000, int(1e8 / flops)))

    def measure():
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats

    return median(measure)


def product(rows, inner, columns, **how):
    """Seconds of one product in one thread; ``how``: as in prepared_product."""
    A = np.ones((inner, rows) if how.get("by_column") else (rows, inner), "f4")
    B = np.ones((columns, inner) if how.get("transposed") else (inner, columns), "f4")
    run, _ = contract_primitives.prepared_product(cython_cpu._contract.engine, A, B, np.zeros(columns, "f4"), **how)
    return seconds(run, 2 * rows * inner * columns)


def activation(name, rows, columns):
    z = aligned_zeros((rows, -(-columns // 16) * 16), "f4")
    code, _ = contract_primitives.activation_codes(cython_cpu._contract.engine, name, z.dtype)
    return seconds(
        lambda: cython_cpu._contract.engine.entries.run_activation(code, z, rows, columns), 100 * rows * columns
    )


def step(work, n_threads):
    """Seconds of a step of which each thread does its share: products, activations and the update, nothing else."""
    rows, total = -(-work.batch // n_threads), 0.0
    call = product(1, 1, 1)  # the way from Python and back
    for layer, (fan_in, fan_out) in enumerate(zip(work.sizes, work.sizes[1:])):
        total += product(rows, fan_in, fan_out) - call
        total += product(-(-fan_in // n_threads), work.batch, fan_out, by_column=True) - call
        if layer > 0:
            total += product(rows, fan_out, fan_in, transposed=True) - call
        if layer < len(work.sizes) - 2:
            total += activation(work.activation, rows, fan_out) - activation(work.activation, 1, 1)
    n = sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(work.sizes, work.sizes[1:])) // n_threads
    return total + n * adam(n)


def print_rates_by_precision():
    """The rate of products on the unit for them; a number of two terms counts as one number."""
    engine = cython_cpu._contract.engine
    unit, size = matrix_unit.unit_of(engine), 512
    if unit == FLOAT_UNIT:
        print("high and medium precision: products in float32, of operands that are rounded first")
        return
    for precision, n_terms in PRECISIONS.items():
        if n_terms:
            flops = 2 * size**3
            rate = flops / seconds(matrix_unit.product_of_tiles(engine, unit, n_terms, size), flops)
            print(f"{precision} precision: products {matrix_unit.HOW[unit]}, one thread: {rate / 1e9:.0f} GFLOP/s")
            for name, work in WORKS.items():
                if work.batch > 1:
                    print(f"{name}: products alone {rate / work.flops:,.0f} rows/s")


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
        print(f"products, {shape}, one thread: {2 * math.prod(shape) / product(*shape) / 1e9:.0f} GFLOP/s")
    for name, work in WORKS.items():
        if work.batch > 1:
            rates = [work.batch / step(work, n_threads) for n_threads in (1, 2)]
            print(f"{name}: hot loops alone {rates[0]:,.0f} rows/s in one thread, {rates[1]:,.0f} in two")
    print_rates_by_precision()
