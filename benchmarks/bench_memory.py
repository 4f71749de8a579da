"""How much memory a fit needs beside its data, against what it should need."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from works import WORKS

from fastmlp.kernels.cpu import thread_pool
from fastmlp.kernels.rules import OPTIMIZERS

FIT = """
import json, sys
sys.path.insert(0, {folder!r})
import numpy as np
from works import WORKS, data
import peers
from fastmlp import MLP, make_optimizer

def peak():  # not getrusage's, which begins with that of the process that started this one
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

peers.PEERS["fastmlp"](WORKS["tiny 8-64-64-1, batch 32"])[0]()  # what any first fit loads
work = WORKS[{name!r}]
rng = np.random.default_rng(0)
X = rng.standard_normal((work.rows, work.sizes[0]), np.float32)
y = rng.standard_normal((work.rows, work.sizes[-1]), np.float32)
layers = [*((n, work.activation) for n in work.sizes[1:-1]), (work.sizes[-1], "identity")]
model = MLP(layers, "squared_error", make_optimizer(work.solver, 1e-3))
before = peak()
model.fit(X, y, epochs=2, batch_size=work.batch)
print(json.dumps([X.nbytes + y.nbytes, peak() - before]))
"""


def in_fresh_process(name):
    """[bytes of the data, bytes that the peak grows by] of a fit."""
    script = FIT.format(folder=str(Path(__file__).parent), name=name)
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", [name for name, work in WORKS.items() if work.batch > 100])
def bench_fit(benchmark, name):
    """MiB of the data, and of what else a fit takes.

    ``formula``: parameters x (2 + optimizer slots), and for each thread a gradient and one batch's activations.
    """
    work = WORKS[name]
    data_bytes, found = benchmark.pedantic(in_fresh_process, (name,), rounds=1)
    parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(work.sizes, work.sizes[1:]))
    numbers = parameters * (2 + len(OPTIMIZERS[work.solver].slots))
    numbers += thread_pool.cores() * (parameters + work.batch * sum(work.sizes))
    mib = {"data": data_bytes, "formula": 4 * numbers, "found": found}
    benchmark.extra_info["MiB"] = {what: n / 2**20 for what, n in mib.items()}
