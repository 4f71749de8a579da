"""An emulated aarch64 machine in a folder, on Debian: Python and packages for it, and fastmlp compiled for it.

Run it once where there is a network; nothing needs root but the installation of what it runs on:

    apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    python -P tests/torture/aarch64_machine.py

Debian's Python for arm64 is unpacked, not installed, into .aarch64, and the packages that fastmlp needs are
installed beside it from wheels. The extension is compiled by the cross-compiler, from a copy of the sources.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".aarch64"
SYSTEM, PACKAGES, DEBS = FOLDER / "system", FOLDER / "packages", FOLDER / "debs"
COMPILER = "aarch64-linux-gnu-gcc"
TOOLS = "qemu-aarch64-static", COMPILER, "aarch64-linux-gnu-objdump", "apt-get", "dpkg-deb"
DEBIAN = "apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
LIBRARIES = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "liblzma5", "libbz2-1.0", "libuuid1",
    "libsqlite3-0",
)  # fmt: skip
FROM_INDEX = (
    "numpy", "scipy", "scikit-learn", "numba", "narwhals", "safetensors", "threadpoolctl", "joblib", "cloudpickle",
    "pytest",
)  # fmt: skip
PLATFORMS = [f"manylinux_2_{n}_aarch64" for n in (28, 27, 26, 17)] + ["manylinux2014_aarch64"]


def why_not():
    """None if this machine can emulate an aarch64 one, or why not."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    headers = Path("/usr/aarch64-linux-gnu/include/stdio.h")
    if missing or not headers.exists():
        return f"there is no {', '.join(missing) or headers}: on Debian, {DEBIAN}"
    return None


def is_prepared():
    return (FOLDER / "prepared").exists()


def prepare():
    """Download what the machine consists of, once."""
    if is_prepared():
        return
    for folder in (DEBS, FOLDER / "apt/lists/partial", FOLDER / "apt/archives/partial"):
        folder.mkdir(parents=True, exist_ok=True)
    # Lists of packages for arm64 in a folder of our own, so that those of this machine stay as they are.
    (FOLDER / "apt.conf").write_text(
        'APT::Architecture "arm64"; APT::Architectures { "arm64"; }; APT::Sandbox::User "";\n'
        f'Dir::State "{FOLDER}/apt"; Dir::State::status "/dev/null"; Dir::Cache "{FOLDER}/apt";\n'
    )
    environment = os.environ | {"APT_CONFIG": str(FOLDER / "apt.conf")}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, check=True)
    names = subprocess.run(
        ["apt-cache", "depends", "python3-minimal"], env=environment, check=True, capture_output=True, text=True
    ).stdout  # fmt: skip
    python = next(word for word in names.split() if word.startswith("python3.")).removesuffix("-minimal")
    wanted = [f"{python}-minimal", f"lib{python}-minimal", f"lib{python}-stdlib", f"lib{python}-dev", *LIBRARIES]
    subprocess.run(["apt-get", "-qq", "download", *wanted], env=environment, check=True, cwd=DEBS)
    for package in DEBS.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, SYSTEM], check=True)
    pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--target", str(PACKAGES), "--only-binary=:all:"]
    pip += [
        "--no-compile",
        "--python-version",
        python.removeprefix("python"),
        *(f"--platform={name}" for name in PLATFORMS),
    ]
    subprocess.run([*pip, *(f"{name}=={version(name)}" for name in FROM_INDEX)], check=True)
    (FOLDER / "prepared").touch()


def interpreter():
    """The command of Python there, which qemu runs with the files of that system."""
    (python,) = (SYSTEM / "usr/bin").glob("python3.*")
    return "qemu-aarch64-static", "-L", str(SYSTEM), str(python)


def built():
    """The folder of fastmlp compiled for the machine; compiled anew if a source has changed."""
    copied = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    sources = sorted(
        path for name in ("fastmlp", "kernels", "tools") for path in (ROOT / name).rglob("*")
        if path.suffix in (".py", ".h", ".pyx", ".html", ".typed") and "fastmlp/kernels" not in str(path)
    )  # fmt: skip
    sources += [ROOT / name for name in copied]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    site = FOLDER / f"site-{digest}"
    if site.exists():
        return site
    for old in FOLDER.glob("site-*"):
        shutil.rmtree(old)
    work = FOLDER / "source"
    shutil.rmtree(work, ignore_errors=True)
    for path in sources:
        to = work / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    (settings,) = (SYSTEM / "usr/lib").glob("python3.*/_sysconfigdata__aarch64-linux-gnu.py")
    (work / "settings").mkdir()
    shutil.copyfile(settings, work / "settings" / settings.name)
    (headers,) = (SYSTEM / "usr/include").glob("python3.*")
    environment = os.environ | {
        "_PYTHON_HOST_PLATFORM": "linux-aarch64", "_PYTHON_SYSCONFIGDATA_NAME": settings.stem,
        "PYTHONPATH": str(work / "settings"), "CC": COMPILER, "LDSHARED": f"{COMPILER} -shared",
    }  # fmt: skip
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(work / "site"), "build_ext"]
    command += ["--include-dirs", f"{headers}{os.pathsep}{headers.parent}"]
    subprocess.run(command, cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)
    (work / "site").rename(site)
    return site


def extension(site):
    (path,) = (site / "fastmlp/kernels/cpu").glob("engine_baseline.*-aarch64-linux-gnu.so")
    return path


def environment(site):
    """What the Python there needs in its environment."""
    return {"PYTHONPATH": f"{site}{os.pathsep}{PACKAGES}"}


if __name__ == "__main__":
    if why_not() is not None:
        sys.exit(why_not())
    prepare()
    print(extension(built()), "for", *interpreter(), "on", platform.machine())
