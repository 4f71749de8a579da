"""The benchmarks run, and their report renders."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def report():
    specification = importlib.util.spec_from_file_location("report", BENCHMARKS / "report.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.exhaustive
def test_benchmarks_run_and_the_report_renders(tmp_path):
    command = [sys.executable, "-m", "pytest", BENCHMARKS, "-o", "python_files=bench_*.py", "-o"]
    command += ["python_functions=bench_*", f"--benchmark-json={tmp_path}/results.json", "-q", "-p", "no:xdist"]
    command += ["-p", "no:cacheprovider", "-k", "32x64x64 or iris"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    result = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    report().main(tmp_path / "results.json", tmp_path)
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
    (tmp_path / "results.json").unlink()
    report().main(folder=tmp_path)
    assert (tmp_path / "REPORT.md").read_text() == text


def test_the_committed_report_belongs_to_the_committed_medians(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    (tmp_path / "medians.json").write_bytes((BENCHMARKS / "medians.json").read_bytes())
    report().main(folder=tmp_path)
    assert (tmp_path / "REPORT.md").read_text() == (BENCHMARKS / "REPORT.md").read_text()
    assert "](benchmarks/speedup.png)" in (BENCHMARKS.parent / "README.md").read_text()
