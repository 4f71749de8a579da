"""The command 'train --mpi'."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from mpi import run_command

from problems import quick_first


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.standard_normal(300), "colour": rng.choice(["red", "blue"], 300)})
    frame["price"] = 2 * frame["size"] + (frame["colour"] == "red")
    frame.to_csv(tmp_path / "table.csv", index=False)
    return ["train", str(tmp_path / "table.csv"), "--target", "price", "--epochs", "15", "--out", str(tmp_path / "m")]


@pytest.mark.parametrize("kind", quick_first([["--plain"], ["--members", "3"], []]))
def test_scores_are_those_of_one_process_and_printed_once(table, kind):
    command = [sys.executable, "-P", "-m", "fastmlp", *table, *kind, "--json"]
    alone = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    done = run_command(2, "fastmlp", *table, *kind, "--json", "--mpi")
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert together.keys() == alone.keys()
    for name, score in alone["scores"]["test"].items():
        assert together["scores"]["test"][name] == pytest.approx(score, rel=1e-3)


def test_errors_are_printed_once(table):
    done = run_command(2, "fastmlp", *table, "--target", "weight", "--mpi")
    assert done.returncode == 1
    assert done.stderr.count("no column 'weight'") == 1
    assert "Traceback" not in done.stderr
