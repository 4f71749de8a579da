"""That the generated calls reach every entry point, and that each kind of fault is found."""

import inspect

import fuzz
import fuzz_calls
import fuzz_commands
import fuzz_judge
import numpy as np
import pytest
import same_data
from click import Argument

import fastmlp
from fastmlp.cli.main import main


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fastmlp.__all__)
def test_there_are_sound_arguments_for_every_entry_point(name, tmp_path):
    entry, world = getattr(fastmlp, name), fuzz_calls.World(np.random.default_rng(0), tmp_path)
    if name == "DataParallel":
        pytest.importorskip("mpi4py")
    given = fuzz_calls.required(world, name)
    assert set(fuzz_calls.needed(entry)) <= {*given, *fuzz_calls.SOUND}
    for method in fuzz_calls.methods(name):
        assert set(fuzz_calls.needed(getattr(entry, method))) <= {*fuzz_calls.SOUND, "self"}, method
    assert not inspect.isclass(entry) or fuzz_calls.methods(name) or name in fuzz_calls.USES


@pytest.mark.parametrize("name", sorted(main.commands))
def test_there_are_sound_arguments_for_every_command(name, tmp_path):
    command, world = main.commands[name], fuzz_calls.World(np.random.default_rng(0), tmp_path)
    needed = [one for one in command.params if isinstance(one, Argument)]
    assert len(fuzz_commands.sound(world, command)) >= len(needed)


class Thing:
    def __init__(self):
        self.weight = np.zeros(3)

    def change_and_refuse(self, X):
        self.weight = self.weight + 1
        raise ValueError("X must have other numbers than these.")


def change(X):
    X[0] = 7


def private(X):
    raise TypeError("_own_state() got something else for X")


def elsewhere(X):
    return np.concatenate([X, X[None]])


def nameless(X):
    raise ValueError("something about it is not right at all")


@pytest.mark.parametrize("function, wrong", [
    (change, "changed its argument X"),
    (private, "speaks of what is private"),
    (elsewhere, "comes from elsewhere"),
    (nameless, "names none of X"),
    (lambda X: X * np.nan, "not finite, and said nothing"),
    (lambda X: X.nothing, "not a documented kind of error"),
    (Thing().change_and_refuse, "changed its weight and refused"),
])  # fmt: skip
def test_the_judge_finds(function, wrong, monkeypatch):
    monkeypatch.setattr(fuzz_judge, "OURS", (__file__,))
    step = fuzz_calls.Step("", getattr(function, "__self__", None), function, {"X": np.ones(3)}, ("X",))
    assert wrong in fuzz_judge.Answer(step).fault(step)


CHILD = """
import json, os, sys, time
for number in map(int, sys.argv[3:]):
    print(json.dumps({"begun": f"case {number}: f()"}), flush=True)
    if number == 2:
        time.sleep(60)
    if number == 5:
        os.abort()
    print(json.dumps({"refused": False, "fault": None}), flush=True)
"""


def test_what_hangs_and_what_crashes_is_found_and_the_rest_goes_on(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    monkeypatch.setattr(fuzz, "CHILD", child)
    monkeypatch.setattr(fuzz, "SECONDS", 3)
    counts = fuzz.run(8, 0, tmp_path)
    assert (counts["hung"], counts["crashed"], counts["calls"]) == (1, 1, 8)
    assert sorted(fault.split(":")[0] for fault in counts["faults"]) == ["case 2", "case 5"]


def test_data_that_give_another_result_are_found(tmp_path, monkeypatch):
    def work(dtype, y, other):
        return [np.asarray(other, dtype) + isinstance(other, list)]

    monkeypatch.setattr(same_data, "WORK", {"work": work})
    monkeypatch.setattr(same_data, "data", lambda rng: (np.ones((3, 2)), np.ones(3)))
    monkeypatch.setattr(same_data, "forms_of", lambda X, path: {"lists": X.tolist(), "copy": X.copy()})
    counts = same_data.run(1, 0, tmp_path)
    assert counts["different"] == 1
    assert "work of lists: differs by 1" in counts["faults"][0]
