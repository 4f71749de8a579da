"""Installed and missing requirements of a check, from the metadata of packages, without importing them."""

import platform
import re
import shutil
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ImportError:  # a bare environment has pip's copy
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.specifiers import SpecifierSet

DRIVER = Path("/proc/driver/nvidia/version")
SANITIZER_FOLDERS = None, "/usr/local/cuda/bin"  # None: those of PATH


def needs(project):
    """{purpose: requirements} of a parsed pyproject.toml, most important first."""
    extras = project["project"]["optional-dependencies"]

    def of(extra, *names):
        return [text for text in extras[extra] if Requirement(text).name in names]

    return {
        "fastmlp": project["project"]["dependencies"],
        "backend cuda": extras["cuda"],
        "running the tests": of("test", "pytest", "pytest-xdist"),
        "timing torch": extras["torch"],
        "building the extension module": project["build-system"]["requires"],
    }


def installed(name):
    """The version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def unmet(requirement, who, seen):
    """Yield (requirement, installed version or None, who needs it) for unmet requirements, including indirect ones."""
    key = str(requirement)
    if key in seen:
        return
    seen.add(key)
    found = installed(requirement.name)
    if found is None or not requirement.specifier.contains(found, prereleases=True):
        yield requirement, found, who
    for text in (requires(requirement.name) or []) if found else []:
        inner = Requirement(text)
        if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
            inner.marker = None
            yield from unmet(inner, f"{requirement.name} {found}", seen)


def sanitizer():
    """The path of compute-sanitizer, or None."""
    found = (shutil.which("compute-sanitizer", path=folder) for folder in SANITIZER_FOLDERS)
    return next(filter(None, found), None)


def tools():
    """Yield messages about missing tools that are not Python packages."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        yield f"no C compiler ({compiler}), which building the extension module needs: bring gcc"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        yield "no Python.h, which building the extension module needs: bring Python's headers (python3-dev)"
    if sanitizer() is None:
        yield "no compute-sanitizer: bring the CUDA toolkit 13.0"


def driver():
    """The version of the loaded NVIDIA driver."""
    try:
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", DRIVER.read_text())
    except OSError:
        found = None
    return found[0] if found else "not found"


def check(pyproject):
    """(versions by name, list of problems, requirements to install with pip)."""
    project = tomllib.loads(pyproject.read_text())
    versions, problems, bring = {"Python": platform.python_version(), "NVIDIA driver": driver()}, [], {}
    wanted = SpecifierSet(project["project"]["requires-python"])
    if not wanted.contains(versions["Python"], prereleases=True):
        problems.append(f"Python {versions['Python']}: fastmlp needs {wanted}")
    seen = set()
    for who, texts in needs(project).items():
        for requirement in map(Requirement, texts):
            versions[requirement.name] = installed(requirement.name) or "not installed"
            for lacking, found, by in unmet(requirement, who, seen):
                is_there = f"{lacking.name} {found}" if found else f"{lacking.name} is not installed"
                problems.append(f"{is_there}: {by} needs {lacking.specifier or 'it'}; bring {lacking}")
                if lacking.name in bring:
                    bring[lacking.name].specifier &= lacking.specifier
                    bring[lacking.name].extras |= lacking.extras
                else:
                    bring[lacking.name] = lacking
    return versions, [*problems, *tools()], [str(requirement) for requirement in bring.values()]


def how_to_bring(requirements):
    """Commands that download wheels on a machine with a network, and install them here."""
    quoted = " ".join(f"'{requirement}'" for requirement in requirements)
    python = "python{}.{}".format(*sys.version_info)
    return [
        f"on a machine with a network: {python} -m pip download --only-binary :all: -d wheels {quoted}",
        f"here: {sys.executable} -m pip install --no-index --find-links wheels {quoted}",
    ]
