"""The host side of wide networks: cuBLASLt descriptors, and launches that are captured once and replayed."""

import ctypes
import importlib.util
import shutil
import subprocess

import fake_driver
import numpy as np
import pytest

from fastmlp.kernels.cuda.gemm import cublaslt
from fastmlp.kernels.cuda.gemm.layout import BIAS_ROWS, ONE, GemmLayout
from fastmlp.kernels.cuda.gemm.products import mask_stride
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.spec import Network, Skip

RUN = """
import numpy as np
from numba import cuda
from fastmlp.kernels.engine.requirements import extras_of
from fastmlp.kernels.cuda.gemm.layout import GemmLayout
from fastmlp.kernels.cuda.gemm.training import GemmTraining
from fastmlp.kernels.cuda.records import Settings, State
from fastmlp.kernels.cuda.simt.layout import Features
from fastmlp.kernels.spec import NO_PENALTY, Batches, Network, optimizer

@cuda.jit("void(float32[::1])")
def multiply(x):
    pass

class Products:
    def prepare(self, A, B, D, **how):
        assert A.size and B.size and D.size
        x = cuda.device_array(1, np.float32)
        return lambda stream: multiply[1, 32, stream](x)

activations, loss = ("relu", {hidden!r}, "softmax"), "categorical_cross_entropy"
network = Network((8, 64, 64, 3), activations, loss, matmul_precision={precision!r})
rule = optimizer("adam")
training = GemmTraining(GemmLayout(network, Features(), 16), "adam", np.dtype("f4"), Products())
n, stream = network.n_parameters, cuda.stream()
empty = lambda *shape, dtype="f4": cuda.to_device(np.zeros(shape, dtype))
X, y, weight, P, slots, gradient = empty(200, 8), empty(200, 3), empty(1), empty(n), empty(2 * n), empty(n)
extras = cuda.to_device(extras_of(network, rule, NO_PENALTY, None).array)
options, loss_options = cuda.to_device(np.array(rule.options)), empty(1, dtype="f8")
for rows in {rows}:
    batches, rates = Batches(X, y, empty(rows, dtype="i8"), 16, weight), np.zeros(rows)
    settings = Settings(extras, options, loss_options, 0.1, 0, 0)
    state = State(P, slots, gradient, empty(3, dtype="f8"))
    training.queue(stream, batches, rates, state, settings)
    stream.synchronize()
"""


def run(rows, hidden="relu", precision="highest"):
    done = fake_driver.run(RUN.format(rows=rows, hidden=hidden, precision=precision))
    assert done.errors() == []
    eager = [call for call in done.launches() if not getattr(call, "captured", 0)]
    return eager, done.calls("cuStreamBeginCapture"), done.calls("cuGraphLaunch")


@pytest.mark.exhaustive
def test_launches_do_not_grow_with_steps():
    """The first step is launched directly, the second is captured; all others replay it."""
    few, captures, repeats = run([64])
    more, captures_of_more, repeats_of_more = run([160])
    assert len(more) == len(few)
    assert (len(captures), len(captures_of_more)) == (1, 1)
    assert (len(repeats), len(repeats_of_more)) == (3, 9)


@pytest.mark.exhaustive
@pytest.mark.parametrize("hidden", ["relu", "gelu"])
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_graph_is_reused_in_the_next_epoch(hidden, precision):
    """Also with a shorter last batch; order and rates may be other arrays."""
    eager, captures, repeats = run([170, 170, 90], hidden, precision)
    assert len(captures) == 1
    assert len(repeats) == 9 + 10 + 5
    names = [call.kernel for call in eager]
    assert names.count("head") == 4  # the first step, and three shorter ones
    assert names.count("begin_run") == 3
    assert ("write_outputs" in names) == (hidden == "gelu")  # both layers are fused if they are ReLUs
    assert names.count("copy_to_bf16") == (3 if precision == "medium" else 0)
    (first, *others) = repeats
    assert all(repeat.kernels == first.kernels for repeat in others)


