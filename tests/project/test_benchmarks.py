"""The benchmarks run, and their report renders."""

import importlib.util
import json
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
    command += ["-p", "no:cacheprovider", "-k", "32x64x64 or iris or (precision_training and tiny)"]
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
        "medium / best peer",
    ):
        assert part in text
    assert (tmp_path / "speedup.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "results.json").unlink()
    report().main(folder=tmp_path)
    assert (tmp_path / "REPORT.md").read_text() == text


STREAMS = """
import sys
from pathlib import Path
import streams
streams.ROUNDS, streams.LEAST_ROWS, streams.LARGE = 1, 4096, 2**23
if __name__ == "__main__":
    streams.main(Path(sys.argv[1]), "tabular")
"""


@pytest.mark.exhaustive
def test_the_benchmark_of_streams_runs(tmp_path):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    (tmp_path / "small.py").write_text(STREAMS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *filter(None, sys.path)])}
    command = [sys.executable, tmp_path / "small.py", tmp_path]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for part in ("4,096 rows in 16 row groups", "  blocks in memory", "  read ahead", "window of 4 row groups: + "):
        assert part in result.stdout


UNIT = "medium precision on a unit of this test"
TRAINING = {
    "highest": 100.0, "high": 300.0, "medium": 600.0, "torch": 100.0, "torch.compile": 150.0, "JAX": 80.0,
    "scikit-learn": 50.0, "torch, medium": 90.0, "torch, autocast": 200.0, "torch.compile, autocast": 190.0,
}  # fmt: skip
PREDICTION = {"highest": 120.0, "medium": 400.0, "ONNX Runtime": 100.0, "torch": 90.0, "torch, autocast": 130.0}
SCORES = {"highest": [0.5, 0.6, 0.7], "high": [0.5, 0.6, 0.7], "medium": [0.6, 0.7, 0.8]}
PRECISION_RUNS = {
    "bench_precision_training": [
        [{"name": "deep 784-512-512-10, batch 256"}, {"rates": TRAINING, "unit": UNIT}, 1.0],
        [{"name": "tiny 8-64-64-1, batch 32"}, {"rates": {
            name: rate for name, rate in TRAINING.items() if "compile" not in name
        }, "unit": UNIT}, 1.0],
    ],
    "bench_precision_prediction": [[{"name": "784-512-512-10"}, {"rates": PREDICTION, "unit": UNIT}, 1.0]],
    "bench_precision_scores": [[{"name": "spam"}, {"scores": SCORES, "unit": UNIT}, 1.0]],
}  # fmt: skip


@pytest.mark.parametrize("measured", [[name] for name in PRECISION_RUNS] + [list(PRECISION_RUNS)], ids=len)
def test_the_section_about_precision(measured, tmp_path):
    """Each part of it if it was measured, with the unit that multiplied; ratios to the best peers, and goals."""
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    medians = {"machine": "a machine, 2026-01-01", "runs": {name: PRECISION_RUNS[name] for name in measured}}
    (tmp_path / "medians.json").write_text(json.dumps(medians))
    report().main(folder=tmp_path)
    text = (tmp_path / "REPORT.md").read_text()
    assert text.count("## Precision\n") == 1 and UNIT in text
    rows = {
        "bench_precision_training": [
            "256 | 100 | 300 | 600 | 150 | 200 | torch, autocast | 2.00 | 2.40 | 3.00 | 4.50 |",
            "32 | 100 | 300 | 600 | 100 | 200 | torch, autocast | 3.00 | 4.00 | 3.00 | 5.00 |",
        ],
        "bench_precision_prediction": ["| 784-512-512-10 | 120 | 400 | 100 | 90 | 130 | 1.20 | - | 4.00 | 3.00 |"],
        "bench_precision_scores": ["| spam | 0.6000 ± 0.1000 | 0.6000 ± 0.1000 | 0.7000 ± 0.1000 | +0.00 | +1.00 |"],
    }
    for name, lines in rows.items():
        for line in lines:
            assert (line in text) == (name in measured)


def test_the_committed_report_belongs_to_the_committed_medians(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    (tmp_path / "medians.json").write_bytes((BENCHMARKS / "medians.json").read_bytes())
    report().main(folder=tmp_path)
    assert (tmp_path / "REPORT.md").read_text() == (BENCHMARKS / "REPORT.md").read_text()
    assert "](benchmarks/speedup.png)" in (BENCHMARKS.parent / "README.md").read_text()
