"""The fake CUDA driver behaves as numba-cuda, cuda.core and cuda.bindings expect."""

import re
import struct
import textwrap

import fake_driver
import pytest

pytestmark = pytest.mark.exhaustive
PREAMBLE = """
import ctypes
import numpy as np
import cuda.core as core
from cuda.bindings import driver
from numba import cuda, float32

def check(returned):
    code, *rest = returned
    if code != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(code.name)
    return rest[0] if len(rest) == 1 else rest

def attempt(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        print(f"{type(error).__module__}.{type(error).__name__}|{error}")
    else:
        print("no error")

def scale():
    @cuda.jit("void(float32[::1], float32, int32)")
    def scale(x, factor, n):
        i = cuda.grid(1)
        if i < n:
            x[i] *= factor
    return scale

def wave():
    @cuda.jit("void(float32[::1])")
    def wave(x):
        shared = cuda.shared.array(0, float32)
        i = cuda.grid(1)
        shared[cuda.threadIdx.x] = x[i]
        cuda.cg.this_grid().sync()
        x[i] = shared[cuda.threadIdx.x] + 1
    return wave

def compiled(dispatcher):
    return dispatcher.overloads[dispatcher.signatures[0]]

def function(dispatcher):
    return compiled(dispatcher)._codelibrary.get_cufunc()
"""


def run(code, **options):
    return fake_driver.run(PREAMBLE + textwrap.dedent(code), **options)


def bits(value):
    return int.from_bytes(struct.pack("<f", value), "little")


def test_device():
    done = run("""
        assert cuda.is_available() and cuda.detect()
        device = cuda.get_current_device()
        print(device.name, device.compute_capability, device.MULTIPROCESSOR_COUNT)
        print(device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, cuda.current_context().get_memory_info().total)
    """)
    assert "NVIDIA H200 ComputeCapability(major=9, minor=0) 132\n232448 150109618176\n" in done.out


def test_round_trip():
    done = run("""
        rows = np.arange(12.0).reshape(3, 4)
        stream = cuda.stream()
        on_device = cuda.to_device(rows, stream=stream)
        assert (on_device.copy_to_host(stream=stream) == rows).all()
        assert not (cuda.device_array(4).copy_to_host() == 0).any()
        pinned = cuda.pinned_array(4, np.float32)
        pinned[:] = 7
        assert (cuda.to_device(pinned).copy_to_host() == 7).all()
    """)
    assert [call.bytes for call in done.calls("cuMemcpy*Async")] == [96, 96]


def test_launch():
    done = run("""
        stream = cuda.stream()
        x = cuda.to_device(np.ones(100, np.float32))
        print(x.device_ctypes_pointer.value, int(stream))
        kernel = scale()
        kernel[4, 32](x, 2.5, 100)
        kernel[(5, 2), (16, 4), stream, 1024](x, -1.0, 99)
        cuda.synchronize()
    """)
    pointer, stream = map(int, done.out.split())
    first, second = done.launches()
    assert done.kernels() == ["scale", "scale"]
    assert (first.grid, first.block, first.shared, first.stream) == ((4, 1, 1), (32, 1, 1), 0, 0)
    assert (second.grid, second.block, second.shared, second.stream) == ((5, 2, 1), (16, 4, 1), 1024, stream)
    assert first.args == (0, 0, 100, 4, pointer, 100, 4, bits(2.5), 100)
    assert second.args[-2:] == (bits(-1.0), 99)
    assert not first.cooperative
    assert not done.errors()


def test_launch_through_core():
    done = run("""
        stream = cuda.stream()
        x = cuda.to_device(np.ones(100, np.float32))
        array = (0, 0, x.size, x.dtype.itemsize, x.device_ctypes_pointer.value, *x.shape, *x.strides)
        config = core.LaunchConfig(grid=4, block=32)
        kernel = function(scale()).kernel
        assert kernel.num_arguments == len(array) + 2
        core.launch(core.Stream.from_handle(int(stream)), config, kernel, *array, np.float32(2.5), np.int32(100))
        scale()[4, 32, stream](x, 2.5, 100)
    """)
    ours, numbas = done.launches()
    assert ours.args == numbas.args
    assert ours.stream == numbas.stream > 0


def test_cooperative_launch():
    done = run("""
        stream = cuda.stream()
        kernel = wave()
        x = cuda.to_device(np.ones(132 * 256, np.float32))
        print(compiled(kernel).max_cooperative_grid_blocks(256, 40000))
        kernel[132, 256, stream, 40000](x)
        attempt(lambda: kernel[132 * 8, 256, stream, 40000](x))
    """)
    blocks, error = done.out.splitlines()
    assert int(blocks) == 132 * 5
    assert error == "builtins.ValueError|The specified grid size (1056 * 1 * 1) exceeds the limit (660)"
    (launch,) = done.launches()
    assert launch.cooperative
    assert launch.kernel == "wave"