@pytest.mark.exhaustive
def test_a_failed_capture_leaves_the_stream_working():
    done = fake_driver.run("""
        import numpy as np
        from numba import cuda
        from fastmlp.kernels.cuda.graphs import Graph

        @cuda.jit("void(float32[::1])")
        def double(x):
            x[0] *= 2

        def spoiled(stream):
            double[1, 32, stream](x)
            raise KeyboardInterrupt

        stream, x = cuda.stream(), cuda.device_array(1, np.float32)
        try:
            Graph(spoiled)
        except KeyboardInterrupt:
            Graph(lambda stream: double[1, 32, stream](x))(stream)
            stream.synchronize()
            print("works")
    """)
    assert done.out == "works\n"
    assert len(done.calls("cuGraphLaunch")) == 1


@pytest.mark.exhaustive
def test_the_default_stream_can_be_used_during_a_capture():
    """Other fits in other threads and other libraries use that stream."""
    done = fake_driver.run("""
        import numpy as np
        from numba import cuda
        from fastmlp.kernels.cuda.graphs import Graph

        @cuda.jit("void(float32[::1])")
        def double(x):
            x[0] *= 2

        def queue(stream):
            double[1, 32, stream](x)
            cuda.to_device(np.zeros(3))
            double[1, 32, stream](x)

        stream, x = cuda.stream(), cuda.device_array(1, np.float32)
        Graph(queue)(stream)
        stream.synchronize()
        print("works")
    """)
    assert done.out == "works\n"
    assert [call.kernels for call in done.calls("cuGraphLaunch")] == [2]


def test_descriptors():
    """cuBLASLt returns the attributes that were set, which needs no GPU."""
    try:
        cublaslt.library()
    except ImportError as error:
        pytest.skip(str(error))
    code = cublaslt.RELU | cublaslt.WITH_BIAS | cublaslt.WITH_MASK
    found = cublaslt.descriptor(False, 1, 0, code, (4096, cublaslt.FLOAT32), (8192, mask_stride(200)))
    numbers, addresses = (
        {
            attribute: _attribute(found, attribute, kind) for attribute in attributes
        } for kind, attributes in ((ctypes.c_int32, (3, 4, 7, 26)), (ctypes.c_uint64, (8, 11, 12)))
    )  # fmt: skip
    assert numbers == {
        cublaslt.TRANSPOSE_A: 1,
        cublaslt.TRANSPOSE_B: 0,
        cublaslt.EPILOGUE: 2 + 4 + 128,
        26: cublaslt.FLOAT32,
    }
    assert addresses == {cublaslt.BIAS_POINTER: 4096, cublaslt.AUX_POINTER: 8192, cublaslt.AUX_STRIDE: 256}
    assert _attribute(cublaslt.descriptor(True, 0, 0), 0, ctypes.c_int32) == cublaslt.COMPUTE_FLOAT64
    assert cublaslt.layout(cublaslt.BFLOAT16, 10, 20, 16).value
    assert cublaslt.preference(2**25, (16, 16, 256, 256)).value
    assert ctypes.sizeof(cublaslt.HeuristicResult) == 96


def _attribute(descriptor, attribute, kind):
    value, size = kind(), ctypes.c_size_t()
    cublaslt.call(
        "MatmulDescGetAttribute", descriptor, attribute, ctypes.byref(value), ctypes.sizeof(value), ctypes.byref(size)
    )
    assert size.value == ctypes.sizeof(value)
    return value.value


