"""The available backends, and the choice made by ``backend="auto"``."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from . import cost_model

# The CPU backends are listed in the order in which "auto" tries them.
ON_CPU = ("cython", "numba", "numpy")
GPU = "cuda"  # "auto" uses it only where it is clearly faster, see cost_model.py
MODULES = {
    "cython": "cpu.cython", "numba": "numba.contract", "numpy": "reference.contract", "cuda": "cuda.contract",
}  # fmt: skip

NAMES = ("auto", *MODULES)

# Numba is at most 10 % faster than Cython on all rows of benchmarks/REPORT.md but the smallest network, and its first
# compilation takes seconds.
REASONS = {
    "cython": "compiled ahead of time, no compilation at the first fit",
    "numba": "compiled at the first fit, because backend 'cython' does not work here: {cython}",
    "numpy": "slow reference code, because neither 'cython' nor 'numba' works here: {cython}; {numba}",
}


class Backend(NamedTuple):
    """A backend's name, its kernels, which are a module like kernels/reference/contract.py, and why it was chosen."""

    name: str
    kernels: ModuleType
    reason: str


@cache
def why_not(name):
    """Why a backend does not work here, or None if it works."""
    try:
        _module(name)
    except Exception as error:  # an extension module may fail to load in any way, and "auto" must still find another
        if isinstance(error, ModuleNotFoundError) and not (error.name or "fastmlp.").startswith("fastmlp."):
            return f"it needs the package {error.name}: pip install {error.name}"
        return str(error) if type(error) is ImportError else f"{type(error).__name__}: {error}"
    return None


def _module(name):
    return import_module(f"fastmlp.kernels.{MODULES[name]}")


def works(name):
    """Whether the backend works here; "auto" always does."""
    return name == "auto" or (name in NAMES and why_not(name) is None)


def runs_on_gpu(name):
    """Whether the backend works here and runs on a GPU. False for "auto", which depends on the work."""
    return name != "auto" and works(name) and _module(name).DEVICE is not None


def choose(name="auto", work=None):
    """Return the Backend of the given name, or the best one that works for "auto".

    Parameters
    ----------
    name : str
        One of ``NAMES``.
    work : cost_model.Work, optional
        The training to be done. Without it "auto" stays on the CPU.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If the requested backend does not work here; the message says why.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(map(repr, NAMES))}, got {name!r}.")
    reason = "requested"
    if name == "auto":
        name = next(candidate for candidate in ON_CPU if why_not(candidate) is None)
        reason = REASONS[name]
        if name != ON_CPU[0]:
            reason = reason.format(**{tried: why_not(tried) for tried in ON_CPU[: ON_CPU.index(name)]})
        if work is not None and cost_model.gpu_may_be_present():
            name, reason = _compare_with_gpu(work, name, reason)
    elif why_not(name) is not None:
        raise ImportError(
            f"backend {name!r} does not work here: {why_not(name)}. backend='auto' chooses one that works."
        )
    return Backend(name, _module(name), reason)


def _compare_with_gpu(work, name, reason):
    """(name, reason) of the faster backend: the given one on the CPU, or the GPU's."""
    if why_not(GPU) is not None:
        return name, f"{reason}; a GPU driver is installed, but backend 'cuda' does not work: {why_not(GPU)}"
    gpu_is_faster, comparison = cost_model.compare(work, name, _module(GPU).DEVICE)
    return (GPU, comparison) if gpu_is_faster else (name, f"{reason}; {comparison}")