def test_more_shared_memory():
    done = run("""
        kernel = wave()
        stream = cuda.stream()
        x = cuda.to_device(np.ones(132 * 256, np.float32))
        most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        print(compiled(kernel).max_cooperative_grid_blocks(256, 200_000))
        check(driver.cuKernelSetAttribute(most, 200_000, function(kernel).handle, cuda.get_current_device().id))
        print(compiled(kernel).max_cooperative_grid_blocks(256, 200_000))
        kernel[132, 256, stream, 200_000](x)
        attempt(lambda: check(driver.cuKernelSetAttribute(most, 228 * 1024, function(kernel).handle, 0)))
        attempt(scale()[1, 32, stream, 50_000], x, 1.0, 1)
    """)
    before, after, too_much, unasked = done.out.splitlines()
    assert (int(before), int(after)) == (0, 132)
    assert too_much == "builtins.RuntimeError|CUDA_ERROR_INVALID_VALUE"
    assert unasked.startswith("cuda.core._utils.cuda_utils.CUDAError|CUDA_ERROR_INVALID_VALUE: ")
    assert done.launches()[0].shared == 200_000


def test_graph():
    done = run("""
        stream = cuda.stream()
        handle = driver.CUstream(int(stream))
        x, y = (cuda.to_device(np.full(100, value, np.float32)) for value in (1, 2))
        kernel = scale()
        check(driver.cuStreamBeginCapture(handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        kernel[4, 32, stream](x, 2.5, 100)
        x.copy_to_device(y, stream=stream)
        kernel[4, 32, stream](y, 2.5, 100)
        graph = check(driver.cuStreamEndCapture(handle))
        assert (x.copy_to_host() == 1).all(), "captured, not done"
        replay = check(driver.cuGraphInstantiate(graph, 0))
        check(driver.cuGraphDestroy(graph))
        check(driver.cuGraphUpload(replay, handle))
        for _ in range(3):
            check(driver.cuGraphLaunch(replay, handle))
        stream.synchronize()
        assert (x.copy_to_host() == 2).all()
        check(driver.cuGraphExecDestroy(replay))
    """)
    assert [(call.kernel, call.captured) for call in done.launches()] == [("scale", 1)] * 2
    assert [(call.nodes, call.kernels) for call in done.calls("cuGraphLaunch")] == [(3, 2)] * 3
    assert not done.errors()


@pytest.mark.parametrize(
    "forbidden, error",
    [
        ("cuda.device_array(10)", "STREAM_CAPTURE_UNSUPPORTED"),
        ("stream.synchronize()", "STREAM_CAPTURE_UNSUPPORTED"),
        ("cuda.synchronize()", "STREAM_CAPTURE_UNSUPPORTED"),
        ("x.copy_to_host()", "STREAM_CAPTURE_IMPLICIT"),
        ("kernel[4, 32](x, 2.5, 100)", "STREAM_CAPTURE_IMPLICIT"),
    ],
)
def test_forbidden_in_capture(forbidden, error):
    done = run(f"""
        stream = cuda.stream()
        handle = driver.CUstream(int(stream))
        x = cuda.to_device(np.ones(100, np.float32))
        kernel = scale()
        check(driver.cuStreamBeginCapture(handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        attempt(lambda: {forbidden})
        attempt(lambda: check(driver.cuStreamEndCapture(handle)))
        kernel[4, 32, stream](x, 2.5, 100)
    """)
    first, lost = done.out.splitlines()
    assert f"CUDA_ERROR_{error}" in first
    assert lost == "builtins.RuntimeError|CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


def test_events():
    done = run("""
        stream = cuda.stream()
        begin, end = cuda.event(), cuda.event()
        begin.record(stream)
        scale()[4, 32, stream](cuda.to_device(np.ones(100, np.float32)), 2.5, 100)
        end.record(stream)
        end.synchronize()
        assert end.query()
        assert begin.elapsed_time(end) > 0
        attempt(begin.elapsed_time, cuda.event())
    """)
    assert "CUDA_ERROR_INVALID_HANDLE" in done.out


