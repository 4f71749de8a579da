"""The hot loops by themselves, in one thread: kernel x size x dtype x backend, and beside each what the machine gives.

A product is held against the BLAS rate on large matrices, a loop over elements against numpy.add on as many bytes.
"""

import time
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastmlp.backends import registry
from fastmlp.kernels.cpu import contract_primitives
from fastmlp.kernels.spec import aligned_copy, aligned_zeros, new_slots, optimizer

SIZES = {"32x64x64": (32, 64, 64), "128x784x128": (128, 784, 128), "256x512x512": (256, 512, 512)}
PRODUCTS = "dense_forward", "delta_backpropagation", "weight_gradient"
LOOPS = "tanh", "activation_derivative", "update"


def best_of(function, rounds=15):
    def seconds():
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return min(seconds() for _ in range(rounds))


@cache
def blas_rate(dtype):
    """Operations per second on 1024 x 1024 matrices."""
    A = np.ones((1024, 1024), dtype)
    return 2 * 1024**3 / best_of(lambda: A @ A)


@cache
def addition_rate(n_bytes):
    """Bytes per second of additions that read two arrays and write a third, ``n_bytes`` together."""
    a, b, out = (aligned_zeros(n_bytes // 12, "f4") for _ in range(3))
    repeats = max(1, 10**6 // n_bytes)

    def add():
        for _ in range(repeats):
            np.add(a, b, out)

    return n_bytes * repeats / best_of(add)


def product(backend, kernel, X, W, b, delta):
    """A function that makes the product in memory of its own."""
    if backend == "numpy":
        out = {"dense_forward": delta, "delta_backpropagation": X, "weight_gradient": W}[kernel].copy()
        return {
            "dense_forward": lambda: np.maximum(np.add(np.matmul(X, W, out), b, out), 0, out),
            "delta_backpropagation": lambda: np.matmul(delta, W.T, out),
            "weight_gradient": lambda: np.matmul(X.T, delta, out),
        }[kernel]
    engine = registry.choose(backend).kernels._contract.engine
    no_bias = np.zeros(max(W.shape), W.dtype)
    if kernel == "delta_backpropagation":
        return contract_primitives.prepared_product(engine, delta, W, no_bias[: len(W)], transposed=True)[0]
    if kernel == "weight_gradient":
        return contract_primitives.prepared_product(engine, X, delta, no_bias[: delta.shape[1]], by_column=True)[0]
    multiply, out = contract_primitives.prepared_product(engine, X, W, b)
    code = contract_primitives.activation_codes(engine, "relu", X.dtype)[0]

    def forward():
        multiply()
        engine.entries.run_activation(code, out, len(X), W.shape[1])

    return forward


def loop(backend, kernel, W, delta):
    """(a function that runs over arrays of its own, bytes that it moves)."""
    kernels = registry.choose(backend).kernels
    if kernel == "update":
        rule, n = optimizer("adam"), W.size
        w, g, slots = aligned_copy(W.ravel()), aligned_copy(W.ravel() / 100), new_slots("adam", n, W.dtype)
        return lambda: kernels.update(rule, w, g, slots, 1), 7 * W.nbytes
    z, out = aligned_copy(delta), aligned_zeros(delta.shape, delta.dtype)
    a = aligned_copy(delta / 1e6)  # slopes of 1: a delta that shrank with every pass would end in denormal numbers
    if backend == "numpy":
        runs = {
            "tanh": lambda: np.tanh(z, out),
            "activation_derivative": lambda: np.multiply(z, 1 - np.multiply(a, a, out), out),
        }
    else:
        engine = kernels._contract.engine
        function, derivative = contract_primitives.activation_codes(engine, "tanh", z.dtype)
        runs = {
            "tanh": lambda: engine.entries.run_activation(function, z, *z.shape),
            "activation_derivative": lambda: engine.entries.run_derivative(derivative, a, z),
        }
    return runs[kernel], {"tanh": 2, "activation_derivative": 3}[kernel] * z.nbytes


@pytest.mark.parametrize("backend", registry.ON_CPU)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", PRODUCTS + LOOPS)
def bench_kernel(benchmark, kernel, size, dtype, backend):
    rows, fan_in, fan_out = SIZES[size]
    rng = np.random.RandomState(0)
    X, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, fan_in), (fan_in, fan_out), fan_out))
    delta = rng.standard_normal((rows, fan_out)).astype(dtype)
    with threadpool_limits(1):
        if kernel in PRODUCTS:
            run = product(backend, kernel, X, W, b, delta)
            limit, unit, amount = blas_rate(dtype), "GFLOP/s", 2 * rows * W.size
        else:
            run, amount = loop(backend, kernel, W, delta)
            limit, unit = addition_rate(amount), "GB/s"
        benchmark.extra_info |= {"amount": amount, "unit": unit, "limit": limit}
        benchmark.pedantic(run, rounds=60, iterations=max(1, 10**5 // amount), warmup_rounds=5)
