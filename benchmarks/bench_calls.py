"""Short calls from Python: one training step, and typical scikit-learn programs; in turn."""

import pytest
from steps import STEPPERS
from turns import in_turn
from workloads import GOALS, PACKAGES


def bench_step(benchmark):
    contestants = {name: ("steps", "STEPPERS", name) for name in STEPPERS}
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, None, 7), rounds=1)


@pytest.mark.parametrize("name", GOALS)
def bench_workload(benchmark, name):
    contestants = {package: ("workloads", "PACKAGES", package) for package in PACKAGES}
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, name, 5), rounds=1)
