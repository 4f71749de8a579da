"""Every SIMT kernel of backend cuda compiles to machine code within its budget, for the newest and the oldest GPU.

No register is spilled, except for the bytes in SPILLED, and a block of the launch fits on a multiprocessor.
"""

import numpy as np
import pytest
from cubins import array, resources
from numba.cuda import types

from fastmlp.kernels.cuda import dispatch, primitives
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.cuda.simt.prediction import prediction_kernel
from fastmlp.kernels.cuda.simt.training_kernel import training_kernel
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.kernels.spec import Network, Skip
from problems import quick_first

REGISTERS = 65536  # of a multiprocessor
SPILLED = {("odd, on the grid", "T4"): 64}


class H200:
    name, capability, processors, shared_bytes = "H200", (9, 0), 132, 232448


class T4:
    name, capability, processors, shared_bytes = "T4", (7, 5), 40, 65536


def training_arguments(code):
    doubles, numbers, vector, matrix = array("f8"), array("i8"), array(code), array(code, 2)
    return [
        matrix, matrix, vector, numbers, doubles, doubles, *[vector] * 6, *[doubles] * 5,
        types.float64, types.int64, types.int64, types.int64,
    ]  # fmt: skip


IRIS = Network((4, 16, 3), ("relu", "softmax"), "categorical_cross_entropy")
MNIST = Network((784, 128, 10), ("relu", "softmax"), "categorical_cross_entropy")
NARROW = Network((64,) * 6, ("relu",) * 4 + ("identity",), "squared_error")
ODD = Network(
    (5, 17, 33, 6, 2), ("prelu", "gelu", "tanh", "logistic"), "binary_cross_entropy",
    skips=(None, None, Skip(0, True), Skip(2, True)),
)  # fmt: skip
EVERYTHING = Features(True, True, True, (True, True, True), True, True, True, True)
SHAPES = {  # network, features, optimizer, batch size, dtype, expected strategy
    "iris online": (IRIS, Features(), "sgd", 1, "f4", "block"),
    "iris in batches": (IRIS, Features(), "adam", 32, "f8", "block"),
    "mnist": (MNIST, Features(), "adam", 128, "f4", "grid"),
    "narrow": (NARROW, Features(), "adam", 2**18, "f4", "tiles"),
    "odd, everything enabled": (ODD, EVERYTHING, "amsgrad", 4096, "f4", "tiles"),
    "odd, on the grid": (ODD._replace(sizes=(5, 17, 330, 6, 2)), EVERYTHING, "nadam", 512, "f8", "grid"),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("gpu", [H200, T4])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_kernels(shape, gpu):
    network, features, optimizer, batch_size, code, strategy = SHAPES[shape]
    dtype = np.dtype(code)
    config = dispatch.training_config(network, features, optimizer, dtype, batch_size, gpu)
    assert config.strategy == strategy
    assert config.shared_bytes <= gpu.shared_bytes
    kernel = training_kernel(config.layout, optimizer, dtype, config.strategy, config.in_shared, config.threads)
    found = resources(kernel, training_arguments(code), gpu.capability)
    assert found.spilled <= SPILLED.get((shape, gpu.name), 0)
    assert found.registers * config.threads <= REGISTERS
    assert found.shared == 0  # all shared memory is dynamic, and computed by kernels/cuda/dispatch.py


@pytest.mark.parametrize("network", quick_first([IRIS, NARROW, ODD]))
def test_prediction_kernels(network):
    config = dispatch.prediction_config(network, Features(training=False), np.dtype("f4"), 2**20, H200)
    kernel = prediction_kernel(config.layout, np.dtype("f4"), config.in_shared, config.threads)
    vector, matrix = array("f4"), array("f4", 2)
    arguments = [matrix, vector, vector, array("i8"), array("f8"), types.int64, types.int64, matrix]
    found = resources(kernel, arguments)
    assert found.spilled == 0
    assert found.registers * config.threads <= REGISTERS / 2  # two blocks per multiprocessor hide memory latency


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name, code):
    if ACTIVATIONS[name].trainable is None:
        found = resources(primitives.derivative_kernel(name, np.dtype(code)), [array(code, 2)] * 2)
        assert found.spilled == 0


@pytest.mark.parametrize("name", quick_first(OPTIMIZERS))
def test_updates(name):
    kernel = primitives.update_kernel(name, np.dtype("f4"))
    found = resources(kernel, [*[array("f4")] * 3, types.float64, types.int64, array("f8"), array("f8")])
    assert found.spilled == 0
    assert found.registers <= 64
