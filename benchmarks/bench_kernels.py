"""The small pieces of every backend: kernel x size x dtype x backend, backends next to each other."""

import numpy as np
import pytest

from fastmlp import backends
from fastmlp.kernels.network import new_slots, optimizer

SIZES = {"32x64x64": (32, 64, 64), "128x784x128": (128, 784, 128), "256x512x512": (256, 512, 512)}
KERNELS = ("dense_forward", "activation_derivative", "delta_backpropagation", "weight_gradient", "update")


def arguments(kernel, rows, fan_in, fan_out, dtype):
    """(arguments, floating-point operations, bytes moved) of one call on random data of a layer of that size."""
    rng = np.random.RandomState(0)
    X, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, fan_in), (fan_in, fan_out), fan_out))
    delta = rng.standard_normal((rows, fan_out)).astype(dtype)
    product = 2 * rows * fan_in * fan_out
    n, moved = W.size, X.nbytes + W.nbytes + delta.nbytes
    adam = optimizer("adam"), W.ravel().copy(), W.ravel() / 100, new_slots("adam", n, dtype), 1
    return {
        "dense_forward": (("relu", X, W, b), product, moved),
        "activation_derivative": (("tanh", np.tanh(delta), delta), 3 * delta.size, 3 * delta.nbytes),
        "delta_backpropagation": ((delta, W), product, moved),
        "weight_gradient": ((X, delta), product, moved),
        "update": (adam, 12 * n, 7 * W.nbytes),
    }[kernel]


@pytest.mark.parametrize("backend", backends.MODULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", KERNELS)
def bench_kernel(benchmark, kernel, size, dtype, backend):
    given, operations, moved = arguments(kernel, *SIZES[size], dtype)
    function = getattr(backends.choose(backend).module, kernel)
    benchmark.extra_info |= {"operations": operations, "bytes": moved}
    benchmark.pedantic(function, given, rounds=60, iterations=3, warmup_rounds=5)
