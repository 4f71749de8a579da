"""Tests that run the kernels of backend cuda: in the simulator, or on a GPU if FASTMLP_GPU=1.

A process can use only one of them, so these tests need a process separate from the rest of the suite.
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
        """Replace a module that needs the compiler or the driver."""
        module = ModuleType(f"fastmlp.kernels.cuda.{name}")
        vars(module).update(contents)
        sys.modules[module.__name__] = module
        return module

    simulated("elementary", ELEMENTARY={"float32": {}, "float64": {}})
    from fastmlp.kernels.device_errors import DeviceError, OutOfDeviceMemory

    devices = simulated(
        "devices", DeviceError=DeviceError, OutOfDeviceMemory=OutOfDeviceMemory, driver_errors=nullcontext,
        DEFAULT_SHARED_BYTES=10**9, max_resident_blocks=lambda *given: 3, free_bytes=lambda: 2**30,
    )  # fmt: skip

    import fastmlp.kernels.cuda  # noqa: F401 - the package of the modules above

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
    """Print a failure immediately, because a run on a GPU may be killed before its end.

    After an error that persists, such as an illegal access, all later tests of the process would fail: end the worker,
    which pytest-xdist replaces, or the whole run.
    """
    if not ON_GPU or not report.failed:
        return
    worker = "PYTEST_XDIST_WORKER" in os.environ
    if not worker:
        print(f"\n{report.longreprtext}", flush=True)
    if not hasattr(report, "node") and gpu_is_lost():  # "node": reported by a worker, which has ended itself
        if worker:
            os._exit(1)
        pytest.exit("this process can no longer use the GPU", 1)


def simulated_launcher(kernel, arguments, blocks, threads, shared_bytes):
    return lambda stream, *given: kernel[blocks, threads, stream, shared_bytes](*given)


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Use few threads, because the simulator runs them one after the other; silence NumPy's warnings."""
    if ON_GPU:
        yield
        return
    from numpy_products import NumpyProducts

    from fastmlp.backends import device_arrays
    from fastmlp.kernels.cuda import dispatch, launch, training_strategies
    from fastmlp.kernels.cuda.gemm import cublaslt

    for name in ("BLOCK_THREADS", "GRID_THREADS", "TILE_THREADS"):
        monkeypatch.setattr(dispatch, name, 32)
    monkeypatch.setattr(training_strategies, "make_products", NumpyProducts)
    monkeypatch.setattr(training_strategies, "GRAPHS", False)
    monkeypatch.setattr(cublaslt, "library", lambda: None)
    monkeypatch.setattr(launch, "direct_launcher", simulated_launcher)
    monkeypatch.setattr(launch, "BLOCKS_PER_PROCESSOR", 2)
    monkeypatch.setattr(device_arrays, "check_device", lambda X: None)
    with np.errstate(all="ignore"):
        yield
