"""Training speed of the installed fastmlp against another checkout, in turn.

python benchmarks/compare.py OTHER [part of a work's name]

The other must be built in place (python setup.py build_ext --inplace); its fastmlp/kernels is made a link to kernels. A
change that says "nothing is slower" is to show it here.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from peers import PEERS
from works import WORKS

ROUNDS = 7
SECONDS = 1.0  # of a turn, warm-up apart


def rate(name):
    """Rows per second of one work, by the fastmlp that is imported."""
    function, rows = PEERS["cython"](WORKS[name])
    function()
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return rows / statistics.median(times)


def rate_of(name, checkout=None):
    """The same in a process of its own, which may import fastmlp from a checkout."""
    environment = dict(os.environ)
    if checkout is not None:
        link = checkout / "fastmlp" / "kernels"
        if not link.exists():
            link.symlink_to("../kernels")
        environment["PYTHONPATH"] = str(checkout)
    command = [sys.executable, __file__, "--one", name]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def main(other, part=""):
    for name in (name for name in WORKS if part in name):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(rate_of(name, Path(other).resolve()))
            ours.append(rate_of(name))
        mine, yours = statistics.median(ours), statistics.median(theirs)
        print(f"{name}: {mine:,.0f} rows/s against {yours:,.0f}: {mine / yours:.3f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(rate(sys.argv[2])))
    else:
        main(*sys.argv[1:])
