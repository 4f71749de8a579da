"""Compile kernels to machine code without a GPU, and report the resources they use."""

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
    """Registers per thread; bytes of stack and of spills per thread, and of static shared memory per block."""

    registers: int
    stack: int
    spilled: int
    shared: int


def array(code, dimensions=1):
    """The type of a C-contiguous array: "f4", or "f4" and 2."""
    return types.Array(ARRAYS[code], dimensions, "C")


def find_ptxas():
    """The path of NVIDIA's assembler, from the wheel nvidia-cuda-nvcc or a CUDA toolkit."""
    wheels = importlib.util.find_spec("nvidia")
    for folder in wheels.submodule_search_locations if wheels else []:
        found = Path(folder) / "cu13" / "bin" / "ptxas"
        if found.exists():
            return str(found)
    return shutil.which("ptxas") or pytest.skip("needs ptxas, from the wheel nvidia-cuda-nvcc or a CUDA toolkit")


def linked(kernel, arguments, capability):
    """The PTX for a compute capability, with link-time optimisation of the functions that the kernel calls."""
    import numba.cuda.compiler
    import numba.cuda.dispatcher
    from numba.cuda.codegen import CUDACodeLibrary

    # Device functions and overloads look up the current device.
    device = SimpleNamespace(compute_capability=capability, id=0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (numba.cuda.compiler, numba.cuda.dispatcher):
            patch.setattr(module, "get_current_device", lambda: device, raising=False)
        patch.setattr(CUDACodeLibrary, "_ensure_cc", lambda library, asked: asked or architecture(capability))
        compiled = numba.cuda.dispatcher._Kernel(kernel.py_func, tuple(arguments), **kernel.targetoptions)
        with warnings.catch_warnings():  # the device runtime, which contains the grid barrier, is linked later
            warnings.filterwarnings("ignore", "Not adding .*libcudadevrt")
            return compiled._codelibrary.get_lto_ptx().rstrip("\0")


def architecture(capability):
    """The architecture as Numba names it: "a" for the features of this GPU that later ones lack."""
    return (*capability, "a" if capability >= (9, 0) else "")


def resources(kernel, arguments, capability=(9, 0)):
    """Compile the result of cuda.jit for arguments of these types, assemble it, and return its Resources."""
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
