"""Random networks on the Cython engine, built with AddressSanitizer, UBSan and ThreadSanitizer, against the reference.

Each build is the checkout's engine without optimization, so that no wrong access is optimized away. Reports are about
the engine alone: Python, NumPy and OpenBLAS are not instrumented. Nothing is suppressed.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from memory_checks import faults_of, give_up, unseen

ROOT = Path(__file__).parents[2]
SOURCES = "setup.py", "pyproject.toml", "README.md", "LICENSE", "fastmlp", "kernels", "tools"
FLAGS = "-O0 -g -fno-omit-frame-pointer -fno-sanitize-recover=all"


class Sanitizer(NamedTuple):
    """Names for -fsanitize, its libraries, and the mistakes that it must find with the words of its reports."""

    names: str
    libraries: tuple
    found: dict


SANITIZERS = (
    # The C++ library has to be there before AddressSanitizer looks for its exceptions.
    Sanitizer("address,undefined", ("libasan.so", "libubsan.so", "libstdc++.so"),
              {"row_beyond": "AddressSanitizer", "no_rows": "division by zero"}),
    Sanitizer("thread", ("libtsan.so",), {"race": "data race"}),
)  # fmt: skip
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps memory until its end
    "TSAN_OPTIONS": "halt_on_error=1:ignore_noninstrumented_modules=1",  # whose accesses are not seen anyway
    "PYTHONMALLOC": "malloc",  # each object is a block of its own
}
SIZES = 20, 1000  # cases for each build
FIGURE = "{cases} cases in {builds} builds"


def why_not():
    """None, or what is missing here."""
    if sys.platform != "linux":
        return "the sanitizers are those of GCC on Linux"
    if shutil.which("gcc") is None:
        return "GCC is not installed"
    names = [name for sanitizer in SANITIZERS for name in sanitizer.libraries]
    missing = [name for name in names if not Path(library(name)).is_absolute()]
    return f"GCC has no {', '.join(missing)}" if missing else None


def library(name):
    """The path of a library of GCC, or its name if there is none."""
    return subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()


def build(names, folder):
    """Build a copy of the checkout with sanitizers. Returns the folder of the package."""
    hidden = shutil.ignore_patterns("*.so", "__pycache__", "build")
    folder.mkdir()
    for source in SOURCES:
        given = ROOT / source
        if given.is_dir():
            shutil.copytree(given, folder / source, ignore=hidden, symlinks=True)
        else:
            shutil.copy(given, folder)
    if not (folder / "fastmlp" / "kernels").exists():
        (folder / "fastmlp" / "kernels").symlink_to("../kernels")
    flags = f"{FLAGS} -fsanitize={names}"
    environment = os.environ | {"FASTMLP_LEVELS": "native", "FASTMLP_CFLAGS": flags, "CC": "gcc"}
    environment.pop("PYTHONPATH", None)
    made = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"the build with {flags} failed: {made.stderr[-2000:]}")
    return folder


def check(sanitizer, n_cases, seed, folder):
    """Faults of one build."""
    package = build(sanitizer.names, folder / sanitizer.names)
    environment = OPTIONS | {"LD_PRELOAD": " ".join(map(library, sanitizer.libraries))}
    arguments, where = ["cython", "--places", "heap", "--seed", str(seed)], (package, environment)
    faults = []
    for wrong, words in sanitizer.found.items():
        faults += unseen(wrong, words, arguments, *where)
    half = n_cases // 2
    faults += faults_of(arguments, 0, half, *where)
    return faults + faults_of([*arguments, "--small"], half, n_cases, *where)


def run(size, seed, folder):
    if reason := why_not():
        give_up(reason, size == SIZES[0])
    with ThreadPoolExecutor(len(SANITIZERS)) as pool:
        found = list(pool.map(lambda sanitizer: check(sanitizer, size, seed, folder), SANITIZERS))
    return {"cases": size * len(SANITIZERS), "builds": len(SANITIZERS), "faults": [*chain(*found)]}
