"""Numba compiles once per dtype and rule, in that dtype, and again after a formula has changed; it says so if it takes
long."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core.event import trigger_event

import fastmlp
from fastmlp.kernels.numba import contract as numba_cpu
from fastmlp.kernels.numba import engine as numba_engine
from fastmlp.kernels.numba import notice, rule_loops
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.kernels.spec import new_slots, optimizer
from problems import Problem


@pytest.mark.parametrize("frozen", [True, False])
def test_read_only_data_need_no_new_compilation(frozen):
    for sizes, hidden in (((5, 7, 3), ("tanh",)), ((2, 4, 4, 1), ("relu", "logistic"))):
        problem = Problem(sizes=sizes, hidden=hidden)
        for array in (problem.X, problem.y, problem.weight, problem.order):
            array.flags.writeable = not frozen
        for name in ("sgd", "adam"):
            slots = new_slots(name, problem.parameters.size, "float64")
            given = problem.network, optimizer(name), problem.parameters, slots, 0
            numba_cpu.train_epoch(*given, problem.batches(8))
            numba_cpu.train_epoch(*given, problem.batches(8, problem.weight))
            numba_cpu.forward(problem.network, problem.parameters, problem.X)
    for entry in (numba_engine.bind_parameters, numba_engine.bind_samples, numba_engine.bind_prediction):
        dtypes = [signature[1].dtype for signature in entry.signatures]
        assert dtypes
        assert len(dtypes) == len(set(dtypes)), entry.signatures


@pytest.fixture
def llvm_of(monkeypatch):
    """Compile a loop for float32 without the cache (cached code cannot be inspected) and return its LLVM code."""
    monkeypatch.setitem(rule_loops.COMPILE, "cache", False)

    def compiled(maker, name):
        address = maker.__wrapped__(name, numba.float32)
        (loop,) = [loop for loop in rule_loops._keep_alive if loop.address == address]
        return loop.inspect_llvm()

    return compiled


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_stays_float32_in_a_compiled_activation(llvm_of, name):
    """A bare literal or a double constant would widen the whole loop, and only the generated code shows it."""
    trainable = ACTIVATIONS[name].trainable is not None  # then one loop also computes the derivative
    for maker in (rule_loops.activation, *([] if trainable else [rule_loops.derivative])):
        code = llvm_of(maker, name)
        assert "float" in code
        assert "fpext" not in code


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32_in_a_compiled_update(llvm_of, name):
    code = llvm_of(rule_loops.update, name)
    assert "float" in code
    assert "fpext" not in code


SCRIPT = """
import numpy as np
from fastmlp.kernels.numba import contract, notice
notice.PATIENCE, notice.PAUSE = 0, 1000  # one notice, however busy the machine is
print(float(contract.dense_forward("relu", np.ones((1, 1)), np.ones((1, 1)), np.zeros(1))[0, 0]))
"""


def test_a_changed_formula_is_compiled_again(tmp_path):
    """Cached code of the old formula must not be used."""
    package = tmp_path / "fastmlp"
    shutil.copytree(Path(fastmlp.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "kernels"))
    kernels = Path(numba_cpu.__file__).parents[1]
    shutil.copytree(kernels, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        command = [sys.executable, "-P", "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout), done.stderr

    assert run() == (1, notice.CACHED + "\n")
    assert run() == (1, "")
    rules = package / "kernels" / "rules" / "activations.py"
    source = rules.read_text()
    assert source.count("return T(0) if z < T(0) else z\n") == 1
    rules.write_text(source.replace("return T(0) if z < T(0) else z\n", "return T(0) if z < T(0) else z + z\n"))
    assert run() == (2, notice.CACHED + "\n")


@numba.njit
def compiled_by_a_user():
    pass


without_module = numba.njit(eval("lambda: None", {}))


class Clock:
    """Time that passes only on demand, and a timer that uses it."""

    def __init__(self):
        self.now, self.due, self.action = 0.0, np.inf, None

    def timer(self, delay, action):
        self.action = action
        return SimpleNamespace(start=lambda: self.start(delay), cancel=lambda: self.start(np.inf))

    def start(self, delay):
        self.due = self.now + delay

    def advance(self, seconds):
        self.now += seconds
        if self.now >= self.due:
            self.due = np.inf
            self.action()


@pytest.mark.parametrize(
    ("seconds", "pause", "dispatcher", "lines"),
    [
        ([1.9], 0.0, numba_engine.run_train, 0),
        ([2.1], 0.0, numba_engine.run_train, 1),
        ([0.4, 1.5, 0.2], 0.1, numba_engine.run_train, 1),  # the functions of one fit count together
        ([3.0, 0.4, 3.0], 0.1, numba_engine.run_train, 1),
        ([1.5, 1.5], 10.0, numba_engine.run_train, 0),
        ([3.0, 3.0], 10.0, numba_engine.run_train, 2),
        ([3.0], 0.0, compiled_by_a_user, 0),
        ([3.0], 0.0, without_module, 0),
    ],
)
def test_long_compilations_are_announced_on_stderr(seconds, pause, dispatcher, lines, monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(notice, "monotonic", lambda: clock.now)
    monkeypatch.setattr(notice, "Timer", clock.timer)
    monkeypatch.setattr("numba.core.event._registered", {"numba:compile": [notice.Notice("text")]})
    for duration in seconds:
        with trigger_event("numba:compile", {"dispatcher": dispatcher}):
            with trigger_event("numba:compile", {"dispatcher": dispatcher}):  # a function that it calls
                clock.advance(duration / 2)
            clock.advance(duration / 2)
        clock.advance(pause)
    assert capsys.readouterr() == ("", "text\n" * lines)
