"""A thousand small fits; in turn."""

import pytest
from many_fits import FITTERS
from turns import in_turn


@pytest.mark.parametrize("batch_size", [32, 150])
def bench_fits(benchmark, batch_size):
    contestants = {name: ("many_fits", "FITTERS", name) for name in FITTERS}
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, batch_size, 5), rounds=1)
