"""Which backends there are, which of them work here, and which one ``backend="auto"`` takes and why."""

from functools import cache
from importlib import import_module
from typing import NamedTuple

from . import cost_model

# In the order in which "auto" tries them, but for the GPU's, which has to be faster (backends/cost_model.py).
MODULES = {
    "cython": "cpu.cython", "numba": "numba.contract", "numpy": "reference.contract", "cuda": "cuda.contract",
}  # fmt: skip
ON_CPU = ("cython", "numba", "numpy")
WITH_BFLOAT16 = ("cuda", "numpy")

NAMES = ("auto", *MODULES)

# On all rows of benchmarks/REPORT.md but the smallest network Numba is at most 10 % faster than Cython, and its first
# compilation takes seconds: what needs none comes first.
REASONS = {
    "cython": "compiled ahead of time, nothing to wait for",
    "numba": "compiled at the first fit, because backend 'cython' does not work here: {cython}",
    "numpy": "slow reference code, because neither 'cython' nor 'numba' works here: {cython}; {numba}",
}


class Backend(NamedTuple):
    """A backend's name, its module of kernels, and why it was taken."""

    name: str
    module: object
    reason: str


@cache
def why_not(name):
    """None where the backend works, else what importing it says."""
    try:
        import_module(f"fastmlp.kernels.{MODULES[name]}")
    except Exception as error:  # whatever keeps a compiled module from loading, "auto" must go on
        if isinstance(error, ModuleNotFoundError) and not (error.name or "fastmlp.").startswith("fastmlp."):
            return f"it needs the package {error.name}: pip install {error.name}"
        return str(error) if type(error) is ImportError else f"{type(error).__name__}: {error}"
    return None


def kernels_of(name, *steps):
    """How a backend will make steps, where that follows from their shape, as text to put behind its reason.

    ``steps`` are network, optimizer, dtype, batch size, penalty, noise, and whether rows have weights.
    """
    if name != "cuda":
        return ""
    choice, devices = (import_module(f"fastmlp.kernels.cuda.{module}") for module in ("dispatch", "devices"))
    return "; " + choice.describe(*steps, devices.current())


def gpu_name():
    """What the GPU of backend 'cuda' calls itself."""
    return import_module("fastmlp.kernels.cuda.devices").current().name


def works(name):
    """Whether a backend of that name can be had here."""
    return name == "auto" or (name in MODULES and why_not(name) is None)


def choose(name="auto", work=None):
    """The Backend of that name, or the best one that works for "auto".

    ``work``, a cost_model.Work, says what for: without it "auto" stays on the CPU.

    Raises
    ------
    ValueError
        For an unknown name.
    ImportError
        If the backend asked for does not work here; the message says why.
    """
    if not isinstance(name, str) or name not in NAMES:
        raise ValueError(f"backend must be one of {', '.join(map(repr, NAMES))}, got {name!r}.")
    reason = "asked for"
    if name == "auto":
        name = next(candidate for candidate in ON_CPU if why_not(candidate) is None)
        reason = REASONS[name].format(**{tried: why_not(tried) for tried in ON_CPU[: ON_CPU.index(name)]})
        if work is not None and cost_model.gpu_may_be_there():
            name, reason = cost_model.compare(work, name, reason, why_not("cuda"), gpu_name)
    elif why_not(name) is not None:
        raise ImportError(f"backend {name!r} does not work here: {why_not(name)}. backend='auto' takes one that does.")
    return Backend(name, import_module(f"fastmlp.kernels.{MODULES[name]}"), reason)
