"""Kernels compiled to machine code for a GPU that is not there, and what that code takes of it."""

import importlib.util
import re
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
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


def linked(kernel, arguments, capability):
    """PTX as on a machine with such a GPU: optimised while it is linked with what the kernel calls."""
    import numba.cuda.compiler
    import numba.cuda.dispatcher
    from numba.cuda.codegen import CUDACodeLibrary

    # Device functions and overloads ask which GPU is there.
    device = SimpleNamespace(compute_capability=capability, id=0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (numba.cuda.compiler, numba.cuda.dispatcher):
            patch.setattr(module, "get_current_device", lambda: device, raising=False)
        patch.setattr(CUDACodeLibrary, "_ensure_cc", lambda library, asked: asked or architecture(capability))
        compiled = numba.cuda.dispatcher._Kernel(kernel.py_func, tuple(arguments), **kernel.targetoptions)
        with warnings.catch_warnings():  # the device runtime, which holds the grid's barrier, comes in later
            warnings.filterwarnings("ignore", "Not adding .*libcudadevrt")
            return compiled._codelibrary.get_lto_ptx().rstrip("\0")


def architecture(capability):
    """As Numba names it: with all that this GPU can, where that is more than later ones can."""
    return (*capability, "a" if capability >= (9, 0) else "")


def resources(kernel, arguments, capability=(9, 0)):
    """Compile for arguments of these types, without a driver, and assemble. ``kernel`` is the result of cuda.jit."""
    ptxas = find_ptxas()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(linked(kernel, arguments, capability))
        target = "".join(map(str, architecture(capability)))
        command = [ptxas, "-v", "--compile-only", f"-arch=sm_{target}", str(source)]
        done = subprocess.run([*command, "-o", f"{folder}/cubin"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = [re.findall(pattern, done.stderr) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes stack frame", r"(\d+) bytes spill", r"(\d+) bytes smem"
    )]  # fmt: skip
    registers, stack, spilled, shared = (max(map(int, found), default=0) for found in numbers)
    return Resources(registers, stack, spilled, shared)
