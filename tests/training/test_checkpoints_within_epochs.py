"""Checkpoints within long epochs: a process that is killed loses seconds, and its fit is continued bit for bit."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp
from fastmlp import MLP, Callback, Checkpoint, Layer, MLPClassifier, make_optimizer
from interrupted import needs_signals

rng = np.random.RandomState(0)
X = rng.standard_normal((300, 4))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
BLOCKS = list(zip(np.split(X, [50, 120, 200]), np.split(y, [50, 120, 200])))


def network():
    layers = [Layer(6, "tanh", dropout=0.1), Layer(2, "softmax")]
    return MLP(layers, "categorical_cross_entropy", random_state=0)


def train(model, how, epochs, **options):
    if how == "fit":
        return model.fit(X, y, epochs, 20, **options)
    return model.fit_stream(BLOCKS, epochs, 20, **options)


@pytest.fixture
def chunks_of_one_batch(monkeypatch):
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)


class Saving(Callback):
    """Saves the model after every chunk, to a new file each time."""

    def __init__(self, folder):
        self.folder, self.saved = folder, []

    def within_epoch(self, model, epoch):
        self.saved.append((epoch, self.folder / f"{len(self.saved)}"))
        model.save(self.saved[-1][1])


@pytest.mark.parametrize("how", ["fit", "fit_stream"])
def test_a_fit_continues_from_every_place_within_an_epoch(tmp_path, chunks_of_one_batch, how):
    saving = Saving(tmp_path)
    whole = train(network(), how, 2, callbacks=saving)
    assert [epoch for epoch, _ in saving.saved] == [1] * 15 + [2] * 15  # also after the last step of an epoch
    assert_array_equal(whole.parameters, train(network(), how, 2).parameters)
    for epoch, path in saving.saved:
        model = fastmlp.load(path)
        assert model.epoch == epoch - 1
        train(model, how, 3 - epoch)
        assert_array_equal(model.parameters, whole.parameters)
        assert model.history == whole.history


def test_an_epoch_over_other_blocks_is_begun_again(tmp_path, chunks_of_one_batch):
    saving = Saving(tmp_path)
    network().fit_stream(lambda: iter(BLOCKS), 2, 20, callbacks=saving)
    assert len(saving.saved) == 30
    for epoch, path in saving.saved:
        model = fastmlp.load(path)
        step = model._state.step
        assert (model.epoch, model._state.order, model._state.samples_done()) == (epoch - 1, None, 0)
        model.fit_stream(lambda: iter(BLOCKS), 1, 20)
        assert (model.epoch, model._state.step) == (epoch, step + 15)


SCRIPT = """
import os, signal, sys
import numpy as np
sys.path.insert(0, {folder!r})
import test_checkpoints_within_epochs as here
from fastmlp import Callback, Checkpoint
import fastmlp.training.epochs as epochs
epochs.FIRST_CHUNK_FLOPS = 0
epochs.ChunkSize.update = lambda *call: None

class Killed(Callback):
    calls = 0
    def within_epoch(self, model, epoch):
        self.calls += 1
        if self.calls == 23:
            os.kill(os.getpid(), signal.SIGKILL)

checkpoint = Checkpoint({path!r}, every=100, seconds=1e-9)
here.train(here.network(), {how!r}, 3, callbacks=[Killed(), checkpoint])
"""


@needs_signals
@pytest.mark.parametrize("how", ["fit", "fit_stream"])
def test_the_checkpoint_of_a_killed_process(tmp_path, how):
    path = tmp_path / "m.fastmlp"
    script = SCRIPT.format(folder=__file__.rpartition("/")[0], path=str(path), how=how)
    folders = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=folders)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    model = fastmlp.load(path)
    assert (model.epoch, model._state.samples_done()) == (1, 7 * 20)
    train(model, how, 2)
    whole = train(network(), how, 3)
    assert_array_equal(model.parameters, whole.parameters)
    assert model.history == whole.history


def test_a_checkpoint_is_not_written_more_often_than_asked_for(tmp_path, monkeypatch, chunks_of_one_batch):
    now, saved = [0.0], []
    monkeypatch.setattr("fastmlp.training.callbacks.time.monotonic", lambda: now[0])
    monkeypatch.setattr(MLP, "save", lambda model, path: saved.append(now[0]))

    class Clock(Callback):
        def within_epoch(self, model, epoch):
            now[0] += 1

    train(network(), "fit", 2, callbacks=[Clock(), Checkpoint(tmp_path / "m", seconds=4)])
    assert saved == [4, 8, 12, 15, 19, 23, 27, 30, 30]  # after the epochs, and at the end of the fit
    saved.clear()
    train(network(), "fit", 2, callbacks=[Clock(), Checkpoint(tmp_path / "m")])
    assert saved == [45, 60, 60]
    for wrong in (0, -1, "10", np.inf):
        with pytest.raises(ValueError, match="seconds must be a number in"):
            Checkpoint(tmp_path / "m", seconds=wrong)


def test_the_checkpoint_of_an_estimator_within_an_epoch(tmp_path, chunks_of_one_batch):
    """It has the weights so far, and no epoch that a later fit would take for its own."""
    path = tmp_path / "m.fastmlp"

    class Stop(Callback):
        calls = 0

        def within_epoch(self, model, epoch):
            self.calls += 1
            if self.calls == 20:
                raise MemoryError

    model = MLPClassifier((5,), batch_size=20, max_iter=3, random_state=0, warm_start=True)
    with pytest.raises(MemoryError):
        model.fit(X, y, callbacks=[Checkpoint(path, every=100, seconds=1e-9), Stop()])
    loaded = fastmlp.load(path)
    assert loaded.n_iter_ == 1
    assert np.isfinite(loaded.predict_proba(X)).all()
    assert loaded._net.training.order is None
    step = loaded._net.training.step
    loaded.partial_fit(X, y)
    assert loaded._net.training.step == step + 15


def test_a_diverging_epoch_is_not_saved(tmp_path, chunks_of_one_batch):
    """The error would hide that of the divergence."""
    saving, model = Saving(tmp_path), MLP([Layer(1, "identity")], optimizer=make_optimizer("sgd", 3e38))
    with pytest.warns(UserWarning, match="diverged in epoch 1"):  # the loss of the first step is finite
        model.fit(X, 100 + y, 1, 20, callbacks=saving)
    assert not saving.saved
