"""Training and bulk prediction in each precision of matrix products, in turn with the peers in those that they have."""

import peers
import predictors
import pytest
from matrix_unit import unit
from turns import in_turn
from works import NETWORKS, WORKS

ROUNDS = 5


def in_each_precision(benchmark, module, work):
    contestants = {name: (module.__name__, "PRECISIONS", name) for name in module.PRECISIONS}
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, work, ROUNDS), rounds=1)
    benchmark.extra_info["unit"] = unit()


@pytest.mark.parametrize("name", [name for name, work in WORKS.items() if work.medium_over_peers])
def bench_precision_training(benchmark, name):
    in_each_precision(benchmark, peers, WORKS[name])


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("784")])
def bench_precision_prediction(benchmark, name):
    in_each_precision(benchmark, predictors, NETWORKS[name])
