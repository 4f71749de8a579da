"""FastMLP in torch programs, in turn with torch.nn.Sequential."""

import pytest
from torch_loops import LOOPS, MODULES
from turns import in_turn

pytest.importorskip("torch", reason="needs the package torch")


@pytest.mark.parametrize("name", LOOPS)
def bench_torch(benchmark, name):
    contestants = {module: ("torch_loops", "MODULES", module) for module in MODULES}
    benchmark.extra_info["rates"] = benchmark.pedantic(in_turn, (contestants, LOOPS[name], 7), rounds=1)
