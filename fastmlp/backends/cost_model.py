"""Cost model for ``backend="auto"``: the estimated time of a training step on the CPU and on the GPU.

The time of a step is modelled as a constant plus a time per floating-point operation. ``fastmlp measure`` fits both
numbers for the CPU and for the GPU to a few networks and saves them to a file. Without that file the CPU is used.
"""

import json
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from fastmlp.io.atomic import write_whole
from fastmlp.kernels.spec import Network


def _settings_folder():
    """The user's configuration folder on this operating system."""
    home = Path(os.path.expanduser("~"))  # Path.home() raises if the user has none, as in some containers
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home)
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


FILE = Path(os.environ.get("FASTMLP_SPEEDS") or _settings_folder() / "fastmlp" / "speeds.json")
COMPILATION_SECONDS = 5.0  # of the GPU's kernels for a new network
LEAST_SPEEDUP = 1.25  # the GPU must be this much faster, because the estimates are rough

DRIVER_FILES = "/dev/nvidiactl", "/dev/dxg", r"C:\Windows\System32\nvcuda.dll"  # Linux, WSL, Windows


class Work(NamedTuple):
    """Training to be done: the network, samples per step, and number of steps."""

    network: Network
    batch_size: int
    n_steps: int

    @property
    def step_flops(self):
        return self.network.step_flops(self.batch_size)


class Speed(NamedTuple):
    """The constant time of a step and the time per floating-point operation, in seconds."""

    per_step: float
    per_flop: float

    def seconds(self, flops):
        return self.per_step + self.per_flop * flops


def fit_speed(flops, seconds):
    """Fit a Speed to measured steps by least squares of the relative errors."""
    flops, seconds = np.asarray(flops, float), np.asarray(seconds, float)
    scale = flops.max()
    (per_step, per_scale), _ = nnls(np.column_stack([1 / seconds, flops / scale / seconds]), np.ones(len(seconds)))
    return Speed(float(per_step), float(per_scale / scale))


@cache
def gpu_may_be_present():
    """Whether a driver seems to be installed: loading it to find out for sure takes about a second."""
    return find_spec("numba_cuda") is not None and any(os.path.exists(path) for path in DRIVER_FILES)


def save(gpu, cpu_backend, cpu_speed, gpu_speed):
    """Save measured Speeds for later processes."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    measured = {"gpu": gpu, "cpu": cpu_backend, "cpu_speed": cpu_speed, "gpu_speed": gpu_speed}
    write_whole(FILE, json.dumps(measured).encode())


def load():
    """Return the contents of the file written by ``save``, or None if it is missing or damaged."""
    try:
        saved = json.loads(FILE.read_text())
        found = {name: str(saved[name]) for name in ("gpu", "cpu")}
        found |= {name: Speed(*map(float, saved[name])) for name in ("cpu_speed", "gpu_speed")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    valid = all(0 <= number < np.inf for name in ("cpu_speed", "gpu_speed") for number in found[name])
    return found if valid else None


def compare(work, cpu_backend, gpu_name):
    """(whether the GPU is clearly faster for some Work, the reason), by the speeds that ``fastmlp measure`` saved."""
    measured = load()
    if measured is None or (measured["gpu"], measured["cpu"]) != (gpu_name, cpu_backend):
        return False, "GPU speed unknown: run 'fastmlp measure'"
    cpu, gpu = (measured[name].seconds(work.step_flops) for name in ("cpu_speed", "gpu_speed"))
    estimate = (
        f"steps of {work.step_flops:.2g} operations take about {gpu:.2g} s on the {gpu_name} and {cpu:.2g} s with "
        f"{cpu_backend!r}"
    )
    if cpu < LEAST_SPEEDUP * gpu:
        return False, estimate
    if (cpu - gpu) * work.n_steps < COMPILATION_SECONDS:
        return False, f"{estimate}: {work.n_steps} steps are too few to make up for compiling the GPU's kernels"
    return True, estimate
