"""Kernels compiled to machine code for a GPU that is not there, and what that code takes of it."""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from numba import cuda
from numba.cuda import types

ARRAYS = {"f4": types.float32, "f8": types.float64, "i8": types.int64, "u2": types.uint16}


class Resources(NamedTuple):
    """Registers of a thread; bytes of its stack, spilled to memory, and of a block's static shared memory."""

    registers: int
    stack: int
    spilled: int
    shared: int


def array(code, dimensions=1):
    """The type of a C-contiguous array: "f4", or "f4" and 2."""
    return types.Array(ARRAYS[code], dimensions, "C")


def find_ptxas():
    """NVIDIA's assembler, of the wheel nvidia-cuda-nvcc or of a toolkit."""
    wheels = importlib.util.find_spec("nvidia")
    for folder in wheels.submodule_search_locations if wheels else []:
        found = Path(folder) / "cu13" / "bin" / "ptxas"
        if found.exists():
            return str(found)
    return shutil.which("ptxas") or pytest.skip("needs ptxas, from the wheel nvidia-cuda-nvcc or a CUDA toolkit")


def resources(kernel, arguments, capability=(9, 0)):
    """Compile for arguments of these types, without a driver, and assemble. ``kernel`` is the result of cuda.jit."""
    ptxas = find_ptxas()
    import numba.cuda.compiler
    import numba.cuda.dispatcher

    # Device functions and overloads ask which GPU is there.
    device = SimpleNamespace(compute_capability=capability, id=0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (numba.cuda.compiler, numba.cuda.dispatcher):
            patch.setattr(module, "get_current_device", lambda: device, raising=False)
        bounds = kernel.targetoptions.get("launch_bounds")
        ptx, _ = cuda.compile(
            kernel.py_func, types.void(*arguments), device=False, abi="numba", cc=capability, launch_bounds=bounds
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        # The grid's barrier is a function of the device runtime, linked later.
        command = [ptxas, "-v", "--compile-only", f"-arch=sm_{capability[0]}{capability[1]}", str(source)]
        said = subprocess.run([*command, "-o", f"{folder}/cubin"], capture_output=True, text=True, check=True).stderr
    numbers = [re.findall(pattern, said) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes spill", r"(\d+) bytes smem"
    )]  # fmt: skip
    registers, stack, spilled, shared = (max(map(int, found), default=0) for found in numbers)
    return Resources(registers, stack, spilled, shared)
