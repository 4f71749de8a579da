"""The parts of a check, most important first, each a command that runs in a separate process."""

import importlib.util
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import limited
from requirements import sanitizer
from rows import ROWS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Each training strategy once: one block, the grid, tiles; tensor cores; cuBLASLt.
STRATEGIES = (
    "test_device_parity.py::test_last_batches_without_weight",
    "test_device_bfloat16.py::test_training_is_close_to_the_rounding_reference",
    "test_gemm.py::test_gradient_equals_the_reference",
)
FEATURES = "test_device_parity.py::test_every_feature_with_every_strategy"
PAIRS = "test_device_parity.py::test_training_equals_the_reference"
OTHER_PARITY = (
    "test_20_steps_in_single_precision", "test_prediction_equals_the_reference",
    "test_dense_forward_and_activation_derivative_equal_the_reference", "test_products_equal_the_reference",
    "test_update_equals_the_reference_step_after_step",
)  # fmt: skip
FILES = "tensor_core", "gemm_products", "gemm", "device_bfloat16", "device_contract"
SANITIZERS = "memcheck", "racecheck", "synccheck"
TEST_SECONDS = 45  # for one test; then pytest prints where it hangs and its process ends
MAX_WORKERS = 15  # each has a context on the GPU, of about half a GB


class Part(NamedTuple):
    """A part: name, kind of result ("smoke", "tests", "row", "torch", "build"), command, and why it cannot run here."""

    name: str
    kind: str
    command: tuple[str, ...]
    obstacle: str = ""


def _script(name, *arguments):
    return (sys.executable, str(HERE / f"{name}.py"), *arguments)


def _tests(name, ids, before=(), obstacle=""):
    """Tests on the GPU, distributed over the cores, because compilation takes most of the time."""
    workers = min(len(os.sched_getaffinity(0)) - 1, MAX_WORKERS)
    spread = ("-p", "xdist", "-n", str(workers)) if importlib.util.find_spec("xdist") and workers > 1 else ()
    # -P: import the copy of fastmlp made by this check, not the source folder. Warnings are not errors here.
    command = (
        *before, sys.executable, "-P", "-m", "pytest", "-v", "-rN", "--tb=short", "-W", "default", "-p",
        "no:cacheprovider", "-o", f"faulthandler_timeout={TEST_SECONDS}", "-o", "faulthandler_exit_on_timeout=true",
        *spread, *(str(ROOT / "tests" / "cuda" / one) for one in ids),
    )  # fmt: skip
    return Part(f"tests: {name}", "tests", command, obstacle or _without("pytest"))


def _without(module):
    return "" if importlib.util.find_spec(module) else f"{module} is not installed"


def all_parts(site):
    """All parts in order; the extension module is built into the folder ``site``."""
    torch, tool = _without("torch"), sanitizer()
    build = (sys.executable, str(ROOT / "setup.py"), "build_ext", "--build-lib", str(site))
    checked = "" if tool else "compute-sanitizer is not installed"
    options = "--error-exitcode", "9", "--target-processes", "all"
    return [
        Part("smoke", "smoke", _script("smoke")),
        _tests("each strategy once", STRATEGIES),
        *(Part(f"row: {name}", "row", _script("time_ours", name)) for name in ROWS),
        _tests("every feature", [FEATURES]),
        *(_tests(name, [f"test_{name}.py"]) for name in FILES),
        _tests("other parity", [f"test_device_parity.py::{name}" for name in OTHER_PARITY]),
        Part("torch: rates", "torch", _script("time_torch"), torch),
        *(Part(f"torch: {name}", "torch", _script("time_torch", name), torch) for name in ROWS),
        Part("extension", "build", build),
        _tests("device_fits", ["test_device_fits.py"]),
        _tests("every pair", [PAIRS]),
        *(
            _tests(name, ["test_device_contract.py"], (tool or "compute-sanitizer", "--tool", name, *options), checked)
            for name in SANITIZERS
        ),
    ]


def environment(site):
    """Environment variables of the parts. PYTHONPATH, which may hold installed packages, comes after ``site``."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return os.environ | {
        "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "FASTMLP_GPU": "1",
        "FASTMLP_LEVELS": "native", "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS": "0",
    }  # fmt: skip


def copy_sources(site):
    """Copy the package to ``site``: backend cuda can be checked before the extension module is built."""
    shutil.rmtree(site / "fastmlp", ignore_errors=True)
    sources = shutil.ignore_patterns("__pycache__", "*.so", "*.pyx", "*.pxi", "kernels")
    shutil.copytree(ROOT / "fastmlp", site / "fastmlp", ignore=sources)
    shutil.copytree(ROOT / "kernels", site / "fastmlp" / "kernels", ignore=sources)


def outcomes(log):
    """({test: "PASSED", "FAILED", "ERROR" or "SKIPPED"}, number of tests collected) from pytest's output."""
    line = r"^(?:\[gw\d+\] \[ *\d+%\] (\w+) )?(\S+::.*?)(?: (PASSED|FAILED|ERROR|SKIPPED).*| Timeout \(.*)?$"
    found = re.findall(line, log, re.MULTILINE)
    results = {test.strip(): before or after for before, test, after in found if before or after}
    number = re.search(r"\b(\d+) items?\b", log)
    return results, int(number[1]) if number else len(results)


def result_of(part, state, log):
    """(state, one-line summary, reported values) of a part, from its output."""
    if re.search(r"\b(ERROR|RACECHECK) SUMMARY: [1-9]", log):  # compute-sanitizer, of any process
        state = "failed"
    results, number = outcomes(log) if part.kind == "tests" else ({}, 0)
    if results:
        counts = Counter(word.lower() for word in results.values())
        counts["no result"] = number - len(results)
        failed = [test for test, word in results.items() if word in ("FAILED", "ERROR")]
        return state, ", ".join(f"{n} {word}" for word, n in counts.items() if n), {"failed": failed}
    if state != "failed":
        return state, "", limited.reported_values(log)
    errors = re.findall(r"^E   (\S.*)", log, re.MULTILINE)  # of pytest, if a file cannot be imported
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return state, next(reversed(errors or lines), ""), limited.reported_values(log)
