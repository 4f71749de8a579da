"""Build of the compiled engine, the source distribution and the wheel; the rest of the packaging is in pyproject.toml.

tools/generate_engine.py writes the include file kernels/cpu/_engine.pxi (generated, ignored) from the rules and the
engine in kernels/. The extension is compiled for several levels of the x86-64 instruction set, of which
kernels/cpu/cython.py takes the best that the processor has. With FASTMLP_LEVELS=native in the environment it is
compiled once, for the processor of this machine, in a third of the time. The compiler and the linker take
FASTMLP_CFLAGS after their own flags: "-O0 -g -fsanitize=address" builds it for a check of memory.

With SOURCE_DATE_EPOCH in the environment, a second build has the same bytes (tools/reproducible.py).
"""

import gzip
import os
import platform
import shutil
import sys
import tarfile
import time
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from generate_engine import engine_source, load

CPU, SOURCE = Path("kernels/cpu"), "kernels/cpu/engine.pyx"


def extensions():
    """One extension for each level from the same source, with the name of its init function."""
    flags = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
    levels, tile_vectors = {"baseline": []}, load("engine.products").TILE_VECTORS
    # A cross-compilation names the machine that it compiles for in this variable, as CPython's own build does.
    machine = os.environ.get("_PYTHON_HOST_PLATFORM", platform.machine()).rpartition("-")[2]
    x86 = machine.lower() in ("x86_64", "amd64")
    wide, given = ["-mprefer-vector-width=512"] if x86 else [], os.environ.get("FASTMLP_CFLAGS", "").split()
    if os.environ.get("FASTMLP_LEVELS") == "native":
        levels = {"native": ["-march=native", *wide]}
    elif x86:
        levels |= {"x86_64_v3": ["-march=x86-64-v3"], "x86_64_v4": ["-march=x86-64-v4", *wide]}
    for level, more in levels.items():
        yield Extension(
            f"fastmlp.kernels.cpu.engine_{level}", [SOURCE], include_dirs=[str(CPU)],
            depends=["kernels/cpu/primitives.h", "kernels/cpu/bfloat16_tiles.h"],
            define_macros=[("TILE_VECTORS", str(tile_vectors)), ("PyInit_engine", f"PyInit_engine_{level}")],
            extra_compile_args=flags + more + given, extra_link_args=given,
        )  # fmt: skip


class BuildEngine(build_ext):
    """Generate the C source once and compile it for all levels in parallel.

    The source is generated in ``run``, because a build also runs setup.py for its metadata. If compilation fails, the
    package is built without the extensions, for backend "numba"; only a direct 'setup.py build_ext' then fails.
    """

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or len(self.extensions)  # also with fewer cores, so that none is idle at the end
        for extension in self.extensions:
            extension.optional = "build_ext" not in self.distribution.commands

    def run(self):
        (CPU / "_engine.pxi").write_text(engine_source())
        made = cythonize(Extension("fastmlp.kernels.cpu.engine", [SOURCE]), language_level=3, build_dir="build/cython")
        (generated,) = made[0].sources
        for extension in self.extensions:  # one copy each, because object files are named after their source
            extension.sources = [f"build/cython/{extension.name}.c"]
            shutil.copyfile(generated, extension.sources[0])
        super().run()
        if not any(Path(self.get_ext_fullpath(extension.name)).exists() for extension in self.extensions):
            print(NOT_BUILT, file=sys.stderr)


class Sdist(sdist):
    """A source distribution that does not depend on owners, permissions and times of files."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        date = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def plain(member):
            member.mtime, member.mode = date, 0o755 if member.isdir() else 0o644
            member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=date) as file,
            tarfile.open(fileobj=file, mode="w") as archive,
        ):
            archive.add(base_dir, filter=plain)
        return path


class Wheel(bdist_wheel):
    """A wheel that does not depend on permissions of files; SOURCE_DATE_EPOCH sets their times."""

    def write_wheelfile(self, *given):  # the last step before the archive
        super().write_wheelfile(*given)
        for path in Path(self.bdist_dir).rglob("*"):
            if path.is_file():
                path.chmod(0o755 if path.suffix in (".so", ".pyd") else 0o644)


NOT_BUILT = """
fastmlp is built without its extension modules, because they could not be compiled (see above): they need a C compiler
and the headers of Python. The backend "numba" takes the place of "cython"; it compiles its loops at the first fit.
"""

if (reason := load("machine").why_not_this_machine()) is not None:
    sys.exit(reason)
setup(ext_modules=list(extensions()), cmdclass={"build_ext": BuildEngine, "sdist": Sdist, "bdist_wheel": Wheel})
