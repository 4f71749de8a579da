"""backend="auto" with a GPU, changes of the backend, device arrays, and failing GPUs, through the public API.

The driver is fake (support/fake_driver.py) and computes nothing; everything else is real.
"""

import json
import pwd
import subprocess
import sys
from importlib.util import find_spec

import fake_driver
import numpy as np
import pytest

from fastmlp import MLP, Layer
from fastmlp.backends import cost_model, registry

needs_cuda = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs the extra cuda")
X = np.random.RandomState(0).standard_normal((40, 3)).astype("f4")
START = """
import numpy as np
from numba import cuda
from fastmlp import MLP, Layer, MLPRegressor, load, make_loss
from fastmlp.backends import cost_model

cost_model.gpu_may_be_present = lambda: True
X = np.random.RandomState(0).standard_normal((64, 4)).astype("f4")
Y = X[:, :1].copy()

def attempt(call):
    try:
        return call()
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def fast_gpu(tmp_path):
    """Measured speeds with an hour per step on the CPU."""
    file = tmp_path / "speeds.json"
    speeds = {"gpu": "NVIDIA H200", "cpu": "cython", "cpu_speed": [3600, 0], "gpu_speed": [1e-6, 0]}
    file.write_text(json.dumps(speeds))
    return {"env": {"FASTMLP_SPEEDS": str(file)}}


def run(code, **how):
    return fake_driver.run(START + code, **how).out


@pytest.mark.exhaustive
def test_auto_chooses_a_faster_gpu(fast_gpu):
    out = run("""
print(MLP([Layer(5), Layer(1, "identity")]).fit(X, Y, 10, 16).backend_reason_)
print(MLPRegressor(hidden_layer_sizes=(5,), max_iter=20).fit(X, Y[:, 0]).backend_reason_)
""", **fast_gpu)  # fmt: skip
    assert out.count("operations take about 1e-06 s on the NVIDIA H200 and 3.6e+03 s with 'cython'; one block of") == 2


@pytest.mark.exhaustive
def test_auto_does_not_choose_the_gpu_for_functions_that_numba_cannot_compile(fast_gpu):
    out = run("""
own = (lambda z: np.abs(z), lambda z: np.sign(z))
model = MLP([Layer(5, own), Layer(1, "identity")], random_state=0).fit(X, Y, 10, 16)
print(model.backend, model.backend_reason_)
print(MLPRegressor(hidden_layer_sizes=(5,), activation=own, max_iter=20).fit(X, Y[:, 0]).backend_)
attempt(lambda: MLP([Layer(5, own), Layer(1, "identity")], backend="cuda").build(4))
""", **fast_gpu)  # fmt: skip
    first, second, third = out.splitlines()
    assert first.startswith("cython compiled ahead of time")
    assert "the GPU cannot be used: Numba cannot compile <lambda>: use only numbers and functions of" in first
    assert second == "cython"
    assert third.startswith("ValueError Numba cannot compile <lambda>")


@pytest.mark.exhaustive
def test_auto_does_not_choose_the_gpu_for_losses_of_single_outputs(fast_gpu):
    out = run("""
levels, twice = make_loss("quantile", quantile=[0.1, 0.9]), np.hstack([Y, Y])
print(MLP([Layer(2, "identity")], levels).fit(X, Y, 10, 16).backend)
print(MLP([Layer(2, "identity")]).fit(X, twice, 10, 16, sample_weight=np.ones((64, 2))).backend)
print(MLPRegressor(levels, (5,), max_iter=20).fit(X, Y[:, 0]).backend_)
""", **fast_gpu)  # fmt: skip
    assert out.split() == ["cython"] * 3


@pytest.mark.exhaustive
def test_auto_with_precisions_of_products(fast_gpu):
    """The GPU has no products in high precision."""
    out = run("""
for precision in ("highest", "medium", "high"):
    model = MLP([Layer(5), Layer(1, "identity")], matmul_precision=precision).fit(X, Y, 10, 16)
    other = MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, matmul_precision=precision).fit(X, Y[:, 0])
    print(model.backend, other.backend_)
print(model.backend_reason_)
""", **fast_gpu)  # fmt: skip
    *found, reason = out.splitlines()
    assert found == ["cuda cuda", "cuda cuda", "cython cython"]
    assert "the GPU cannot be used: matmul_precision 'high' is not available" in reason


@pytest.mark.exhaustive
def test_device_arrays_are_copied_to_the_host_if_the_cpu_is_chosen(fast_gpu):
    out = run("""
model, there = MLP([Layer(5), Layer(1, "identity")]), cuda.to_device(X)
print(model.fit(there, Y, 10, 16, validation_data=(there, Y)).backend)
cost_model.load = lambda: None
print(model.fit(there, Y, 1, 16, validation_data=(there, Y)).backend, model.epoch)
""", **fast_gpu)  # fmt: skip
    assert out.splitlines() == ["cuda", "cython 11"]


@pytest.mark.parametrize("damage", [
    {"gpu": None}, {"cpu_speed": [1]}, {"gpu_speed": [-1, 0]}, {"gpu_speed": ["nan", 0]}, {"cpu_speed": [1, "inf"]},
])  # fmt: skip
def test_damaged_speed_files_are_ignored(monkeypatch, tmp_path, damage):
    speeds = {"gpu": "G", "cpu": "cython", "cpu_speed": [1, 1], "gpu_speed": [1, 1]}
    monkeypatch.setattr(cost_model, "FILE", tmp_path / "speeds.json")
    cost_model.FILE.write_text(json.dumps(speeds))
    assert cost_model.load()["gpu"] == "G"
    speeds |= damage
    cost_model.FILE.write_text(json.dumps({name: value for name, value in speeds.items() if value is not None}))
    assert cost_model.load() is None
    cost_model.FILE.write_text("[" * 100_000)
    assert cost_model.load() is None


def test_settings_folder_without_a_home_folder(monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert cost_model._settings_folder().name == ".config"


@pytest.mark.exhaustive
def test_training_continues_on_another_backend_after_a_failure(tmp_path):
    out = run(f"""
