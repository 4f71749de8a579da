"""Every example runs, draws its figure and has the expected results."""

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "command_line")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(tmp_path):
    """A function that runs an example by name, checks its figure and returns its numbers."""

    def run(name, **data):
        spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        example = module_from_spec(spec)
        spec.loader.exec_module(example)
        numbers = example.main(tmp_path, quick=True, **data)
        assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
        return numbers

    return run


def test_logic_gates(run):
    numbers = run("logic_gates")
    assert numbers["perceptron converged on AND"]
    assert numbers["perceptron converged on OR"]
    assert not numbers["perceptron converged on XOR"]
    assert numbers["OR, Adaline"] == numbers["AND, Adaline"] == 1
    assert numbers["XOR, Perceptron"] < 1
    assert numbers["XOR, Adaline"] < 1
    assert numbers["XOR, MLP, 2 tanh units"] == 1


@pytest.mark.exhaustive
def test_universal_approximation(run):
    numbers = run("universal_approximation")
    assert numbers["x²"] < 0.005
    assert numbers["sin πx"] < 0.02
    assert numbers["|x|"] < 0.04
    assert numbers["sign x"] < 0.005


def test_iris(run):
    numbers = run("iris")
    assert numbers["softmax regression"] > 0.9
    assert numbers["MLP, 8 tanh units"] > 0.9


def test_wheels(run):
    numbers = run("wheels")
    assert numbers["correct"] == 6
    assert numbers["mean error after training"] < numbers["mean error before training"] / 10


def test_vanishing_gradient(run):
    numbers = run("vanishing_gradient")
    ratio = "gradient of layer 1 / layer 19"
    assert numbers[f"small weights: {ratio}"] < 1e-3
    assert numbers[f"small weights, skips: {ratio}"] > 0.1
    assert numbers[f"Glorot's weights: {ratio}"] > 0.1
    assert numbers["small weights: loss"] > 2.2  # guessing gives log 10 = 2.3
    assert numbers["small weights, skips: loss"] < 0.5


def test_symmetry(run):
    numbers = run("symmetry")
    assert numbers["2^M M!"] == numbers["distinct copies"] == 48
    assert numbers["error"] < 1e-3
    assert numbers["largest relative difference of errors"] < 1e-9


def test_overfitting(run):
    numbers = run("overfitting")
    for remedy in ("early stopping", "dropout", "L2 penalty"):
        assert numbers[f"{remedy}: validation loss"] < numbers["no remedy: validation loss"]
        assert numbers[f"{remedy}: error against the truth"] < numbers["no remedy: error against the truth"]
    assert numbers["early stopping: epochs"] < numbers["no remedy: epochs"]
    assert numbers["width of the dropout band outside the data / inside"] > 1.5


def test_activations(run):
    assert run("activations")["activations"] >= 18


def test_pole_balancing(run):
    """Beside torch, if it is installed."""
    numbers = run("pole_balancing")
    for name in {key.split(":")[0] for key in numbers}:
        assert numbers[f"{name}: steps in the first round"] < 30
        assert numbers[f"{name}: steps in the last rounds"] > 90


def test_vowels(run, data_folder):
    numbers = run("vowels", data=data_folder / "vowels_pb52")
    assert numbers["training samples"] + numbers["test samples"] == 1520
    assert numbers["held-out accuracy"] > 0.7


def test_head_direction(run, data_folder):
    """Mitchell reports 90 %."""
    numbers = run("head_direction", data=data_folder / "cmu_faces")
    assert numbers["training images"] + numbers["held-out images"] == 624
    assert numbers["held-out accuracy"] >= 0.9


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_example_has_a_test_an_entry_in_the_readme_and_a_figure(name):
    assert f"test_{name}" in globals()
    assert f"[{name}.py]({name}.py)" in (EXAMPLES / "README.md").read_text()
    assert (EXAMPLES / "figures" / f"{name}.png").read_bytes().startswith(PNG)


def test_make_runs_every_example():
    lists = re.findall(r"^(?:DATA_)?EXAMPLES := (.*)$", (EXAMPLES.parent / "Makefile").read_text(), re.M)
    assert sorted(entry.split(":")[0] for line in lists for entry in line.split()) == SCRIPTS


def command(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.exhaustive
def test_command_line(tmp_path):
    done = command(EXAMPLES / "wheels.py", "--quick", "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "correct: 6" in done.stdout
    assert (tmp_path / "new" / "wheels.png").exists()


@pytest.mark.exhaustive
def test_command_line_without_data(tmp_path):
    done = command(EXAMPLES / "vowels.py", "--out", tmp_path)
    assert done.returncode == 2
    assert "Missing option '--data'" in done.stderr