def test_constants_are_those_of_the_headers():
    """Checked by a C compiler, if it and the headers are installed."""
    names = {
        "CUBLAS_STATUS_ALLOC_FAILED": cublaslt.ALLOC_FAILED, "CUBLAS_STATUS_INVALID_VALUE": cublaslt.INVALID_VALUE,
        "CUBLAS_STATUS_NOT_SUPPORTED": cublaslt.NOT_SUPPORTED, "CUBLAS_OP_T": cublaslt.TRANSPOSE,
        "CUDA_R_32F": cublaslt.FLOAT32, "CUDA_R_64F": cublaslt.FLOAT64, "CUDA_R_16BF": cublaslt.BFLOAT16,
        "CUBLAS_COMPUTE_32F": cublaslt.COMPUTE_FLOAT32, "CUBLAS_COMPUTE_64F": cublaslt.COMPUTE_FLOAT64,
        "CUBLASLT_MATMUL_DESC_TRANSA": cublaslt.TRANSPOSE_A, "CUBLASLT_MATMUL_DESC_TRANSB": cublaslt.TRANSPOSE_B,
        "CUBLASLT_MATMUL_DESC_EPILOGUE": cublaslt.EPILOGUE,
        "CUBLASLT_MATMUL_DESC_BIAS_POINTER": cublaslt.BIAS_POINTER,
        "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER": cublaslt.AUX_POINTER,
        "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD": cublaslt.AUX_STRIDE,
        "CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE": cublaslt.BIAS_TYPE,
        "CUBLASLT_EPILOGUE_DEFAULT": cublaslt.PLAIN, "CUBLASLT_EPILOGUE_BGRADA": cublaslt.BIAS_GRADIENT_OF_A,
        "CUBLASLT_EPILOGUE_RELU_BIAS": cublaslt.RELU | cublaslt.WITH_BIAS,
        "CUBLASLT_EPILOGUE_RELU_AUX": cublaslt.RELU | cublaslt.WITH_MASK,
        "CUBLASLT_EPILOGUE_RELU_AUX_BIAS": cublaslt.RELU | cublaslt.WITH_MASK | cublaslt.WITH_BIAS,
        "CUBLASLT_EPILOGUE_DRELU": cublaslt.RELU_DERIVATIVE,
        "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": cublaslt.WORKSPACE_BYTES,
        **{
            f"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{matrix}_BYTES": code
            for matrix, code in zip("ABCD", cublaslt.MIN_ALIGNMENTS)
        },
        "sizeof(cublasLtMatmulHeuristicResult_t)": ctypes.sizeof(cublaslt.HeuristicResult),
        "offsetof(cublasLtMatmulHeuristicResult_t, state)": cublaslt.HeuristicResult.state.offset,
    }  # fmt: skip
    checks = "\n".join(f'_Static_assert({name} == {value}, "{name}");' for name, value in names.items())
    wheels, compiler = importlib.util.find_spec("nvidia"), shutil.which("cc")
    folders = [f"-I{place}/cu13/include" for place in wheels.submodule_search_locations] if wheels else []
    program = "#include <stddef.h>\n#include <cublasLt.h>\n"
    command = [compiler or "", "-x", "c", "-fsyntax-only", *folders, "-"]
    if not compiler or subprocess.run(command, input=program, text=True, capture_output=True).returncode:
        pytest.skip("needs a C compiler and the header cublasLt.h")
    subprocess.run(command, input=program + checks, text=True, check=True)


def test_layout():
    network = Network((6, 10, 7, 3), ("relu", "relu", "identity"), "squared_error", matmul_precision="medium")
    layout = GemmLayout(network, Features(), 5)
    assert [layout.may_fuse(level) for level in range(3)] == [True, True, False]
    assert layout.strides == [16, 24, 8]  # of 6 + 8, 10 + 8 and 7 numbers
    ones = layout.initial_bf16()[layout.bf16_outputs[1] :][: 5 * 24].reshape(5, 24)
    assert (ones[:, 10:13] == ONE).all() and not ones[:, :10].any() and not ones[:, 13 : 10 + BIAS_ROWS].any()
    starts = [*layout.outputs, *layout.deltas, *layout.bf16_outputs, *layout.bf16_weights, *layout.bf16_deltas]
    assert all(start % 128 == 0 for start in starts)


@pytest.mark.parametrize(
    "change",
    [
        {"activations": ("tanh", "relu", "identity")}, {"skips": (Skip(0, True), None, None)},
        {"skips": (None, None, Skip(1, False))}, {"sizes": (6, 10, 10, 3), "skips": (None, Skip(1, False), None)},
    ],
)  # fmt: skip
def test_only_plain_relus_are_fused(change):
    network = Network((6, 10, 7, 3), ("relu", "relu", "identity"), "squared_error")._replace(**change)
    assert not GemmLayout(network, Features(), 5).may_fuse(0)


@pytest.mark.parametrize("features", [Features(activity=True), Features(noisy=True, dropped=(True, True, False))])
def test_layers_with_penalties_or_dropout_are_not_fused(features):
    network = Network((6, 10, 7, 3), ("relu", "relu", "identity"), "squared_error")
    assert not GemmLayout(network, features, np.int64(5)).may_fuse(0)
