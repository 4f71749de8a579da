"""Runs Python code with the fake CUDA driver of fake_driver.c, on machines without a GPU."""

import fnmatch
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from patience import PATIENCE

SOURCE = Path(__file__).with_name("fake_driver.c")
TUPLES = ("grid", "block", "args")
# Prefixes of environment variables that must not be inherited.
FOREIGN = ("FAKE_CUDA_", "NUMBA_ENABLE_CUDASIM", "NUMBA_DISABLE_CUDA", "CUDA_VISIBLE_DEVICES")


@dataclass
class Call:
    """A line of the log. Details are numbers, tuples for grid, block and arguments, or the name of a kernel.

    Arguments are unsigned integers as stored in memory, also those that the kernel reads as floats.
    """

    name: str
    details: dict

    def __getattr__(self, detail):
        try:
            return self.details[detail]
        except KeyError:
            raise AttributeError(f"{self} has no {detail}") from None


@dataclass
class Run:
    code: int
    out: str
    err: str
    log: list

    def calls(self, pattern):
        """The successful calls whose names match."""
        return [call for call in self.log if fnmatch.fnmatch(call.name, pattern) and "error" not in call.details]

    def errors(self):
        """(function, error code) of each failed call."""
        return [(call.name, call.error) for call in self.log if "error" in call.details]

    def launches(self):
        return self.calls("cuLaunch*Kernel*")

    def kernels(self):
        """The Python names of all launched kernels, in order; those in a graph count once, when captured."""
        return [call.kernel for call in self.launches()]


@functools.cache
def library():
    """Build libcuda.so.1 in a temporary folder, once per process, and return the folder."""
    if sys.platform != "linux":
        pytest.skip("the fake CUDA driver is for Linux")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("needs a C compiler for the fake CUDA driver")
    if not importlib.util.find_spec("numba_cuda"):
        pytest.skip("needs numba-cuda")
    wheels = importlib.util.find_spec("nvidia")
    headers = [Path(place) / "cu13" / "include" for place in wheels.submodule_search_locations] if wheels else []
    if not any((folder / "cuda.h").exists() for folder in headers):
        pytest.skip("needs cuda.h of the wheel nvidia-cuda-runtime for the fake CUDA driver")
    folder = tempfile.TemporaryDirectory(prefix="fake_driver_")
    library.folder = folder  # kept until the interpreter ends
    built = Path(folder.name) / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", "-O1", *(f"-I{header}" for header in headers)]
    subprocess.run([*command, str(SOURCE), "-o", str(built), "-lpthread", "-ldl"], check=True)
    # Numba tries this name first, and could find a real driver with it.
    built.with_name("libcuda.so").symlink_to(built.name)
    return folder.name


def run(code, *, check=True, env=None, **steer):
    """Run code in a new process. run(code, driver_version=12020) sets FAKE_CUDA_DRIVER_VERSION to 12020."""
    with tempfile.TemporaryDirectory() as folder:
        script, log = Path(folder) / "script.py", Path(folder) / "log"
        script.write_text(textwrap.dedent(code))
        variables = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        variables |= {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in steer.items()}
        variables |= {"FAKE_CUDA_LOG": str(log), "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS": "0"}
        variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [library(), os.environ.get("LD_LIBRARY_PATH")]))
        done = subprocess.run(
            [sys.executable, str(script)], env=variables | (env or {}), capture_output=True, text=True, timeout=PATIENCE
        )
        lines = log.read_text().splitlines() if log.exists() else []
    if check and done.returncode:
        pytest.fail(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return Run(done.returncode, done.stdout, done.stderr, [parse(line) for line in lines])


def parse(line):
    name, _, rest = line.partition(" ")
    return Call(name, {key: number(key, value) for key, value in (item.split("=", 1) for item in rest.split())})


def number(key, text):
    if key == "kernel":
        return python_name(text)
    if key in TUPLES:
        return tuple(int(part, 0) for part in text.split(",") if part)
    return int(text, 0)


def python_name(symbol):
    """The function name in a mangled symbol: _ZN8__main__5scaleB2v1... is scale."""
    rest, name = symbol.removeprefix("_ZN"), symbol
    while found := re.match(r"\d+", rest):
        start, length = found.end(), int(found[0])
        name, rest = rest[start : start + length], rest[start + length :]
    return name
