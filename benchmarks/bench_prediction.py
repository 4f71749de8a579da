"""Predictions of one row and of many, in turn with the peers that are installed."""

import peers
import pytest
from turns import in_turn
from works import Work

NETWORKS = {
    "8-64-64-1": Work((8, 64, 64, 1), 1, 100_000, "tanh", "values"),
    "784-128-10": Work((784, 128, 10), 1, 20_000, "relu", "values"),
}


@pytest.mark.parametrize("rows", ["one row", "all rows"])
@pytest.mark.parametrize("name", NETWORKS)
def bench_predict(benchmark, name, rows):
    work = NETWORKS[name]
    contestants = {peer: ("peers", "PREDICTORS", peer) for peer in peers.PREDICTORS}
    argument = work._replace(rows=1) if rows == "one row" else work
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, argument, 5), rounds=1)