model = MLP([Layer(5), Layer(1, "identity")], backend="cuda", random_state=0)
attempt(lambda: model.fit(X, Y, 9, 16))
model.save({str(tmp_path / "m")!r})
for again in (model, load({str(tmp_path / "m")!r})):
    again.backend = "cython"
    print(again.predict(X).shape, again.fit(X, Y, 1).epoch, again.backend_reason_)
""", fail="cuLaunchKernel*:700:5:later")  # fmt: skip
    error, *others = out.splitlines()
    assert "The weights from before the failed call are kept: save the model." in error
    assert others == ["(64, 1) 5 requested"] * 2


@pytest.mark.exhaustive
def test_the_command_line_saves_the_model_if_the_gpu_fails(tmp_path):
    done = fake_driver.run(f"""
import os
os.chdir({str(tmp_path)!r})
from fastmlp.cli.main import main
main(["train", "iris", "--backend", "cuda", "--epochs", "6", "--quiet"])
""", fail="cuLaunchKernel*:700:5:later", check=False)  # fmt: skip
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "saved in model.fastmlp" in done.err
    assert done.err.splitlines()[-1].startswith("Error: the GPU failed")
    assert (tmp_path / "model.fastmlp").exists()


OF_TORCH = """
class Tensor:
    '''Like a torch tensor that requires gradients: it refuses to be exported.'''
    def __init__(self, there): self.there = there
    def __dlpack_device__(self): return 2, 0
    def detach(self): return self.there
    __cuda_array_interface__ = property(lambda self: exec("raise RuntimeError('requires grad')"))
    shape, ndim = (64, 4), 2
"""


@pytest.mark.exhaustive
def test_device_arrays_of_other_libraries():
    out = run(OF_TORCH + """
model = MLP([Layer(5), Layer(1, "identity")], backend="cuda", random_state=0).build(4)
print(model.fit(Tensor(cuda.to_device(X)), Y, 1).epoch)
class Malformed:
    shape, ndim = (64, 4), 2
    __cuda_array_interface__ = {}
attempt(lambda: model.fit(Malformed(), Y, 1))
check = cuda.get_current_device
cuda.get_current_device = lambda: type("Other", (), {"id": 1})
attempt(lambda: model.fit(cuda.to_device(X), Y, 1))
""")  # fmt: skip
    first, second, third = out.splitlines()
    assert first == "1"
    assert second.startswith("ValueError the Malformed is on a GPU but cannot be read: ")
    assert third == "ValueError X is on GPU 0, but models use GPU 1: move X there, or to the host."


@needs_cuda
def test_device_arrays_without_a_driver():
    class Tensor:
        __cuda_array_interface__ = {"shape": (64, 4)}

    if registry.why_not("cuda") is None:
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match="Tensor is on a GPU, which cannot be used: no NVIDIA GPU was found"):
        MLP([Layer(1, "identity")]).fit(Tensor(), X[:, :1])


@needs_cuda
def test_error_for_a_missing_package_says_how_to_install_it(tmp_path):
    """Run in a new process, because the packages may already be imported in this one."""
    code = """
import importlib.util
from fastmlp import MLP
from fastmlp.backends import registry

real = importlib.util.find_spec
for package in ("numba_cuda", "cuda.core", "cuda.bindings", "cuda.pathfinder"):
    importlib.util.find_spec = lambda name, *rest: None if name == package else real(name, *rest)
    registry.why_not.cache_clear()
    try:
        MLP([(1, "identity")], backend="cuda")
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    told = done.stdout.splitlines()
    assert len(told) == 4, done.stderr
    for message, name in zip(told, ("numba-cuda", "cuda-core", "cuda-bindings", "cuda-pathfinder")):
        assert f"does not work here: it needs the package {name}: pip install 'fastmlp[cuda]'" in message


@pytest.mark.parametrize("dtype", ["bf16", "BFLOAT16", 42, ["bfloat16"], "float16", None])
def test_invalid_dtypes(dtype):
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got"):
        MLP([Layer(1, "identity")], dtype=dtype)


def test_the_backend_can_be_changed_between_fits():
    model = MLP([Layer(6, "tanh"), Layer(1, "identity")], backend="numpy", random_state=0).fit(X, X[:, :1], 1)
    model.backend = "cython"
    again = MLP([Layer(6, "tanh"), Layer(1, "identity")], backend="cython", random_state=0).fit(X, X[:, :1], 1)
    np.testing.assert_allclose(model.fit(X, X[:, :1], 1).parameters, again.fit(X, X[:, :1], 1).parameters, rtol=1e-4)
