"""Ctrl-C ends a fit promptly and keeps the weights; a later fit resumes bit for bit."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPRegressor, make_optimizer
from fastmlp.training.interruption import Interruption
from fastmlp.training.shuffling import Shuffle
from interrupted import AfterReads
from patience import PATIENCE

rng = np.random.RandomState(0)
X = rng.standard_normal((500, 4))
y = (X[:, 0] * X[:, 1] > 0).astype(int)


def network(backend, optimizer="adam"):
    return MLP([(6, "tanh"), (2, "softmax")], "categorical_cross_entropy", optimizer, random_state=0, backend=backend)


@pytest.fixture
def chunks_of_one_batch(monkeypatch):
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)


@pytest.fixture
def cut_in_an_epoch(monkeypatch, chunks_of_one_batch):
    """A model that was interrupted after three batches of its first epoch."""
    model = network("cython")
    with monkeypatch.context() as patch:
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(3))
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(X, y)
    return model


@pytest.mark.parametrize("reads", [0, 1, 7, 16, 40])
@pytest.mark.parametrize("through_a_file", [True, False])
def test_an_interrupted_fit_resumes_bit_for_bit(
    monkeypatch, tmp_path, chunks_of_one_batch, backend, reads, through_a_file
):
    """Each epoch has 16 chunks: interruptions before the first one, in the middle of an epoch, at its end, later."""
    whole = network(backend).fit(X, y, epochs=5)
    cut = network(backend)
    with monkeypatch.context() as patch:
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        with pytest.warns(UserWarning, match="interrupted by user in epoch"):
            cut.fit(X, y, epochs=5)
    assert cut.epoch == reads // 16
    assert cut._state.position == 32 * (reads % 16)
    if through_a_file:
        cut.save(tmp_path / "m.fastmlp")
        cut = fastmlp.load(tmp_path / "m.fastmlp")
    cut.fit(X, y, epochs=5 - cut.epoch)
    np.testing.assert_array_equal(cut.parameters, whole.parameters)
    assert cut.history == whole.history


@pytest.mark.parametrize("rate, cut", [(3, 20), (1e20, 2)])
@pytest.mark.parametrize("through_a_file", [True, False])
def test_ctrl_c_in_a_diverging_epoch_keeps_the_last_finite_weights(
    monkeypatch, tmp_path, chunks_of_one_batch, backend, rate, cut, through_a_file
):
    """The weights from before the epoch are kept; those at the interruption may be NaN."""
    rows = np.random.RandomState(0).randn(60, 4)

    def fit(model, reads):
        monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        with pytest.warns(Warning, match="interrupted|diverged"):
            return model.fit(rows, rows[:, 0], epochs=5, batch_size=1)

    def network():
        return MLP([(1, "identity")], optimizer=make_optimizer("sgd", rate), random_state=0, backend=backend)

    whole, cut_model = fit(network(), 10**9), fit(network(), cut)
    if through_a_file:
        cut_model.save(tmp_path / "m")
        cut_model = fastmlp.load(tmp_path / "m")
    assert np.isfinite(cut_model.parameters).all()
    if cut_model._state.order is not None:
        fit(cut_model, 10**9)
    np.testing.assert_array_equal(cut_model.parameters, whole.parameters)


def test_lbfgs_drops_an_epoch_in_progress(cut_in_an_epoch):
    model = cut_in_an_epoch
    model.optimizer = "lbfgs"
    model.fit(X, y, epochs=2)
    assert (model._state.position, model._state.order, model._state.loss_sum) == (0, None, 0.0)


def test_other_data_start_a_new_epoch(cut_in_an_epoch):
    model = cut_in_an_epoch
    assert model._state.position == 3 * 32
    model.fit(X[:100], y[:100], epochs=1)
    assert (model._state.position, model._state.order) == (0, None)
    assert model._state.step == 3 + 4


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_an_interrupted_estimator_keeps_the_weights_so_far(monkeypatch, chunks_of_one_batch, solver):
    reads = 10 if solver == "lbfgs" else 4  # an epoch is three chunks of 200 samples
    monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
    model = MLPClassifier(random_state=0, solver=solver, max_iter=1000)
    with pytest.warns(UserWarning, match="^Training interrupted by user.$"):
        model.fit(X, y)
    start = MLPClassifier(random_state=0, solver=solver, max_iter=1)
    with pytest.warns(UserWarning):
        monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(0))
        start.fit(X, y)
    assert not np.array_equal(model.coefs_[0], start.coefs_[0])
    assert 0 < model.n_iter_ < 10
    assert model.predict(X).shape == (500,)


def test_an_interrupted_early_stopping_fit_restores_the_best_weights(monkeypatch):
    monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(5))
    model = MLPRegressor(random_state=0, early_stopping=True)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    np.testing.assert_array_equal(model._net.parameters, model._net.progress.best_parameters)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_real_signal_ends_a_long_fit(backend, optimizer):
    """A fit of hours returns; the previous signal handler is restored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    model = network(backend, optimizer if optimizer == "lbfgs" else make_optimizer(optimizer, 1e-9))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))

    def start(model, epoch, results):
        if epoch == 1:
            timer.start()

    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(np.tile(X, (100, 1)), np.tile(y, 100), epochs=10**7, callbacks=start)
    timer.join()
    assert model.epoch < 10**7
    assert np.isfinite(model.parameters).all()
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_signal_in_the_last_chunk_is_not_lost(monkeypatch):
    """No later chunk checks for it, only the end of the fit."""
    monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(1))
    model = network("cython")
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y, epochs=1)
    assert model.interrupted
    assert model.epoch == 1
    monkeypatch.undo()
    assert not model.fit(X, y, epochs=1).interrupted


