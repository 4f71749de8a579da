"""Runs tests in another process: on another machine, or with the settings of one."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Arguments: a backend, the bytes of the vectors that it must use on that machine, and those of pytest.
PROGRAM = """
import sys, pytest
from fastmlp.backends import registry
found = registry.choose(sys.argv[1]).kernels._contract.engine.vector_bytes
if sys.argv[2] not in ("any", str(found)):
    sys.exit(f"backend {sys.argv[1]} uses vectors of {found} bytes, not of {sys.argv[2]}")
sys.exit(pytest.main(sys.argv[3:]))
"""


def run_slice(backend, vector_bytes, files, selected, python=(sys.executable,), environment=(), limit=600):
    """Run the tests of some files of tests/kernels that pytest's ``-k`` selects, in one process.

    Returns (number of tests that passed, list of faults).
    """
    command = [*python, "-P", "-c", PROGRAM, backend, str(vector_bytes)]
    command += [str(ROOT / f"tests/kernels/test_{file}.py") for file in files.split()]
    command += ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-m", "not exhaustive"]
    command += ["-k", f"{backend} and ({selected})"]
    what = f"{' '.join(python[:-1])} {dict(environment)} {files} -k {selected!r}"
    try:
        done = subprocess.run(
            command, env=os.environ | dict(environment), capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return 0, [f"{what}: no end in {limit} s"]
    passed = re.search(r"(\d+) passed", done.stdout)
    wrong = done.returncode != 0 or passed is None
    faults = [f"{what}: code {done.returncode}, {(done.stdout + done.stderr)[-1500:]}"] if wrong else []
    return int(passed[1]) if passed else 0, faults
