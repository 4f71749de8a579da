"""Predictions of one row and of many, in turn with the peers that are installed."""

import pytest
from predictors import PREDICTORS
from turns import in_turn
from works import NETWORKS


@pytest.mark.parametrize("rows", ["one row", "all rows"])
@pytest.mark.parametrize("name", NETWORKS)
def bench_predict(benchmark, name, rows):
    work = NETWORKS[name]
    contestants = {peer: ("predictors", "PREDICTORS", peer) for peer in PREDICTORS}
    argument = work._replace(rows=1) if rows == "one row" else work
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, argument, 5), rounds=1)
