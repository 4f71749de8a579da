"""Whether a GPU is worth it: seconds of a step on each side, from a few networks that were measured on this machine.

A step costs a constant and so much for each floating-point operation, on a CPU and on a GPU; ``fastmlp measure`` fits
both numbers for both sides and leaves them in a file. Without it nothing is known, and the GPU is not taken.
"""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from fastmlp.kernels.spec import Network


def _settings_folder():
    """Where this system keeps the settings of a user's programs."""
    home = Path(os.path.expanduser("~"))  # Path.home() raises where a user has none, as in some containers
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home)
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


FILE = Path(os.environ.get("FASTMLP_SPEEDS") or _settings_folder() / "fastmlp" / "speeds.json")
COMPILATION_SECONDS = 5.0  # what the GPU's kernels for a new network keep a user waiting
CLEARLY = 1.25  # how much faster the GPU must be: predictions are rough

SIGNS_OF_A_GPU = "/dev/nvidiactl", "/dev/dxg", r"C:\Windows\System32\nvcuda.dll"  # Linux, Linux in Windows, Windows


class Work(NamedTuple):
    """Steps to be made: of which network, of how many rows, and how many of them."""

    network: Network
    batch_size: int
    n_steps: int

    @property
    def step_flops(self):
        return 6.0 * self.network.n_parameters * self.batch_size


class Speed(NamedTuple):
    """Seconds of a step whatever it does, and seconds for each of its floating-point operations."""

    per_step: float
    per_flop: float

    def seconds(self, flops):
        return self.per_step + self.per_flop * flops


def fit_speed(flops, seconds):
    """The Speed that is wrong by the smallest shares of what was measured."""
    flops, seconds = np.asarray(flops, float), np.asarray(seconds, float)
    scale = flops.max()
    (per_step, per_scale), _ = nnls(np.column_stack([1 / seconds, flops / scale / seconds]), np.ones(len(seconds)))
    return Speed(float(per_step), float(per_scale / scale))


def gpu_may_be_there():
    """Whether it is worth the second that it takes to ask the driver."""
    return find_spec("numba_cuda") is not None and any(os.path.exists(path) for path in SIGNS_OF_A_GPU)


def save(gpu, cpu_backend, cpu_speed, gpu_speed):
    """Keep what was measured for later processes."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"gpu": gpu, "cpu": cpu_backend, "cpu_speed": cpu_speed, "gpu_speed": gpu_speed}))


def load():
    """What ``save`` kept, with Speeds, or None."""
    try:
        kept = json.loads(FILE.read_text())
        found = {name: str(kept[name]) for name in ("gpu", "cpu")}
        found |= {name: Speed(*map(float, kept[name])) for name in ("cpu_speed", "gpu_speed")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    sound = all(0 <= number < np.inf for name in ("cpu_speed", "gpu_speed") for number in found[name])
    return found if sound else None


def compare(work, cpu_backend, cpu_reason, why_no_gpu, gpu_name):
    """(name of the backend to take, why) for some Work; ``gpu_name()`` is asked where the GPU works."""
    if why_no_gpu is not None:
        return cpu_backend, f"{cpu_reason}; a GPU seems to be there but does not work: {why_no_gpu}"
    measured = load()
    if measured is None or (measured["gpu"], measured["cpu"]) != (gpu_name(), cpu_backend):
        return cpu_backend, f"{cpu_reason}; how fast the GPU is, 'fastmlp measure' has yet to find out"
    cpu, gpu = (measured[name].seconds(work.step_flops) for name in ("cpu_speed", "gpu_speed"))
    steps = f"steps of {work.step_flops:.2g} operations take about {gpu:.2g} s on the {measured['gpu']}"
    steps += f" and {cpu:.2g} s with {cpu_backend!r}"
    saved = (cpu - gpu) * work.n_steps
    if cpu < CLEARLY * gpu:
        return cpu_backend, f"{cpu_reason}; {steps}"
    if saved < COMPILATION_SECONDS:
        return cpu_backend, f"{cpu_reason}; {steps}: {work.n_steps} steps do not make up for compiling its kernels"
    return "cuda", steps
