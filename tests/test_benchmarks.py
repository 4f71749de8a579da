"""The benchmarks run, and their report renders."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_driver
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


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


@pytest.mark.exhaustive
def test_the_check_of_a_gpu_writes_its_report(tmp_path):
    """Against a driver that makes no numbers: what is timed is nothing, but it is timed, told and kept."""
    done = fake_driver.run(f"""
import runpy, sys
sys.argv = ["gpu_check.py", "--row", "iris online", "--row", "wide", "--out", {str(tmp_path)!r}]
runpy.run_path({str(BENCHMARKS / "gpu_check.py")!r}, run_name="__main__")
""")
    report = json.loads((tmp_path / "report.json").read_text())
    iris, wide = report["rows"]
    assert (report["gpu"], report["parity"]) == ("NVIDIA H200", [None, "not asked for"])
    assert iris["seconds"] > 0
    assert iris["kernels"].startswith("one block of")
    assert "seconds" in wide or wide["errors"]  # cuBLASLt may want a real driver; the other row is kept
    assert "| iris online | " in (tmp_path / "REPORT.md").read_text()
    assert "iris online" in done.out


def test_the_check_of_a_gpu_starts_the_parity_suite(tmp_path, monkeypatch):
    """A file of it, which fails as there is no GPU; but it starts, and its log is kept."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_check

    monkeypatch.setattr(gpu_check, "HERE", tmp_path)
    (tmp_path / "gpu").mkdir()
    (tmp_path / "test_two.py").write_text(
        "import os, fastmlp\n"
        "def test_one(): assert os.environ['FASTMLP_GPU'] == '1'\n"
        "def test_two(): raise AttributeError\n"
    )
    assert gpu_check.run_tests("parity", [tmp_path / "test_two.py"]) == (False, "1 failed, 1 passed")
    assert "AttributeError" in (tmp_path / "gpu" / "logs" / "parity.log").read_text()
