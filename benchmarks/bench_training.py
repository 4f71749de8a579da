"""Epochs of training, in turn: every backend, the peers that are installed, and the machine's own matrix rate."""

import peers
import pytest
from turns import in_turn
from works import WORKS, Work

ROUNDS = 5


@pytest.mark.parametrize("name", WORKS)
def bench_row(benchmark, name):
    contestants = {peer: ("peers", "PEERS", peer) for peer in peers.PEERS}
    rates = benchmark.pedantic(in_turn, (contestants, WORKS[name], ROUNDS), rounds=1)
    benchmark.extra_info["rates"] = rates


CURVES = {
    "batch": [("batch size", batch, Work((64, 128, 128, 10), batch, 32768)) for batch in (1, 16, 64, 256, 1024)],
    "width": [("hidden units", n, Work((64, n, n, 10), 128, 16384)) for n in (8, 37, 100, 128, 513, 1024)],
}


@pytest.mark.parametrize("curve", CURVES)
def bench_curve(benchmark, curve):
    contestants = {peer: ("peers", "PEERS", peer) for peer in ("fastmlp", "1 thread", "JAX", "scikit-learn")}

    def points():
        return [(label, x, in_turn(contestants, work, 3)) for label, x, work in CURVES[curve]]

    benchmark.extra_info["points"] = benchmark.pedantic(points, rounds=1)
