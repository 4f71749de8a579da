"""The tensor core kernels compile to machine code for an H200, within registers and shared memory.

The limits of spilled bytes are those reported by ptxas when this was written, with a margin.
"""

import pytest
from cubins import array, resources
from numba.cuda import types

from fastmlp.kernels.cuda.tensor_core.plan import SHARED_BYTES, plan_for, segments_for
from fastmlp.kernels.cuda.tensor_core.prediction import copy_kernel, tensor_core_prediction_kernel
from fastmlp.kernels.cuda.tensor_core.rows import convert_rows
from fastmlp.kernels.cuda.tensor_core.training import tensor_core_training_kernel
from fastmlp.kernels.spec import Network

PAIRS = types.Array(types.uint32, 1, "C")
SINGLES, DOUBLES, NUMBERS, BF16 = array("f4"), array("f8"), array("i8"), array("u2")
TRAINING = [
    PAIRS, array("f4", 2), SINGLES, NUMBERS, *[DOUBLES] * 3, *[SINGLES] * 3, BF16, PAIRS, SINGLES, *[DOUBLES] * 5,
    types.float64, types.int64, types.int64,
]  # fmt: skip
WIDE_64, WIDE_128 = (64,) * 6, (128,) * 6
SPILLED = {WIDE_64: 256, (128, 128, 128): 640, (16, 112, 112, 128): 640, WIDE_128: 960}
STACK = 208  # spilled registers, or the accumulators of a layer if a rule is too long to be unrolled
SHAPES = {  # sizes, hidden, output, loss, optimizer, weighted, clipped
    "64 wide, 5 layers": (WIDE_64, "relu", "identity", "squared_error", "adam", False, False),
    "64 wide, 4 layers, all features": (WIDE_64[1:], "tanh", "identity", "huber", "amsgrad", True, True),
    "128 wide": ((128, 128, 128), "relu", "identity", "squared_error", "adam", False, False),
    "128 wide, in segments": (WIDE_128, "relu", "identity", "squared_error", "adam", False, False),
    "many jobs": ((16, 112, 112, 128), "relu", "identity", "squared_error", "adam", False, False),
    "iris": ((4, 16, 3), "relu", "softmax", "categorical_cross_entropy", "adam", False, False),
    "two outputs": ((32, 64, 64, 2), "gelu", "logistic", "binary_cross_entropy", "sgd", True, False),
    "gradient only": ((32, 64, 64, 2), "silu", "exp", "poisson", "", False, False),
}


def network_of(sizes, hidden="relu", output="identity", loss="squared_error"):
    options = {"huber": (1.0,)}.get(loss, ())
    return Network(sizes, (hidden,) * (len(sizes) - 2) + (output,), loss, options)


@pytest.mark.exhaustive
@pytest.mark.parametrize("shape", SHAPES)
def test_training(shape):
    sizes, hidden, output, loss, optimizer, weighted, clipped = SHAPES[shape]
    plan = segments_for(network_of(sizes, hidden, output, loss))
    found = resources(tensor_core_training_kernel(plan, optimizer, weighted, clipped), TRAINING)
    assert found.registers <= 65536 // plan.threads
    assert found.spilled <= SPILLED.get(sizes, 0), found
    assert found.stack <= STACK
    assert found.shared + plan.shared_bytes <= SHARED_BYTES


@pytest.mark.exhaustive
@pytest.mark.parametrize("sizes", [WIDE_64, WIDE_128, (4, 16, 3)], ids=str)
def test_prediction(sizes):
    plan = plan_for(network_of(sizes, "tanh", "softmax"))
    found = resources(tensor_core_prediction_kernel(plan), [PAIRS, SINGLES, BF16, array("f4", 2)])
    assert found.registers <= 65536 // plan.threads
    assert found.spilled == 0, found
    assert found.shared + plan.shared_bytes <= SHARED_BYTES
    assert resources(copy_kernel(plan), [SINGLES, BF16]).spilled == 0


def test_conversion():
    assert resources(convert_rows, [array("f4", 2), array("u2", 2)]).spilled == 0
