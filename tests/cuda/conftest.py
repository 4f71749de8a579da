"""Kernels of backend cuda run here: on a GPU where FASTMLP_GPU=1 asks for it, else in the simulator.

A process has one or the other, so these tests are not for the process that runs the rest of the suite.
"""

import os
import sys
from contextlib import nullcontext
from types import ModuleType

import numpy as np
import pytest

ON_GPU = os.environ.get("FASTMLP_GPU") == "1"
if not ON_GPU:
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    import cuda_simulator
    import cuda_tensor_cores

    cuda_simulator.install(races=True)
    cuda_tensor_cores.install()

    def simulated(name, **contents):
        """A module of the package that needs the compiler or the driver, replaced."""
        module = ModuleType(f"fastmlp.kernels.cuda.{name}")
        vars(module).update(contents)
        sys.modules[module.__name__] = module
        return module

    simulated("elementary", ELEMENTARY={"float32": {}, "float64": {}})
    from fastmlp.kernels.device_errors import DeviceError, OutOfDeviceMemory

    devices = simulated(
        "devices", DeviceError=DeviceError, OutOfDeviceMemory=OutOfDeviceMemory, guarded=nullcontext,
        USUAL_SHARED_BYTES=10**9, most_blocks=lambda *given: 3, free_bytes=lambda: 2**30,
    )  # fmt: skip

    from fastmlp.kernels import cuda as numba_cuda  # noqa: F401 - the package of the modules above

    class Device:
        name, capability, processors, shared_bytes = "a simulated GPU", (9, 0), 3, 232448

    devices.current = lambda: Device


def gpu_is_lost():
    from numba import cuda

    try:
        cuda.synchronize()
    except Exception:
        return True
    return False


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """Print a failure at once, as a run on a GPU may be killed before its end.

    After an error that stays, such as an illegal access, all later tests of the process would fail: pytest-xdist starts
    another process, or the run ends.
    """
    if not ON_GPU or not report.failed:
        return
    worker = "PYTEST_XDIST_WORKER" in os.environ
    if not worker:
        print(f"\n{report.longreprtext}", flush=True)
    if not hasattr(report, "node") and gpu_is_lost():  # "node": from a worker, which has seen to it
        if worker:
            os._exit(1)
        pytest.exit("this process has lost the GPU", 1)


def simulated_launch(kernel, arguments, blocks, threads, shared_bytes):
    return lambda stream, *given: kernel[blocks, threads, stream, shared_bytes](*given)


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Few threads, which the simulator runs one after the other; NumPy's warnings are for people."""
    if ON_GPU:
        yield
        return
    from numpy_products import NumpyProducts

    from fastmlp.backends import device_arrays as device_rows
    from fastmlp.kernels.cuda import dispatch as choice
    from fastmlp.kernels.cuda import launch as launching
    from fastmlp.kernels.cuda import training_ways as steps
    from fastmlp.kernels.cuda.gemm import cublaslt

    for name in ("BLOCK_THREADS", "GRID_THREADS", "TILE_THREADS"):
        monkeypatch.setattr(choice, name, 32)
    monkeypatch.setattr(steps, "make_products", NumpyProducts)
    monkeypatch.setattr(steps, "GRAPHS", False)
    monkeypatch.setattr(cublaslt, "library", lambda: None)
    monkeypatch.setattr(launching, "direct_launch", simulated_launch)
    monkeypatch.setattr(device_rows, "check_is_here", lambda X: None)
    with np.errstate(all="ignore"):
        yield
