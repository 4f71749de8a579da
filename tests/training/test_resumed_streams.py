"""An epoch over a sequence of blocks that ends early is continued, with the bits of an unbroken one."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp
from fastmlp import MLP, Layer, make_optimizer, make_schedule
from interrupted import AfterReads

rng = np.random.RandomState(0)
X = rng.standard_normal((300, 4))
y = (X[:, 0] * X[:, 1] > 0).astype(int)
BLOCKS = list(zip(np.split(X, [30, 30, 77, 80, 200]), np.split(y, [30, 30, 77, 80, 200])))  # one is empty


def network(**options):
    layers = [Layer(6, "tanh", dropout=0.1), Layer(2, "softmax")]
    optimizer = make_optimizer("adam", schedule=make_schedule("cosine", epochs=3))
    return MLP(layers, "categorical_cross_entropy", optimizer, random_state=0, **options)


@pytest.fixture(autouse=True)
def chunks_of_one_batch(monkeypatch):
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)


def interrupt(monkeypatch, reads, model, blocks=BLOCKS, **options):
    with monkeypatch.context() as patch:
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit_stream(blocks, n_samples=300, **options)
    return model


@pytest.mark.parametrize("shuffle_blocks", [1, 2])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [32, 90])  # a batch of 90 is left over from several blocks
def test_an_interrupted_epoch_resumes_bit_for_bit(monkeypatch, tmp_path, shuffle, shuffle_blocks, batch_size):
    """Ctrl-C at every place where a fit checks for it, with the model passed through a file or not."""
    options = {"batch_size": batch_size, "shuffle": shuffle, "shuffle_blocks": shuffle_blocks}
    whole, positions = network().fit_stream(BLOCKS, 2, n_samples=300, **options), set()
    for reads in range(100):
        try:
            cut = interrupt(monkeypatch, reads, network(), epochs=2, **options)
        except pytest.fail.Exception:  # no warning: the fit had ended before
            break
        if cut.epoch == 2:  # after the last step
            break
        positions.add((cut.epoch, cut._state.samples_done()))
        if reads % 2:
            cut.save(tmp_path / "m.fastmlp")
            cut = fastmlp.load(tmp_path / "m.fastmlp")
        cut.fit_stream(BLOCKS, 2 - cut.epoch, n_samples=300, **options)
        assert_array_equal(cut.parameters, whole.parameters)
        assert cut.history == whole.history
        assert cut.epoch == 2
    assert len(positions) == 2 * -(-300 // batch_size)  # every batch of both epochs


class Failing(list):
    """Blocks that cannot be read for a while."""

    left = -1

    def __getitem__(self, number):
        if self.left == 0:
            raise OSError("the disk is gone")
        self.left -= 1
        return super().__getitem__(number)


@pytest.mark.parametrize("reads", range(1, 13))  # the first one of a call is to check the arguments
def test_an_epoch_resumes_after_an_error_of_the_blocks(reads):
    """Also after one before the first sample, when the order of the blocks has been drawn."""
    blocks, model = Failing(BLOCKS), network()
    blocks.left = reads
    with pytest.raises(OSError, match="gone"):
        model.fit_stream(blocks, 2, n_samples=300)
    blocks.left = -1
    model.fit_stream(blocks, 2 - model.epoch, n_samples=300)
    assert_array_equal(model.parameters, network().fit_stream(BLOCKS, 2, n_samples=300).parameters)
    assert model.epoch == 2


OTHERS = BLOCKS[::-1] + BLOCKS[:1]


@pytest.mark.parametrize("change, steps", [
    ({"batch_size": 31}, 10), ({"shuffle": False}, 10), ({"shuffle_blocks": 2}, 10),
    ({"blocks": OTHERS, "n_samples": 330}, 11), ({"blocks": lambda: iter(BLOCKS)}, 10),
])  # fmt: skip
def test_a_call_with_other_arguments_starts_a_new_epoch(monkeypatch, change, steps):
    cut = interrupt(monkeypatch, 6, network())
    before = cut._state.step
    assert cut._state.samples_done() == 32 * before > 0
    cut.fit_stream(**{"blocks": BLOCKS, "n_samples": 300} | change)
    assert (cut.epoch, cut._state.step - before) == (1, steps)


def test_fit_does_not_continue_an_epoch_of_a_stream(monkeypatch):
    """Even if the window in memory has as many samples."""
    cut = interrupt(monkeypatch, 4, network(), [(X, y)], batch_size=30)
    before = cut._state.step
    assert 0 < cut._state.position < len(cut._state.order) == 300
    cut.fit(X, y, 1, batch_size=30)
    assert cut._state.step == before + 10


def test_blocks_that_have_changed_are_refused(monkeypatch):
    cut = interrupt(monkeypatch, 4, network(), [(X, y), (X, y)], shuffle=False)
    assert cut._state.position == 96
    with pytest.raises(ValueError, match="cannot be continued, because the blocks have changed: 64 samples where 96"):
        cut.fit_stream([(X[:70], y[:70])] * 2, n_samples=140, shuffle=False)
    assert cut.fit_stream(BLOCKS, n_samples=300, shuffle=False).epoch == 1
    cut = interrupt(monkeypatch, 14, network(), [(X, y), (X, y)], shuffle=False)
    assert cut._state.stream.left.tolist() == [[0, row] for row in range(288, 300)]
    with pytest.raises(ValueError, match="blocks have changed: block 0 has fewer samples"):
        cut.fit_stream([(X[:290], y[:290])] * 2, n_samples=580, shuffle=False)
    assert cut.fit_stream(BLOCKS, n_samples=300, shuffle=False).epoch == 1
