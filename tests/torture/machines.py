"""Tests of the kernels as other x86-64 processors run them, and calls with 1, 2, 3 and 64 threads.

The processors are levels of the instruction set (FASTMLP_LEVEL), models of QEMU, in which an instruction that the
model lacks ends the process, and those that Numba is told to compile for. The calls of random networks must give the
same bits for every number of threads.
"""

import json
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slices import run_slice

SIZES = {"all_tests": False, "networks": 2}, {"all_tests": True, "networks": 40}
FIGURE = "{tests} tests on {machines} kinds of processor, {comparisons} comparisons of {networks} networks by threads"
PROGRAM = Path(__file__).with_name("many_threads.py")
LIMIT = 240  # seconds for the networks: 64 threads on two cores must not stop each other

EMULATOR = "qemu-x86_64-static"
# Files of tests/kernels and what pytest's -k selects of them; None: not in the short form.
PRODUCTS, ALL = ("parity", "products_equal"), ("parity features sparse_rows", "cython")
REDUCED = "parity matmul_precision", "products_equal or same_bits"
SOME = "parity matmul_precision", "products_equal or update or dense or same_bits"
# (backend, bytes of its vectors, the processor, its settings, tests in the short form, in the long one)
PROCESSORS = (
    ("cython", 16, None, {"FASTMLP_LEVEL": "baseline"}, PRODUCTS, ALL),
    ("cython", "any", None, {"FASTMLP_LEVEL": "x86_64_v3"}, None, ALL),
    ("cython", "any", None, {}, None, ALL),
    ("cython", 16, "Nehalem", {}, None, SOME),
    ("cython", 32, "Haswell", {}, PRODUCTS, SOME),
    ("numba", 16, None, {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}, None, REDUCED),
    ("numba", 32, None, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, None, REDUCED),
)


def run(size, seed, folder):
    if platform.machine() != "x86_64":
        pytest.skip("models of x86-64 processors need an x86-64 machine")
    if size["all_tests"] and shutil.which(EMULATOR) is None:
        raise RuntimeError(f"there is no {EMULATOR}: on Debian, apt-get install qemu-user-static")
    with ThreadPoolExecutor(2) as pool:
        by_threads = pool.submit(compare_threads, size["networks"], seed)
        rows = list(pool.map(lambda row: on_processor(*row, size["all_tests"], folder), PROCESSORS))
    counts = by_threads.result() | {"tests": sum(n for n, _ in rows), "machines": sum(n > 0 for n, _ in rows)}
    return counts | {"faults": [fault for _, found in rows for fault in found] + counts["faults"]}


def compare_threads(n_networks, seed):
    """Counts of many_threads.py."""
    program = [sys.executable, "-P", str(PROGRAM), str(n_networks), str(seed)]
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"networks": 0, "comparisons": 0, "faults": [f"{program} did not end in {LIMIT} s"]}
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def on_processor(backend, vector_bytes, model, settings, few, many, all_tests, folder):
    """(number of tests, faults) on one processor. Without the emulator the short form leaves its models out."""
    slice = many if all_tests else few
    if slice is None or (model is not None and shutil.which(EMULATOR) is None):
        return 0, []
    python = (sys.executable,) if model is None else (EMULATOR, "-cpu", model, sys.executable)
    environment = settings | {"NUMBA_CACHE_DIR": str(folder)}
    return run_slice(backend, vector_bytes, *slice, python, environment)
