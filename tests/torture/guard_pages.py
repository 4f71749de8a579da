"""Random networks on Cython and Numba, with each array against a forbidden page, at either end.

Results are compared with the reference. Of Cython every level of the x86-64 instruction set is tried that this
processor has.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from memory_checks import faults_of, give_up, unseen

from fastmlp.backends import registry
from fastmlp.kernels.engine.instruction_sets import LEVELS

SIZES = 40, 500  # cases of each run
FIGURE = "{cases} cases in {runs} runs, each case with its arrays at both ends"


class Run(NamedTuple):
    """Arguments of odd_shapes.py, and a level of the instruction set."""

    arguments: tuple
    level: str = ""

    def faults(self, n_cases, seed):
        given = [*self.arguments, "--seed", seed, "--places", "first", "last"]
        environment = {"FASTMLP_LEVEL": self.level} if self.level else {}
        half = n_cases // 2
        beyond = unseen("row_beyond", "Segmentation fault", given, environment=environment)
        found = faults_of(given, 0, half, environment=environment)
        return beyond + found + faults_of([*given, "--small"], half, n_cases, environment=environment)


def runs(size):
    """Of Numba, which compiles each kind of network and dtype for a minute, the short form takes one."""
    best = registry.choose("cython").kernels._contract.engine.entries.__name__.rpartition("engine_")[2]
    levels = LEVELS[LEVELS.index(best) :] if best in LEVELS else ("",)
    kinds = "plain", "features", "inputs", "precision", "sparse"
    by_numba = [("--dtypes", dtype, "--kinds", *kinds) for dtype in ("float32", "float64")]
    if size == SIZES[0]:
        by_numba = [("--dtypes", "float32", "--kinds", "plain")]
    return [Run(("numba", *more)) for more in by_numba] + [Run(("cython",), level) for level in levels]


def run(size, seed, folder):
    if sys.platform != "linux":
        give_up("pages are mapped as on Linux", size == SIZES[0])
    chosen = runs(size)
    with ThreadPoolExecutor(2) as pool:  # of processes
        found = list(pool.map(lambda one: one.faults(size, seed), chosen))
    return {"cases": size * len(chosen), "runs": len(chosen), "faults": [*chain(*found)]}
