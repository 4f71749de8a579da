"""Working memory is bounded by the size of blocks, not by the size of the data."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from fastmlp import MLP, MLPClassifier
from fastmlp.backends import registry

MIB = 2**20


def peak(function):
    tracemalloc.start()
    function()
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def test_dense_input_is_not_copied():
    """The input is C-contiguous float32 of 61 MiB."""
    X = np.zeros((20000, 800), "f4")
    X[:, 0] = np.arange(20000) % 2
    model = MLPClassifier((4,), max_iter=1, tol=1e9, n_iter_no_change=np.inf)
    with pytest.warns(Warning, match="Maximum iterations"):
        assert peak(lambda: model.fit(X, X[:, 0])) < 12 * MIB
    network = MLP([(4, "relu"), (1, "identity")])
    assert peak(lambda: network.fit(X, X[:, 0], epochs=1)) < 12 * MIB


def test_memory_of_a_prediction(backend):
    if backend == "numpy":
        pytest.skip("the reference is simple on purpose: it keeps every layer for all samples")
    X = np.zeros((50000, 10), "f4")
    network = MLP([(200, "relu"), (1, "identity")], backend=backend).build(10)
    network.predict(X[:300])  # compilation
    assert peak(lambda: network.predict(X)) < 4 * MIB  # the hidden layer of all rows would be 38 MiB


@pytest.mark.parametrize("name, limit", [("numpy", 8 * MIB), ("cython", 2 * MIB)])
def test_sparse_input_stays_sparse_or_is_converted_to_dense_in_blocks(monkeypatch, name, limit):
    X = random_sparse(4000, 5000, 1e-3, "csr", "f4", random_state=0)  # 76 MiB when dense
    y = np.arange(4000) % 2
    for module in ("training.epochs", "prediction.predict"):
        monkeypatch.setattr(f"fastmlp.{module}.DENSE_BLOCK_BYTES", MIB)
    model = MLPClassifier((2,), max_iter=1, batch_size=50, backend=name)
    with pytest.warns(Warning, match="Maximum iterations"):
        assert peak(lambda: model.fit(X, y)) < limit
    assert peak(lambda: model.predict(X)) < limit


def test_lbfgs_processes_samples_in_blocks(monkeypatch):
    monkeypatch.setattr("fastmlp.training.lbfgs.BLOCK_BYTES", MIB)
    X = np.random.RandomState(0).standard_normal((20000, 4))
    network = MLP([(200, "tanh"), (1, "identity")], optimizer="lbfgs", dtype="float64")
    assert peak(lambda: network.fit(X, X[:, 0], epochs=2)) < 8 * MIB  # the hidden layer of all rows is 30 MiB


@pytest.mark.parametrize("name", registry.ON_CPU)
def test_memory_mapped_file(tmp_path, name):
    rows = np.random.RandomState(0).standard_normal((300, 3)).astype("f4")
    np.save(tmp_path / "X.npy", rows)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    fitted = [MLP([(1, "identity")], random_state=0, backend=name).fit(X, rows[:, 0]) for X in (rows, mapped)]
    np.testing.assert_array_equal(fitted[0].parameters, fitted[1].parameters)


LIMITED = """
import resource
import numpy as np
from fastmlp import MLP
warm = np.zeros((64, 64), "f4")
def fit(X):
    MLP([(4, "relu"), (1, "identity")], backend={name!r}).fit(X, np.zeros(len(X), "f4"), epochs=1, batch_size=1000)
fit(warm)
with open("/proc/self/status") as status:
    now = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (now + 2**27, now + 2**27))
fit(np.load({path!r}, mmap_mode="r"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory use is read from /proc")
@pytest.mark.parametrize("name", registry.ON_CPU)
def test_memory_mapped_file_larger_than_the_memory(tmp_path, name):
    """366 MiB of data with 128 MiB of memory: no part of a fit copies the data, or makes a mask of its size."""
    path = tmp_path / "X.npy"
    np.lib.format.open_memmap(path, "w+", "f4", (1_500_000, 64))  # a sparse file, which takes no space on the disk
    command = [sys.executable, "-P", "-c", LIMITED.format(path=str(path), name=name)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
