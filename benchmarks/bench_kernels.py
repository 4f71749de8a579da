"""The small pieces of every backend: kernel x size x dtype x backend, backends next to each other."""

import numpy as np
import pytest

from fastmlp import backends
from fastmlp.kernels.network import new_slots, optimizer

SIZES = {"32x64x64": (32, 64, 64), "128x784x128": (128, 784, 128), "256x512x512": (256, 512, 512)}
KERNELS = ("dense_forward", "activation_derivative", "delta_backpropagation", "weight_gradient", "update")


def arguments(kernel, rows, fan_in, fan_out, dtype):
    """(arguments, floating-point operations) of one call on random data of a layer of that size."""
    rng = np.random.RandomState(0)
    X, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, fan_in), (fan_in, fan_out), fan_out))
    delta = rng.standard_normal((rows, fan_out)).astype(dtype)
    product = 2 * rows * fan_in * fan_out
    n = W.size
    return {
        "dense_forward": (("relu", X, W, b), product),
        "activation_derivative": (("tanh", np.tanh(delta), delta), 3 * delta.size),
        "delta_backpropagation": ((delta, W), product),
        "weight_gradient": ((X, delta), product),
        "update": ((optimizer("adam"), W.ravel().copy(), W.ravel() / 100, new_slots("adam", n, dtype), 1), 12 * n),
    }[kernel]


@pytest.mark.parametrize("backend", backends.MODULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", KERNELS)
def bench_kernel(benchmark, kernel, size, dtype, backend):
    given, operations = arguments(kernel, *SIZES[size], dtype)
    function = getattr(backends.choose(backend).module, kernel)
    benchmark.extra_info["operations"] = operations
    benchmark.pedantic(function, given, rounds=60, iterations=3, warmup_rounds=5)