def test_a_loop_of_partial_fit_ends(monkeypatch):
    """With only a warning the loop would not end."""
    for reads in (0, 1):
        monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda reads=reads: AfterReads(reads))
        model = MLPClassifier(random_state=0)
        with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted"):
            model.partial_fit(X, y, classes=[0, 1])
        assert model.n_iter_ == reads
        assert model.predict(X).shape == (500,)


class Stop(KeyboardInterrupt):
    pass


BLOCKS = [(X, y)]
INTERRUPTED = {
    "MLP.fit": lambda **more: network("cython").fit(X, y, **more),
    "MLP.fit by lbfgs": lambda **more: network("cython", "lbfgs").fit(X, y, **more),
    "MLP.fit_stream": lambda **more: network("cython").fit_stream(BLOCKS, **more),
    "MLPClassifier.fit": lambda **more: MLPClassifier().fit(X, y, **more),
    "MLPClassifier.fit by lbfgs": lambda **more: MLPClassifier(solver="lbfgs").fit(X, y, **more),
    "MLPRegressor.fit_stream": lambda **more: MLPRegressor().fit_stream(BLOCKS, **more),
}


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
@pytest.mark.parametrize("fit", INTERRUPTED)
def test_a_keyboard_interrupt_of_a_callback_is_raised_again(fit, error):
    """The same object. fit of an estimator returns after KeyboardInterrupt itself, as in scikit-learn."""
    given = error("mine")

    def interrupt(model, epoch, results):
        raise given

    if error is KeyboardInterrupt and not fit.startswith("MLP."):
        with pytest.warns(UserWarning, match="interrupted"):
            INTERRUPTED[fit](callbacks=interrupt)
        return
    with pytest.raises(error) as caught:
        INTERRUPTED[fit](callbacks=interrupt)
    assert caught.value is given


def test_a_keyboard_interrupt_in_partial_fit_is_raised_again(monkeypatch):
    given = KeyboardInterrupt("mine")

    def interrupt(shuffle, order):
        raise given

    monkeypatch.setattr(Shuffle, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught, pytest.warns(UserWarning, match="interrupted"):
        MLPRegressor().partial_fit(X, y)
    assert caught.value is given


def test_lbfgs_checks_for_ctrl_c_between_blocks_of_samples(monkeypatch):
    monkeypatch.setattr("fastmlp.training.lbfgs.BLOCK_BYTES", 1)
    interruption = AfterReads(1)
    from fastmlp.training import lbfgs
    from fastmlp.training.problem import Problem, Samples

    model = network("cython").build(4)
    calls = []

    class Counting:
        def loss_and_gradient(self, network, parameters, *rest):
            calls.append(1)
            return 0.0, 0.0, np.zeros_like(parameters)

    with pytest.raises(lbfgs.Interrupted):
        problem = Problem(Counting(), model.network)
        lbfgs.loss_and_gradient_in_blocks(problem, model.parameters, Samples(X, np.eye(2)[y]), interruption)
    assert len(calls) == 1  # 500 rows are two blocks


def test_a_second_signal_raises_immediately():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_custom_signal_handler_is_not_replaced():
    def mine(number, frame):
        raise AssertionError

    previous = signal.signal(signal.SIGINT, mine)
    try:
        with Interruption():
            assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, previous)


def test_fits_in_threads():
    """Threads cannot handle signals; two simultaneous fits do not affect each other."""
    results = {}

    def fit(seed):
        model = MLP([(6, "tanh"), (2, "softmax")], "categorical_cross_entropy", random_state=seed, n_jobs=1)
        results[seed] = model.fit(X, y, epochs=20).parameters

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        alone = MLP([(6, "tanh"), (2, "softmax")], "categorical_cross_entropy", random_state=seed, n_jobs=1)
        np.testing.assert_array_equal(results[seed], alone.fit(X, y, epochs=20).parameters)


SCRIPT = """
import numpy as np, warnings
from fastmlp import MLPClassifier
warnings.simplefilter("ignore")
X = np.random.RandomState(0).standard_normal((20000, 50))
model = MLPClassifier((200, 200), max_iter=10**6, tol=0, n_iter_no_change=10**6)
model.fit(X, X[:, 0] > 0, callbacks=lambda model, epoch, results: print(epoch, flush=True))
print("kept", np.isfinite(model.coefs_[0]).all(), flush=True)
"""


def test_the_process_ends_after_ctrl_c():
    process = subprocess.Popen([sys.executable, "-P", "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert rest.splitlines()[-1] == "kept True"
    assert process.returncode == 0


@pytest.mark.parametrize("share", [0, 1, 2])
def test_a_very_long_step_is_interrupted_between_blocks_of_samples(monkeypatch, share):
    """A part of a batch makes no update; without Ctrl-C the step equals the ordinary one."""
    plain = network("cython").fit(X, y, epochs=3, batch_size=None)
    monkeypatch.setattr("fastmlp.training.epochs.LARGE_STEP_FLOPS", 6e4)
    blocks = network("cython").fit(X, y, epochs=3, batch_size=None)
    np.testing.assert_allclose(blocks.parameters, plain.parameters, rtol=1e-4, atol=1e-6)
    assert blocks.history["loss"] == pytest.approx(plain.history["loss"], rel=1e-5)
    cut = network("cython").build(4)
    before = cut.parameters.copy()
    monkeypatch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(1 + share))
    with pytest.warns(UserWarning, match="interrupted"):
        cut.fit(X, y, batch_size=None)
    np.testing.assert_array_equal(cut.parameters, before)
