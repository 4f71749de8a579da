"""Tests of the kernels on an emulated aarch64 machine, for which the extension is cross-compiled.

aarch64_machine.py says what this needs and how it is prepared. Both compiled backends are compared with the reference
there, and the extension must multiply by NEON's fused instruction (fmla).
"""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import aarch64_machine
import pytest
from slices import run_slice

SIZES = "short", "long"
FIGURE = "{tests} tests passed on aarch64; {fmla} vector instructions fmla in the extension"
# Backend, files of tests/kernels, what pytest's -k selects of them. Each is a process, two at a time.
SLICES = {
    "short": (("cython", "parity", "products_equal"),),
    "long": (
        ("cython", "parity sparse_rows", "products_equal or update or dense or sparse or (20_steps and adam)"),
        ("cython", "features matmul_precision", "training_equals or prediction_equals or same_bits"),
        ("numba", "parity", "products_equal"),
    ),
}
LIMIT = 420  # seconds of one process
VECTORS = re.compile(r"\bfmla\s+v\d+\.(4s|2d)")


def run(size, seed, folder):
    reason = aarch64_machine.why_not()
    if size == "short":
        if reason is None and not aarch64_machine.is_prepared():
            reason = "tests/torture/aarch64_machine.py has not been run, which downloads an aarch64 system"
        if reason is not None:
            pytest.skip(reason)
    if reason is not None:
        raise RuntimeError(reason)
    aarch64_machine.prepare()
    site = aarch64_machine.built()
    disassembly = ["aarch64-linux-gnu-objdump", "-d", aarch64_machine.extension(site)]
    n_fmla = len(VECTORS.findall(subprocess.run(disassembly, check=True, capture_output=True, text=True).stdout))
    python, environment = aarch64_machine.interpreter(), aarch64_machine.environment(site)
    environment["NUMBA_CACHE_DIR"] = str(folder)
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda row: run_slice(row[0], 16, *row[1:], python, environment, LIMIT), SLICES[size]))
    faults = [fault for _, found in rows for fault in found]
    if n_fmla == 0:
        faults.append("the extension has no fmla of vectors: its products are not fused")
    return {"tests": sum(n for n, _ in rows), "fmla": n_fmla, "faults": faults}
