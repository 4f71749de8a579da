"""Lets benchmarks find their neighbours, and keeps the saved JSON small: medians and spreads, not every round."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # also in the processes that turns.py starts


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
