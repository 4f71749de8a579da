"""Machines that fastmlp does not run on are refused, and Numba's vectors are those of the processor it compiles for."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = {
    "32-bit little-endian": "struct.calcsize = lambda format, size=struct.calcsize: size(format) // 2",
    "64-bit big-endian": "sys.byteorder = 'big'",
}


def run(script, **options):
    return subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, **options)


@pytest.mark.parametrize("kind", PATCHES)
def test_import_on_a_machine_of_the_wrong_kind_is_refused(kind):
    done = run(f"import struct, sys\n{PATCHES[kind]}\nimport fastmlp")
    assert done.returncode == 1
    assert re.search(f"ImportError: fastmlp needs a 64-bit little-endian Python.* is a {kind} one", done.stderr)


@pytest.mark.parametrize("kind", PATCHES)
def test_a_build_on_a_machine_of_the_wrong_kind_is_refused(kind):
    """Before anything is compiled or written."""
    script = f"""
import runpy, struct, sys
import setuptools, Cython.Build
{PATCHES[kind]}
sys.argv = ["setup.py", "--version"]
runpy.run_path("setup.py", run_name="__main__")
"""
    done = run(script, cwd=ROOT)
    assert done.returncode == 1
    assert re.fullmatch(f"fastmlp needs a 64-bit little-endian Python.* is a {kind} one\\.\n", done.stderr)


@pytest.mark.parametrize("changed", ["-D__SIZEOF_POINTER__=4", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"])
def test_a_compiler_for_a_machine_of_the_wrong_kind_is_refused(changed):
    """As in a cross-compilation, where setup.py runs on another machine."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    command = [compiler, "-fsyntax-only", "-w", "-DTILE_VECTORS=3", "-x", "c", ROOT / "kernels/cpu/primitives.h"]
    assert subprocess.run(command).returncode == 0
    done = subprocess.run([*command, f"-U{changed[2:].split('=')[0]}", changed], capture_output=True, text=True)
    assert done.returncode != 0
    assert "fastmlp needs a 64-bit little-endian machine" in done.stderr


# Settings: bytes of a vector, and rows of a tile.
WIDTHS = {
    "nehalem": ({"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}, "16 4"),
    "generic": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, "16 4"),
    "haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}, "32 4"),
    "znver4": ({"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": ""}, "64 8"),
    "features": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx2"}, "32 4"),
    "baseline": ({"FASTMLP_LEVEL": "baseline"}, "16 4"),
    "x86_64_v3": ({"FASTMLP_LEVEL": "x86_64_v3"}, "32 4"),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of these processors are of x86-64")
@pytest.mark.parametrize("name", WIDTHS)
def test_vectors_of_numba_are_those_of_the_processor_it_compiles_for(name):
    """Wider ones end the process where a product of bfloat16 needs them: LLVM has no registers for them."""
    settings, expected = WIDTHS[name]
    script = "from fastmlp.kernels.numba import vectors; print(vectors.VECTOR_BYTES, vectors.TILE_ROWS)"
    assert run(script, env=os.environ | settings, check=True).stdout.split() == expected.split()
