"""The model of steps by several machines against values calculated by hand, and the page that is rendered with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "scaling"
WORK = "deep 784-512-512-10, batch 256"


@pytest.fixture
def module(monkeypatch):
    """A function that imports a module of the folder."""
    from importlib import import_module

    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if str(FOLDER.parent) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def model(module):
    return module("scale_model")


@pytest.mark.parametrize(
    "n_ranks, n_bytes, doubling, halving",
    [
        (1, 100, 0, 0),
        (2, 8, 22, 30),  # 10 + 8 + 4; 2 x 10 + (16 + 4) / 2
        (3, 90, 290, 190),  # 2 x (10 + 90 + 45); 4 x 10 + 2/3 (180 + 45)
        (4, 100, 320, 227.5),  # 2 x (10 + 100 + 50); 4 x 10 + 3/4 (200 + 50)
        (1000, 0, 100, 200),
    ],
)
def test_allreduce(model, n_ranks, n_bytes, doubling, halving):
    link = model.Link(latency=10, per_byte=1, adding=0.5)
    assert model.recursive_doubling(n_ranks, n_bytes, link) == pytest.approx(doubling)
    assert model.halving_and_doubling(n_ranks, n_bytes, link) == pytest.approx(halving)
    assert model.allreduce(n_ranks, n_bytes, link) == pytest.approx(min(doubling, halving))


def step(model, **changes):
    given = {"alone": 9, "gradient": 2, "update": 1, "rest": 1, "rows": 4, "n_bytes": 100, "n_slots": 2}
    return model.Step(**given | changes)


def test_one_machine_does_not_communicate(model):
    link = model.Link(10, 1, 0.5)
    assert model.step_seconds(step(model), 1, link) == 9 and model.efficiency(step(model), 1, link) == 1


def test_a_network_without_latency_and_with_infinite_bandwidth(model):
    """What is left is computing: 4 x 2 + 1 + 1."""
    for n in (2, 1000):
        assert model.step_seconds(step(model), n, model.Link(0, 0)) == 10
        assert model.efficiency(step(model), n, model.Link(0, 0)) == 0.9
    assert model.crossover(step(model), model.Link(0, 0)) is None


def test_rows_of_a_batch(model):
    """Six more rows take 12 s more, alone too; communication stays: 2 x 227.5 s for 4 ranks would be another model."""
    link = model.Link(10, 1, 0.5)
    assert model.step_seconds(step(model), 4, link, rows=10) == 4 * 2 + 2 + 12 + 227.5
    assert model.efficiency(step(model), 4, link, rows=10) == pytest.approx(21 / 249.5)
    assert model.step_seconds(step(model), 4, link, rows=model.balanced_rows(step(model), 4, link)) == 2 * 227.5


def test_where_communication_takes_as_long_as_computing(model):
    """10 s of computing; with latency alone log2(p) x 3 s: 12 s for more than 8 ranks."""
    assert model.crossover(step(model), model.Link(3, 0)) == 9
    # With bandwidth alone 2 (p - 1) / p x 100 bytes, but 100 bytes for 2 ranks: 3/4 x 200 / 15 = 10 s.
    assert model.crossover(step(model), model.Link(0, 1 / 15)) == 4
    assert model.crossover(step(model), model.Link(0, 1 / 21)) is None  # at most 200 / 21 s


def test_local_steps(model):
    """Every 4 steps parameters and two slots: 227.5 + 415 s for 4 ranks, and 50 + 100 s to multiply them."""
    link = model.Link(10, 1, 0.5)
    assert model.step_seconds(step(model), 4, link, local_steps=4) == 9 + 1 / 4 + (227.5 + 415 + 50 + 100) / 4
    plain = step(model, n_slots=0)
    assert model.step_seconds(plain, 4, link, local_steps=4) == 9 + 1 / 4 + (227.5 + 50) / 4


def test_overlap_hides_no_more_than_the_later_layers_send(model):
    """3-2-1: 8 and 3 parameters; products of 6 and 2, of which 4 x 8 - 2 x 6 = 20 of 36 operations are backward."""
    link = model.Link(10, 1, 0.5)
    assert model.most_hidden((3, 2, 1), step(model), 4, link) == pytest.approx(8 * 20 / 36)
    slow = step(model, gradient=1000)
    assert model.most_hidden((3, 2, 1), slow, 4, link) == pytest.approx(227.5 * 3 / 11)


MACHINE = "a machine, 2 cores, Python 3, 2026-01-01"


def results():
    times = {
        "gradient": 5e-3,
        "wait": 1e-4,
        "apply": 7e-4,
        "update": 3e-4,
        "step": 6e-3,
        "alone": 5.2e-3,
        "bare wait": 5e-5,
    }
    variants = ("blocking", "computing", "in sequence", "non-blocking", "non-blocking, tested", "adding")
    row = {"bytes": 2_097_152} | dict.fromkeys(variants, 1e-3)
    names = "1 process", "2 processes, each alone", "2 ranks", "4 ranks", "torch, 1 process", "torch, 2 ranks"
    scores = {"scores": [0.5, 0.6, 0.7], "rate": 200.0}
    return {
        "machines": dict.fromkeys(("allreduce", "steps", "parts"), MACHINE) | {"scores": "another"},
        "allreduce": {"2": {"library": "an MPI", "rows": [row]}},
        "steps": {WORK: dict(zip(names, (100.0, 180.0, 160.0, 150.0, 50.0, 90.0)))},
        "parts": {WORK: times},
        "scores": {"a problem": {"1 process": scores, "gradients, 2 ranks": scores | {"rate": 300.0},
                                 "bfloat16, 4 ranks": scores}},
    }  # fmt: skip


def test_the_page(module, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    (tmp_path / "scaling.json").write_text(json.dumps(results()))
    module("scale_page").main(tmp_path)
    text = (tmp_path / "SCALING.md").read_text()
    for line in (
        f"| {WORK} | 100 | 160 | 80.0 | 88.9 | 150 | 50 | 90 | 90.0 | 2.00 | 1.78 |",
        f"| {WORK} | 5000.0 | 100.0 | 700.0 | 200.0 | 6000.0 | 5200.0 | 50.0 |",
        f"Measured by `make bench-scaling`: allreduce, steps, parts on {MACHINE}; scores on another.",
        "| 2,097,152 | 1000.0 | 2,097 | 1000.0 | 1000.0 | 1000.0 | 1000.0 |",
        "| gradients | 0.6000 ± 0.1000 | 1.50 | - | - |",
        "| bfloat16 | - | - | 0.6000 ± 0.1000 | 1.00 |",
        f"| {WORK} | 2,678.8 | 5,500 |",  # 669,706 parameters
    ):
        assert line in text
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("part", ["allreduce", "steps", "parts", "scores"])
def test_a_page_of_one_part(module, tmp_path, part):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    found = {"machines": {part: MACHINE}, part: results()[part]}
    text = module("scale_page").page(found, tmp_path)
    assert text.count("\n## ") == (2 if part == "parts" else 1)


def test_the_committed_page_belongs_to_the_committed_results(module, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    if (FOLDER / "scaling.json").exists():
        (tmp_path / "scaling.json").write_bytes((FOLDER / "scaling.json").read_bytes())
    module("scale_page").main(tmp_path)
    assert (tmp_path / "SCALING.md").read_text() == (FOLDER / "SCALING.md").read_text()
    assert (tmp_path / "scaling.png").exists() == (FOLDER / "scaling.png").exists()


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", ["allreduce", "steps", "parts"])
def test_measuring(module, tmp_path, part):
    """The command measures a part, and the page renders it."""
    pytest.importorskip("mpi4py", reason="needs the extra mpi")
    if part == "steps":
        pytest.importorskip("torch", reason="needs the extra torch")
    command = [sys.executable, FOLDER / "measure.py", "--only", part, "--rounds", "1"]
    command += ["--works", "2" if part == "allreduce" else "iris", "--out", tmp_path / "scaling.json"]
    measured = subprocess.run(command, capture_output=True, text=True)
    assert measured.returncode == 0, measured.stdout + measured.stderr
    module("scale_page").main(tmp_path)
    assert (tmp_path / "SCALING.md").read_text().count("\n## ") == (2 if part == "parts" else 1)
