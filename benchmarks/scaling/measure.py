"""Measure how fits scale over MPI ranks on this machine: python measure.py [--only PART ...]. Writes scaling.json.

Needs mpi4py with mpiexec, torch, and for ``scores`` the folder of data sets that FASTMLP_DATA names. On a quiet machine
with two cores all parts take about ten minutes; parts that are not measured again keep what scaling.json has.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import cpuinfo

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

import accuracy  # noqa: E402
import allreduce  # noqa: E402
import step_parts  # noqa: E402
import step_times  # noqa: E402
from report import rounded  # noqa: E402
from teams import Team  # noqa: E402
from works import WORKS  # noqa: E402

RESULTS = FOLDER / "scaling.json"
PARTS = {  # name: (module, what it measures one after the other, rounds or seeds)
    "allreduce": (allreduce, (2, 4), 5),
    "steps": (step_times, tuple(WORKS), 5),
    "parts": (step_parts, tuple(WORKS), 3),
    "scores": (accuracy, tuple(accuracy.PROBLEMS), len(accuracy.SEEDS)),
}


def machine():
    """The machine, and the day."""
    name = f"{cpuinfo.get_cpu_info()['brand_raw']}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{name}, {datetime.date.today()}"


def main(given=None):
    parser = argparse.ArgumentParser(description="Measure how fits scale over MPI ranks on this machine.")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part alone; repeatable")
    parser.add_argument("--works", default="", metavar="TEXT", help="only what has this in its name")
    parser.add_argument("--rounds", type=int, help="rounds of turns, or seeds of 'scores'")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results (default: %(default)s)")
    options = parser.parse_args(given)
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.only or PARTS:
        module, subjects, n_rounds = PARTS[part]
        for subject in subjects:
            if options.works not in str(subject):
                continue
            begun = time.perf_counter()
            with ExitStack() as teams:
                found = module.measure(
                    subject, lambda *team: teams.enter_context(Team(*team)), options.rounds or n_rounds
                )
            results.setdefault(part, {})[str(subject)] = rounded(found)
            results.setdefault("machines", {})[part] = machine()
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{part}, {subject}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