def test_out_of_memory():
    done = run(
        """
        x = cuda.to_device(np.ones(100_000, np.float32))
        attempt(lambda: cuda.to_device(np.ones(200_000, np.float32)))
        print(cuda.current_context().get_memory_info())
        del x
        cuda.to_device(np.ones(200_000, np.float32))
        """,
        memory=1_000_000,
    )
    error, info = done.out.splitlines()
    assert error == (
        "numba.cuda.cudadrv.driver.CudaAPIError|[<CUresult.CUDA_ERROR_OUT_OF_MEMORY: 2>] "
        "Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"
    )
    assert info == "MemoryInfo(free=600000, total=1000000)"
    # Numba processes its pending deallocations, then tries again.
    assert done.errors() == [("cuMemAlloc", 2)] * 2


def test_copy_beyond_memory():
    done = run("""
        x = cuda.to_device(np.ones(100, np.float32))
        attempt(lambda: check(driver.cuMemcpyDtoH(np.empty(101, np.float32), x.device_ctypes_pointer.value, 404)))
    """)
    assert done.out == "builtins.RuntimeError|CUDA_ERROR_INVALID_VALUE\n"


FAILING = """
stream = cuda.stream()
x = cuda.to_device(np.ones(100, np.float32))
kernel = scale()
for _ in range(3):
    attempt(kernel[4, 32, stream], x, 2.5, 100)
attempt(stream.synchronize)
attempt(x.copy_to_host)
"""


@pytest.mark.parametrize(
    "code, name",
    [(700, "ILLEGAL_ADDRESS"), (719, "LAUNCH_FAILED"), (702, "LAUNCH_TIMEOUT"), (214, "ECC_UNCORRECTABLE")],
)
def test_failing_kernel(code, name):
    """The launch succeeds, the synchronisation fails, and so does everything after it."""
    done = run(FAILING, fail=f"cuLaunch*:{code}:2:later")
    *launches, wait, copy = done.out.splitlines()
    assert launches == ["no error"] * 3
    error = f"numba.cuda.cudadrv.driver.CudaAPIError|[<CUresult.CUDA_ERROR_{name}: {code}>] Call to"
    assert wait == f"{error} cuStreamSynchronize results in CUDA_ERROR_{name}"
    assert copy == f"{error} cuMemcpyDtoH results in CUDA_ERROR_{name}"


def test_failing_launch():
    done = run(FAILING, fail="cuLaunchKernel*:700:2")
    first, second, third, wait, _ = done.out.splitlines()
    assert first == "no error"
    assert second == third
    assert second.startswith("cuda.core._utils.cuda_utils.CUDAError|CUDA_ERROR_ILLEGAL_ADDRESS: ")
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in wait


def test_launch_without_resources():
    """Other calls still work if only a launch fails."""
    done = run(FAILING, fail="cuLaunch*:701:2")
    assert [line == "no error" for line in done.out.splitlines()] == [True, False, True, True, True]


def test_control_from_inside():
    done = run("""
        x = cuda.to_device(np.ones(100, np.float32))
        ctypes.CDLL("libcuda.so.1").fake_cuda_fail(b"cuMemAlloc:2,cuMemcpyDtoH:999:1")
        attempt(lambda: cuda.to_device(np.ones(100, np.float32)))
        attempt(x.copy_to_host)
        attempt(x.copy_to_host)
    """)
    assert re.findall(r"CUDA_ERROR_\w+: \d+|no error", done.out) == [
        "CUDA_ERROR_OUT_OF_MEMORY: 2",
        "CUDA_ERROR_UNKNOWN: 999",
        "no error",
    ]


def test_no_device():
    done = run("print(cuda.is_available(), cuda.cuda_error())\nattempt(cuda.detect)", devices=0)
    text = "Call to cuInit results in CUDA_ERROR_NO_DEVICE (<CUresult.CUDA_ERROR_NO_DEVICE: 100>)"
    error = "numba.cuda.cudadrv.error.CudaSupportError|Error at driver init: "
    assert done.out == f"False {text}\n{error}\n{text}:\n"


def test_old_driver():
    """Numba reports an error only when it loads a kernel."""
    done = run(
        """
        print(cuda.is_available(), check(driver.cuDriverGetVersion()))
        attempt(scale)
        """,
        driver_version=12020,
    )
    first, second = done.out.splitlines()
    assert first == "True 12020"
    assert second.startswith("cuda.core._utils.cuda_utils.CUDAError|CUDA_ERROR_INVALID_IMAGE: ")
    assert "cuda-bindings was built for CUDA major version 13" in done.err


def test_busy_device():
    done = run("print(cuda.is_available())\nattempt(cuda.stream)", fail="cuDevicePrimaryCtxRetain:46")
    available, error = done.out.splitlines()
    assert available == "True"
    assert error.startswith("cuda.core._utils.cuda_utils.CUDAError|CUDA_ERROR_DEVICE_UNAVAILABLE: ")
