"""A fit with ``patience`` that was interrupted resumes without a difference: from a file, a pickle, or in memory."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from test_damaged_files import rewrite
from test_interruption import AfterReads

import fastmlp
from fastmlp import MLP, Checkpoint, Layer, MLPClassifier, make_optimizer, make_schedule

X, X_held, y, y_held = train_test_split(*load_iris(return_X_y=True), random_state=0)
HELD = X_held, y_held
BLOCKS = [(X[start : start + 40], y[start : start + 40]) for start in range(0, len(X), 40)]


def correct(y, outputs):
    return (outputs.argmax(axis=1) == y).mean()


def network(dropout=0.0, schedule=None, optimizer="adam"):
    if optimizer != "lbfgs":
        optimizer = make_optimizer(optimizer, 0.05, schedule=schedule)
    layers = [Layer(6, "tanh", dropout=dropout), Layer(3, "softmax")]
    return MLP(layers, "categorical_cross_entropy", optimizer, random_state=0)


def fit(model, epochs, blocks=False, **options):
    options = {"validation_data": HELD, "patience": 4} | options
    if blocks:
        return model.fit_stream(BLOCKS, epochs, 16, shuffle_blocks=2, **options)
    return model.fit(X, y, epochs, 16, **options)


def assert_same(found, expected):
    assert_array_equal(found.parameters, expected.parameters)
    assert found.history.keys() == expected.history.keys()
    for name, curve in expected.history.items():
        assert_array_equal(found.history[name], curve, err_msg=name)
    assert (found.epoch, found.best_epoch) == (expected.epoch, expected.best_epoch)
    assert found._state.stopping is None
    assert_array_equal(found._state.slots, expected._state.slots)
    assert found._random_state.randint(10**9) == copy.deepcopy(expected)._random_state.randint(10**9)


@pytest.mark.parametrize(
    "model, options",
    [
        ({}, {}),
        ({}, {"metric": "accuracy", "monitor": True}),
        ({"dropout": 0.2}, {"metric": correct}),
        ({"schedule": make_schedule("reduce_on_plateau", patience=2)}, {}),
        ({"schedule": make_schedule("cosine", epochs=20, warmup_epochs=3)}, {"patience": 100}),
        ({"dropout": 0.2}, {"blocks": True}),
    ],
    ids=["loss", "accuracy", "dropout", "plateau", "cosine", "blocks"],
)
def test_from_the_checkpoint_of_every_epoch(tmp_path, model, options):
    """The best epoch is before some checkpoints and after others; at the last one only the best weights are missing."""
    path, files, epochs = tmp_path / "m", [], 30
    whole = network(**model)

    class Keep(Checkpoint):
        def after_epoch(self, *given):
            super().after_epoch(*given)
            files.append(path.read_bytes())

    fit(whole, epochs, callbacks=Keep(path), **options)
    assert 1 < whole.best_epoch < whole.epoch == len(files)
    for epoch, content in enumerate(files, 1):
        path.write_bytes(content)
        resumed = fastmlp.load(path)
        assert (resumed.epoch, resumed.best_epoch) == (epoch, None)
        assert_same(fit(resumed, epochs - epoch, **options), whole)
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1"):
        fit(whole, 0, **options)


class Failure(Exception):
    pass


@pytest.mark.parametrize("kept", [lambda model: model, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("blocks", [True, False])
def test_after_an_error(kept, blocks):
    def fail(model, epoch, results):
        if epoch == 7:
            raise Failure

    whole, model = fit(network(), 30, blocks), network()
    with pytest.raises(Failure):
        fit(model, 30, blocks, callbacks=fail)
    assert model.best_epoch is None
    assert_same(fit(kept(model), 23, blocks), whole)


@pytest.mark.parametrize("through_a_file", [True, False])
@pytest.mark.parametrize("reads", [0, 1, 30, 35, 49])
def test_after_ctrl_c_in_the_middle_of_an_epoch(monkeypatch, tmp_path, reads, through_a_file):
    """Each epoch has seven chunks. Norms of updates are those of complete epochs."""
    monkeypatch.setattr("fastmlp.training.epochs.ChunkSize.update", lambda *call: None)
    monkeypatch.setattr("fastmlp.training.epochs.FIRST_CHUNK_FLOPS", 0)
    options = {"monitor": True, "metric": "accuracy"}
    whole, cut = fit(network(), 30, **options), network()
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="interrupted"):
        patch.setattr("fastmlp.training.trainer.Interruption", lambda: AfterReads(reads))
        fit(cut, 30, callbacks=Checkpoint(tmp_path / "m", every=100), **options)
    assert cut._state.position == 16 * (reads % 7)
    if through_a_file:
        cut = fastmlp.load(tmp_path / "m")
    assert_same(fit(cut, 30 - cut.epoch, **options), whole)


def test_lbfgs_keeps_its_best_weights(tmp_path):
    model = network(optimizer="lbfgs")
    model.fit(X, y, 8, validation_data=HELD, patience=50, callbacks=lambda model, *given: model.save(tmp_path / "m"))
    resumed = fastmlp.load(tmp_path / "m").fit(X, y, 30, validation_data=HELD, patience=50)
    assert resumed.best_epoch == np.argmin(resumed.history["validation_loss"]) + 1


def cut_short():
    model = network()
    with pytest.raises(Failure):
        fit(model, 30, callbacks=lambda *given: (_ for _ in ()).throw(Failure))
    assert model._state.stopping.best_epoch == 1
    return model


def ended(tmp_path):
    model = fit(network(), 9, callbacks=Checkpoint(tmp_path / "m"))
    assert model.best_epoch == fastmlp.load(tmp_path / "m").best_epoch is not None
    return fastmlp.load(tmp_path / "m")


def diverged(tmp_path):
    model = network()
    with pytest.warns(ConvergenceWarning):
        fit(model, 2, callbacks=lambda model, *given: model.parameters.fill(1e38))
    return model


def of_an_early_version(tmp_path):
    cut_short().save(tmp_path / "m")

    def forget(header, tensors):
        del header["state"]["dict"]["training"]["dict"]["stopping"]
        del header["state"]["dict"]["best_epoch"]

    rewrite(tmp_path / "m", forget)
    return fastmlp.load(tmp_path / "m")


def without_patience(tmp_path):
    return fit(cut_short(), 1, patience=None)


@pytest.mark.parametrize("before", [ended, diverged, of_an_early_version, without_patience])
def test_a_new_fit_starts_a_new_count(tmp_path, before):
    model = before(tmp_path)
    assert model._state.stopping is None
    if before is diverged:
        return
    first = model.epoch
    fit(model, 5, patience=100)
    assert model.best_epoch == first + 1 + np.argmin(model.history["validation_loss"][first:])
    assert len(model.history["validation_loss"]) == first + 5


@pytest.mark.parametrize("other", [{"metric": "accuracy"}, {"validation_data": (X_held[1:], y_held[1:])}])
def test_another_metric_or_validation_set_starts_a_new_count(other):
    model = cut_short()
    best = model._state.stopping.best_parameters
    fit(model, 1, **other)
    assert model.best_epoch == 2
    assert not np.array_equal(model.parameters, best)


def test_best_weights_of_another_shape_are_refused(tmp_path):
    cut_short().save(tmp_path / "m")

    def change(header, tensors):
        stopping = header["state"]["dict"]["training"]["dict"]["stopping"]["tuple"]
        name = next(item["tensor"] for item in stopping if isinstance(item, dict))
        tensors[name] = tensors[name][1:]

    rewrite(tmp_path / "m", change)
    with pytest.raises(fastmlp.io.model_files.ModelFileError, match="the best parameters are"):
        fastmlp.load(tmp_path / "m")


def by_file(estimator, folder):
    estimator.save(folder / "e")
    return fastmlp.load(folder / "e")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kept", [by_file, lambda e, _: pickle.loads(pickle.dumps(e)), lambda e, _: copy.copy(e)])
@pytest.mark.parametrize("apart", [{}, {"eval_set": HELD, "eval_metric": "neg_log_loss"}], ids=["held out", "eval_set"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_an_estimator_keeps_the_state_of_early_stopping_for_a_warm_start(tmp_path, solver, apart, kept):
    """The best weights, their score, and the number of epochs without improvement."""
    whole = MLPClassifier(
        solver=solver, early_stopping=True, warm_start=True, max_iter=7, dropout=0.1, learning_rate_init=0.05,
        random_state=0,
    ).fit(X, y, **apart)  # fmt: skip
    again = kept(whole, tmp_path)
    watched = "n_iter_", "loss_curve_", "validation_scores_", "best_validation_score_", "_no_improvement_count", "t_"
    for _ in range(2):
        for name in watched:
            assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
        assert_array_equal(again._net.parameters, whole._net.parameters)
        assert_array_equal(again._net.progress.best_parameters, whole._net.progress.best_parameters)
        whole.fit(X, y, **apart)
        again.fit(X, y, **apart)
    assert len(whole.validation_scores_) > 7
