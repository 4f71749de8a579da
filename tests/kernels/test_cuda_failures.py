"""Errors of backend cuda: if it cannot be used, or fails later. The weights on the host must not change.

Everything but the driver is real (support/fake_driver.py): kernels are compiled, linked, loaded and launched, and do
nothing.
"""

import re
import subprocess
import sys

import fake_driver
import pytest

from fastmlp.backends import registry


def exhaustively(*values):
    return pytest.param(*values, marks=pytest.mark.exhaustive)


FIT = """
import numpy as np
from fastmlp import MLP

X = np.random.RandomState(0).standard_normal((64, 4)).astype("f4")
model = MLP([(8, "relu"), (1, "identity")], backend="cuda", random_state=0).build(4)
before = model.parameters.copy()
try:
    model.fit(X, X[:, :1], {epochs}, batch_size={batch_size})
except Exception as error:
    print(type(error).__name__, error)
    model.save("m.fastmlp")
    print("kept", all(np.array_equal(m.parameters, before) for m in (model, MLP.load("m.fastmlp"))))
else:
    print("fitted", model.backend_reason_)
"""


def fit(tmp_path, epochs=2, batch_size=16, **steer):
    code = FIT.format(epochs=epochs, batch_size=batch_size)
    return fake_driver.run(f"import os; os.chdir({str(tmp_path)!r})\n" + code, **steer)


def test_without_a_driver_the_error_names_what_is_missing(tmp_path):
    code = "from fastmlp import MLP; MLP([(1, 'identity')], backend='cuda')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    if run.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert re.search("backend 'cuda' does not work here: .*(no NVIDIA GPU was found|numba-cuda)", run.stderr)
    assert "backend='auto' chooses one that works" in run.stderr
    assert registry.choose("auto").name == "cython"


@pytest.mark.parametrize(
    "steer, message",
    [
        (
            {"devices": 0},
            "no NVIDIA GPU was found .*CUDA_ERROR_NO_DEVICE.*; a GPU and a driver for CUDA 13 are required",
        ),
        exhaustively(
            {"driver_version": 12020}, r"driver supports CUDA 12\.2, but CUDA 13\.0 is required: install driver 580"
        ),
        exhaustively({"fail": "cuDevicePrimaryCtxRetain:46"}, "cannot be used: .*DEVICE_UNAVAILABLE.*nvidia-smi"),
        exhaustively({"fail": "cuInit:999"}, "no NVIDIA GPU was found .*CUDA_ERROR_UNKNOWN"),
    ],
)
def test_an_unusable_gpu_is_explained(tmp_path, steer, message):
    run = fit(tmp_path, check=False, **steer)
    assert "ImportError: backend 'cuda' does not work here: " in run.err
    assert re.search(message, run.err)


@pytest.mark.exhaustive
def test_launches_do_not_grow_with_steps(tmp_path):
    """An epoch is a single launch."""
    for batch_size in (16, 1):
        run = fit(tmp_path, batch_size=batch_size, epochs=3)
        assert run.out.startswith("fitted requested; one block of")
        assert run.kernels() == ["train"] * 3
        assert run.errors() == []


@pytest.mark.parametrize(
    "fail, message",
    [
        ("cuMemAlloc*:2", "OutOfDeviceMemory the GPU is out of memory. Use a smaller batch_size"),
        exhaustively("cuLaunchKernel*:700:1:later", "DeviceError the GPU failed: .*CUDA_ERROR_ILLEGAL_ADDRESS"),
        exhaustively("cuLaunchKernel*:719:1", "DeviceError the GPU failed: .*CUDA_ERROR_LAUNCH_FAILED"),
        exhaustively("cuLaunchKernel*:214:2:later", "DeviceError the GPU failed: .*CUDA_ERROR_ECC_UNCORRECTABLE"),
        exhaustively("cuMemcpyDtoH*:999:1", "DeviceError the GPU failed: .*CUDA_ERROR_UNKNOWN"),
    ],
)
def test_a_failure_is_reported_once_and_keeps_the_weights(tmp_path, fail, message):
    """The model can be saved and loaded, in the same process."""
    run = fit(tmp_path, fail=fail)
    assert re.match(message, run.out)
    assert run.out.splitlines()[1] == "kept True"


@pytest.mark.exhaustive
def test_cached_memory_is_freed_and_the_call_repeated(tmp_path):
    run = fit(tmp_path, fail="cuMemAlloc*:2:9")
    assert run.out.startswith("fitted")
    assert ("cuMemAlloc", 2) in run.errors()
