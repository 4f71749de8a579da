"""The kernels between matrix products compile to machine code, for the newest and the oldest GPU.

No register is spilled, and enough threads are resident to hide memory latency.
"""

import numpy as np
import pytest
from cubins import array, resources
from numba.cuda import types

from fastmlp.kernels.cuda.gemm import control, head, kernels, update
from fastmlp.kernels.cuda.gemm.layout import GemmLayout
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import Network, Skip

STREAMING = 64  # registers of memory-bound kernels: 4 blocks of 256 threads per multiprocessor
UPDATING = 80  # 3 blocks, whose threads load 4 parameters at a time
HEAVY = 128  # of compute-bound kernels: 2 blocks
CAPABILITIES = [(9, 0), (7, 5)]
INTEGER, REAL = types.int64, types.float64
PLAIN, EVERYTHING = Features(), Features(True, True, True, (True,) * 3, True, True, True, True)
DEEP = Network((784, 2048, 2048, 1000), ("relu", "relu", "softmax"), "categorical_cross_entropy")
ODD = Network(
    (5, 170, 330, 61, 2), ("prelu", "gelu", "silu", "logistic"), "huber", (1.0,),
    skips=(None, None, Skip(0, True), Skip(1, False)),
)._replace(sizes=(5, 61, 330, 61, 61))  # fmt: skip
CASES = [  # network, features, dtype
    (DEEP, PLAIN, "f4"), (DEEP._replace(matmul_precision="medium"), PLAIN, "f4"), (ODD, EVERYTHING, "f4"),
    (ODD, EVERYTHING, "f8"),
    (ODD._replace(matmul_precision="medium"), EVERYTHING, "f4"),
]  # fmt: skip
IDS = ["deep", "deep, bfloat16", "odd", "odd, float64", "odd, bfloat16"]
BF16, ORDER, CONTROL, DOUBLES = array("u2"), array("i8"), array("i8"), array("f8")


def check(kernel, arguments, most, capability=(9, 0)):
    found = resources(kernel, arguments, capability)
    assert found.spilled == 0
    assert found.registers <= most


@pytest.fixture(params=CASES, ids=IDS)
def case(request):
    network, features, code = request.param
    return GemmLayout(network, features, 1024), code, np.dtype(code)


@pytest.mark.exhaustive
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_inputs_and_outputs(case, capability):
    layout, code, dtype = case
    vector, rest = array(code), [BF16, ORDER, CONTROL, DOUBLES, INTEGER]
    noisy = layout.features.noisy
    check(
        kernels.inputs_kernel(layout, dtype), [array(code, 2), vector, *rest], HEAVY if noisy else STREAMING,
        capability,
    )  # fmt: skip
    for level in range(len(layout.blocks) - 1):
        kernel = kernels.outputs_kernel(layout, level, dtype)
        check(kernel, [vector, vector, *rest], HEAVY if noisy else STREAMING, capability)


@pytest.mark.exhaustive
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_errors(case, capability):
    layout, code, dtype = case
    vector, rest = array(code), [BF16, ORDER, CONTROL, DOUBLES, DOUBLES, DOUBLES, INTEGER, INTEGER]
    for level in range(len(layout.blocks) - 1):
        check(kernels.errors_kernel(layout, level, dtype), [vector, vector, *rest], HEAVY, capability)
    matrix = array(code, 2)
    arguments = [vector, matrix, vector, vector, BF16, ORDER, CONTROL, *[DOUBLES] * 4, INTEGER]
    check(head.head_kernel(layout, dtype), arguments, HEAVY, capability)
    source = BF16 if layout.bfloat16 else vector
    arguments = [source, *[INTEGER] * 4, vector, INTEGER]
    check(kernels.column_sums_kernel(dtype, layout.bfloat16), arguments, STREAMING, capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_control(capability):
    check(control.begin_run, [CONTROL, DOUBLES, DOUBLES, REAL, INTEGER, INTEGER], HEAVY, capability)
    check(control.select_rows, [CONTROL, INTEGER, INTEGER, INTEGER], HEAVY, capability)
    arguments = [CONTROL, DOUBLES, ORDER, array("f4"), DOUBLES, DOUBLES, INTEGER, *[DOUBLES] * 3, INTEGER]
    check(control.next_batch_kernel("nadam", True), arguments, HEAVY, capability)
    check(kernels.sum_all, [array("f4"), INTEGER, array("f4"), INTEGER], HEAVY, capability)
    check(update.sum_squares, [array("f4"), DOUBLES], STREAMING, capability)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates(name):
    for network in (DEEP, DEEP._replace(matmul_precision="medium")):
        layout = GemmLayout(network, PLAIN, 1024)
        arguments = [*[array("f4")] * 3, BF16, CONTROL, DOUBLES, DOUBLES, INTEGER, DOUBLES, DOUBLES]
        check(update.update_kernel(layout, name, np.dtype("f4")), arguments, UPDATING)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["", "amsgrad", "nadam"])
def test_updates_in_double_precision(name):
    arguments = [*[array("f8")] * 3, BF16, CONTROL, DOUBLES, DOUBLES, INTEGER, DOUBLES, DOUBLES]
    check(update.update_kernel(GemmLayout(DEEP, PLAIN, 1024), name, np.dtype("f8")), arguments, HEAVY)


@pytest.mark.exhaustive
def test_clipped_updates():
    layout, vector = GemmLayout(ODD._replace(matmul_precision="medium"), EVERYTHING, 1024), array("f4")
    arguments = [*[vector] * 3, BF16, CONTROL, DOUBLES, DOUBLES, DOUBLES, DOUBLES]
    check(update.clipped_update_kernel(layout, "adam", np.dtype("f4")), arguments, UPDATING)
    check(update.limit_kernel(layout, np.dtype("f4")), [vector, CONTROL, DOUBLES], HEAVY)
    check(update.bf16_copies_kernel(layout), [vector, BF16], STREAMING)


def test_predictions():
    layout, vector, matrix = GemmLayout(DEEP, Features(training=False), 8192), array("f4"), array("f4", 2)
    arguments = [vector, vector, ORDER, CONTROL, DOUBLES, matrix, INTEGER, INTEGER]
    check(head.predictions_kernel(layout, np.dtype("f4")), arguments, HEAVY)
