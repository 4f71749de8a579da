"""Table estimators go on from a folder of checkpoints with the bits of an unbroken fit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_interruption import AfterReads

from fastmlp import Checkpoint, TabularMLPClassifier, TabularMLPRegressor
from fastmlp.training.trainer import Trainer

RNG = np.random.default_rng(0)
TABLE = {"a": RNG.standard_normal(300), "b": RNG.choice(["red", "blue", "green"], 300), "c": RNG.random(300)}
NUMBERS = TABLE["a"] + (TABLE["b"] == "red")
NAMES = np.where(NUMBERS > 0, "yes", "no")
EVALUATION = {"eval_X": {name: column[:60] for name, column in TABLE.items()}, "eval_y": NAMES[:60]}
SMALL = {"hidden_layer_sizes": (8,), "epochs": 12, "random_state": 0, "n_jobs": 1}
CASES = {
    "one": (TabularMLPClassifier, {}, NAMES, {}),
    "members": (TabularMLPRegressor, {"n_members": 3}, NUMBERS, {"sample_weight": RNG.random(300)}),
    "folds": (TabularMLPRegressor, {"n_members": 2, "n_folds": 2}, NUMBERS, {}),
    "best epochs": (TabularMLPClassifier, {"n_members": 2, "class_weight": "balanced"}, NAMES, EVALUATION),
}


class Killed(BaseException):
    """Ends a fit without a last checkpoint, like the end of the process."""


@pytest.fixture(autouse=True)
def every_chunk(monkeypatch):
    monkeypatch.setattr("fastmlp.estimators.checkpoint_folder.SECONDS", 1e-9)


def run(name, folder=None, **more):
    kind, parameters, y, arguments = CASES[name]
    return kind(**SMALL | parameters | more).fit(TABLE, y, **arguments, checkpoints=folder)


def kill_after(n_saves, monkeypatch):
    saves = []

    def save(self, model, save=Checkpoint._save):
        saves.append(self.path)
        if len(saves) > n_saves:
            raise Killed
        save(self, model)

    monkeypatch.setattr(Checkpoint, "_save", save)


def count_trainings(monkeypatch):
    counts = []

    def train(self, *given, train=Trainer._train, **options):
        counts.append(self)
        return train(self, *given, **options)

    monkeypatch.setattr(Trainer, "_train", train)
    return counts


def assert_same(found, expected):
    for one, other in zip(found.members_, expected.members_, strict=True):
        assert_array_equal(one.parameters, other.parameters)
        assert one.history == other.history
        assert (one.epoch, one.best_epoch) == (other.epoch, other.best_epoch)
    assert getattr(found, "score_", None) == getattr(expected, "score_", None)


@pytest.mark.parametrize("n_saves", [0, 1, 7, 12, 19])
@pytest.mark.parametrize("name", CASES)
def test_goes_on_from_its_folder(tmp_path, monkeypatch, name, n_saves):
    whole, folder = run(name), tmp_path / "members"
    if n_saves < 12 or name != "one":
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(n_saves, patch)
            run(name, folder)
    assert_same(run(name, folder), whole)
    with monkeypatch.context() as patch:
        counts = count_trainings(patch)
        assert_same(run(name, folder, n_jobs=2), whole)
    assert counts == []  # neither members nor trials are trained again
    n_members = len(whole.members_)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"member-{n}.fastmlp" for n in range(n_members)), "plan.json",
    ]  # fmt: skip


def test_the_plan_of_a_time_limit_is_kept(tmp_path):
    first = run("members", tmp_path, time_limit=0.3, epochs=None)
    (tmp_path / "member-0.fastmlp").unlink()
    assert_same(run("members", tmp_path, time_limit=0.3, epochs=None), first)


@pytest.mark.filterwarnings("ignore:.*interrupted:UserWarning")
@pytest.mark.parametrize("reads", [1, 10, 23, 24, 25])
def test_after_ctrl_c(tmp_path, monkeypatch, reads):
    """Within the twelve epochs of each member, and after the last one."""
    whole = run("best epochs")
    with monkeypatch.context() as patch, pytest.raises(Killed):  # after the trials
        kill_after(0, patch)
        run("best epochs", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        cut = run("best epochs", tmp_path)
    assert all(member.interrupted for member in cut.members_) or reads > 10
    assert_same(run("best epochs", tmp_path), whole)


def test_another_fit_is_refused(tmp_path):
    run("members", tmp_path)
    other = "has the checkpoints of a fit to other data or with other parameters"
    for more in {"epochs": 5}, {"n_members": 2}, {"loss": "absolute_error"}:
        with pytest.raises(ValueError, match=other):
            run("members", tmp_path, **more)
    model = TabularMLPRegressor(**SMALL | {"n_members": 3})
    for y in NUMBERS + 1, NUMBERS:  # the first fit had weights
        before = dict(vars(model))
        with pytest.raises(ValueError, match=other):
            model.fit(TABLE, y, checkpoints=tmp_path)
        assert vars(model) == before
    with pytest.raises(ValueError, match="needs an integer as random_state"):
        run("members", tmp_path, random_state=None)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match=r"plan\.json is damaged"):
        run("members", tmp_path)
