"""The benchmarks run, and their report renders."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.exhaustive
def test_benchmarks_run_and_are_reported(tmp_path):
    command = [sys.executable, "-m", "pytest", BENCHMARKS, "-o", "python_files=bench_*.py", "-o"]
    command += ["python_functions=bench_*", f"--benchmark-json={tmp_path}/results.json", "-q", "-p", "no:xdist"]
    command += ["-p", "no:cacheprovider", "-k", "32x64x64 or iris"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    result = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    specification = importlib.util.spec_from_file_location("report", BENCHMARKS / "report.py")
    report = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(report)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nafter\n")
    report.main(tmp_path / "results.json", tmp_path, readme)
    text = (tmp_path / "REPORT.md").read_text()
    for part in (
        "iris-online",
        "scikit-learn",
        "| update | 32x64x64 | float64 |",
        "% of limit",
        "fastmlp / best other",
    ):
        assert part in text
    assert (tmp_path / "speedup.png").read_bytes()[:4] == b"\x89PNG"
    assert "| iris-online" in readme.read_text()
    assert "old" not in readme.read_text()
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("\nafter\n")
