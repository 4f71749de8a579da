"""What a user waits for: importing, and the first fit of a fresh process."""

import os
import statistics
import subprocess
import sys

import pytest

IMPORT = "import time; {before}; start = time.perf_counter(); {what}; print(time.perf_counter() - start)"
FIT = """
import time, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_iris
from {package} import MLPClassifier
X, y = load_iris(return_X_y=True)
model = MLPClassifier((16,), max_iter=200, n_iter_no_change=1000, batch_size={batch}, random_state=0{more})
start = time.perf_counter()
model.fit(X, y)
print(time.perf_counter() - start)
"""


def seconds(script, **environment):
    command = [sys.executable, "-P", "-c", script]
    environment = {**os.environ, **environment}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what pip installs has its bytecode beside it
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(result.stdout)


def in_turn(scripts, rounds=5):
    for script in scripts.values():
        seconds(script)  # writes bytecode where it is missing
    times = [[seconds(script) for script in scripts.values()] for _ in range(rounds)]
    return dict(zip(scripts, map(statistics.median, zip(*times))))


def bench_import(benchmark):
    """``from fastmlp import MLPClassifier`` after ``import sklearn.base``."""
    script = IMPORT.format(before="import sklearn.base", what="from fastmlp import MLPClassifier")
    benchmark.extra_info["seconds"] = benchmark.pedantic(in_turn, ({"fastmlp": script},), rounds=1)


@pytest.mark.parametrize("batch", ["'auto'", 32, 1])
def bench_first_fit(benchmark, batch):
    """Iris, 150 rows, 4-16-3, 200 epochs."""
    packages = {"fastmlp": "fastmlp", "scikit-learn": "sklearn.neural_network"}
    scripts = {name: FIT.format(package=package, batch=batch, more="") for name, package in packages.items()}
    benchmark.extra_info["seconds"] = benchmark.pedantic(in_turn, (scripts,), rounds=1)


def bench_numba_cache(benchmark, tmp_path):
    """The same fit with Numba: everything compiled, and in the next process."""
    script = FIT.format(package="fastmlp", batch=32, more=", backend='numba'")

    def cold_and_warm():
        return {run: seconds(script, NUMBA_CACHE_DIR=str(tmp_path)) for run in ("numba, cold", "numba, warm")}

    benchmark.extra_info["seconds"] = benchmark.pedantic(cold_and_warm, rounds=1)
