"""Lets benchmarks find their neighbours, and keeps the saved JSON small: medians and spreads, not every round."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # also in the processes that turns.py starts


@pytest.fixture
def data_folder():
    """The folder of data sets; without it the benchmark is skipped."""
    if "FASTMLP_DATA" not in os.environ:
        pytest.skip("needs the folder of data sets that the environment variable FASTMLP_DATA names")
    return Path(os.environ["FASTMLP_DATA"])


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
