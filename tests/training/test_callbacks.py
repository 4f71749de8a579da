"""Callbacks between epochs, and scores of evaluation sets."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, make_scorer
from sklearn.model_selection import train_test_split

from fastmlp import MLP, Callback, Checkpoint, Layer, MLPClassifier, MLPRegressor, Progress, load, make_optimizer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
iris = load_iris()
X, X_held, y, y_held = train_test_split(iris.data, iris.target, random_state=0)
LATE = {"max_iter": 6, "n_iter_no_change": np.inf, "random_state": 0}


class Recorder(Callback):
    """A callback that records all calls."""

    def __init__(self, end=None):
        self.notes, self.end = [], end

    def before_epoch(self, model, epoch):
        self.notes.append(("before", epoch))

    def after_epoch(self, model, epoch, results):
        self.notes.append(("after", epoch, dict(results)))
        return epoch == self.end

    def after_fit(self, model, error):
        self.notes.append("end" if error is None else type(error))


def mlp(optimizer="adam"):
    layers = [Layer(5, "tanh"), Layer(3, "softmax")]
    return MLP(layers, "categorical_cross_entropy", optimizer, random_state=0, dtype="float64")


@pytest.mark.parametrize("end", [None, 2])
def test_callbacks_of_estimators(end):
    diary, heard = Recorder(end), []
    model = MLPClassifier(**LATE)
    model.fit(X, y, callbacks=[diary, lambda model, epoch, results: heard.append((model.n_iter_, epoch))])
    n = end or 6
    assert model.n_iter_ == n
    assert heard == [(epoch, epoch) for epoch in range(1, n + 1)]
    assert [note[:2] for note in diary.notes[:-1]] == [(w, e) for e in range(1, n + 1) for w in ("before", "after")]
    assert [note[2] for note in diary.notes[1:-1:2]] == [{"loss": loss} for loss in model.loss_curve_]
    assert diary.notes[-1] == "end"


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("end", [None, 3])
def test_callbacks_of_an_mlp(optimizer, end):
    diary = Recorder(end)
    model = mlp(optimizer).fit(X, y, 5, callbacks=diary, validation_data=(X_held, y_held))
    after = [note for note in diary.notes if note[0] == "after"]
    assert [epoch for _, epoch, _ in after] == list(range(1, (end or 5) + 1))
    assert [results for *_, results in after] == [
        {"loss": loss, "validation_loss": held}
        for loss, held in zip(model.history["loss"], model.history["validation_loss"])
    ]
    assert model.epoch == (end or 5)
    assert [note[1] for note in diary.notes if note[0] == "before"] == (
        [] if optimizer == "lbfgs" else list(range(1, (end or 5) + 1))
    )
    assert diary.notes[-1] == "end"


def test_callbacks_do_not_change_the_training():
    plain, heard = MLPClassifier(**LATE).fit(X, y), MLPClassifier(**LATE).fit(X, y, callbacks=Recorder())
    assert_array_equal(plain.coefs_[0], heard.coefs_[0])
    assert_array_equal(mlp().fit(X, y, 3).parameters, mlp().fit(X, y, 3, callbacks=Recorder()).parameters)


def test_a_callback_can_set_the_learning_rate():
    def halve(model, epoch, results):
        model.optimizer = replace(model.optimizer, learning_rate=model.optimizer.learning_rate / 2)

    model = mlp()
    rate = model.optimizer.learning_rate
    assert model.fit(X, y, 3, callbacks=halve).optimizer.learning_rate == rate / 8


SCORED = {"early_stopping": True, "n_iter_no_change": 100}
STRICT = {"tol": 0, "n_iter_no_change": 1}
CHANGES = {  # parameters, attributes that a callback sets after epoch 3, and the epoch in which the fit ends
    "patience": ({"tol": 10, "n_iter_no_change": 100}, {"n_iter_no_change": 1}, 3),
    "patience of early stopping": (SCORED, {"n_iter_no_change": 2}, 4),
    "patience of lbfgs": (SCORED | {"solver": "lbfgs"}, {"n_iter_no_change": 2}, 4),
    "tolerance": (STRICT, {"tol": 10}, 5),
    "best loss": (STRICT, {"best_loss_": -9.0}, 5),
    "best score": (SCORED | STRICT, {"best_validation_score_": 2.0}, 5),
    "epochs without improvement": ({"tol": 10, "n_iter_no_change": 100}, {"_no_improvement_count": 101}, 3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_callback_can_change_the_stopping_rule(name):
    options, change, end = CHANGES[name]

    def after_epoch(model, epoch, results):
        if epoch == 3:
            for each, value in change.items():
                setattr(model, each, value)

    model = MLPClassifier(max_iter=20, random_state=0, **options)
    scored = {"eval_set": (X, y), "eval_metric": lambda *given: 0.0} if model.early_stopping else {}
    assert model.fit(X, y, callbacks=after_epoch, **scored).n_iter_ == end


@pytest.mark.parametrize("early_stopping", [False, True])
def test_best_values_assigned_between_fits_are_used(early_stopping):
    name, worst, unreachable = ("best_loss_", np.inf, -9.0)
    if early_stopping:
        name, worst, unreachable = ("best_validation_score_", -np.inf, 2.0)
    model = MLPClassifier(early_stopping=early_stopping, warm_start=True, tol=0, **LATE).fit(X, y)
    setattr(model, name, unreachable)
    model._no_improvement_count = 50
    assert getattr(model.fit(X, y), name) == unreachable
    assert model._no_improvement_count == 50 + 6
    setattr(model, name, worst)
    model.fit(X, y)
    best = max(model.validation_scores_[-6:]) if early_stopping else min(model.loss_curve_[-6:])
    assert getattr(model, name) == best


@pytest.mark.parametrize("kind", ["estimator", "mlp"])
def test_an_error_in_a_callback_ends_the_fit(kind):
    diary = Recorder()

    def fail(model, epoch, results):
        raise KeyError("mine")

    model = mlp() if kind == "mlp" else MLPClassifier(**LATE)
    with pytest.raises(KeyError, match="mine"):
        model.fit(X, y, callbacks=[diary, fail])
    assert diary.notes[-1] is KeyError
    assert (model.epoch if kind == "mlp" else model.n_iter_) == 1


def test_an_mlp_resumes_from_its_checkpoint_bit_for_bit(tmp_path):
    """As if the process had been killed in the fifth epoch."""

    def die(model, epoch, results):
        if epoch == 5:
            raise MemoryError

    whole = mlp().fit(X, y, 9)
    with pytest.raises(MemoryError):
        mlp().fit(X, y, 9, callbacks=[die, Checkpoint(tmp_path / "m", every=2)])
    again = load(tmp_path / "m")
    assert again.epoch == 4
    assert_array_equal(again.fit(X, y, 5).parameters, whole.parameters)
    assert again.history == whole.history


def test_the_last_checkpoint_is_written_at_the_end(tmp_path):
    model = MLPClassifier(**LATE)
    saved = []
    keep = Checkpoint(tmp_path / "m", every=4)
    model.fit(X, y, callbacks=[keep, lambda model, epoch, results: saved.append((tmp_path / "m").exists())])
    assert saved == [False, False, False, False, True, True]  # it is written after other callbacks
    assert_array_equal(load(tmp_path / "m").coefs_[0], model.coefs_[0])
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="every must be"):
            Checkpoint(tmp_path / "m", every=wrong)
    with pytest.raises(OSError, match="does not exist"):
        Checkpoint(tmp_path / "none" / "m")


@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("kind", ["estimator", "mlp"])
def test_the_last_checkpoint_has_the_best_weights(tmp_path, kind, every):
    keep = Checkpoint(tmp_path / "m", every)
    if kind == "mlp":
        model = mlp(make_optimizer("adam", 0.1)).fit(
            X, y, 60, validation_data=(X_held, y_held), patience=4, callbacks=keep
        )
        assert_array_equal(load(tmp_path / "m").parameters, model.parameters)
        assert model.epoch < 60
    else:
        model = MLPClassifier(early_stopping=True, learning_rate_init=0.1, random_state=0).fit(X, y, callbacks=keep)
        assert_array_equal(load(tmp_path / "m").coefs_[0], model.coefs_[0])


def test_the_checkpoint_of_a_failed_fit_is_kept(tmp_path):
    keep = Checkpoint(tmp_path / "m", every=100)
    MLPClassifier(**LATE).fit(X, y, callbacks=keep)
    before = (tmp_path / "m").read_bytes()
    with pytest.raises(ZeroDivisionError):
        MLPClassifier(**LATE).fit(X, y, callbacks=[keep, lambda *given: 1 / 0])
    assert (tmp_path / "m").read_bytes() == before


def test_an_error_in_after_fit_reaches_all_callbacks_and_keeps_the_fit():
    class Full(Callback):
        def after_fit(self, model, error):
            raise OSError("the disk is full")

    diary, model = Recorder(), MLPClassifier(**LATE)
    with pytest.raises(OSError, match="full"):
        model.fit(X, y, callbacks=[Full(), diary, Full()])
    assert diary.notes[-1] == "end"
    assert model.n_iter_ == 6


def test_progress_bar(capsys):
    MLPClassifier(**LATE).fit(X, y, callbacks=Progress(6))
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "loss=" in shown


@pytest.mark.parametrize("wrong", [3, "loss", [None], Recorder, [3, Recorder()]])
def test_invalid_callbacks(wrong):
    for call in (lambda: mlp().fit(X, y, 1, callbacks=wrong), lambda: MLPClassifier().fit(X, y, callbacks=wrong)):
        with pytest.raises(TypeError, match=r"callbacks must be fastmlp\.Callback objects or functions, got"):
            call()


def test_sets_are_scored_after_each_epoch():
    def balanced(estimator, X, y, sample_weight=None):
        return balanced_accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)

    scores = []
    model = MLPClassifier(**LATE).fit(
        X, y, eval_set=[(X_held, y_held), (X, y, np.arange(len(y)))], eval_names=["held", "own"],
        eval_metric=["accuracy", "neg_log_loss", balanced],
        callbacks=lambda model, epoch, results: scores.append((results, model.score(X_held, y_held))),
    )  # fmt: skip
    assert set(model.evals_result_) == {"held", "own"}
    assert list(model.evals_result_["own"]) == ["accuracy", "neg_log_loss", "balanced"]
    assert model.evals_result_["held"]["accuracy"] == [score for _, score in scores]
    assert [results["held-accuracy"] for results, _ in scores] == [score for _, score in scores]
    last = log_loss(y, model.predict_proba(X), sample_weight=np.arange(len(y)))
    assert_allclose(model.evals_result_["own"]["neg_log_loss"][-1], -last)
    assert_array_equal(model.coefs_[0], MLPClassifier(**LATE).fit(X, y).coefs_[0])
    assert not hasattr(model.fit(X, y), "evals_result_")


def test_a_warm_start_with_another_metric():
    model = MLPClassifier(early_stopping=True, warm_start=True, **LATE)
    model.fit(X, y, eval_set=(X_held, y_held))
    first = model.coefs_[0].copy()
    model.fit(X, y, eval_set=(X_held, y_held), eval_metric="neg_log_loss")
    assert model.best_validation_score_ == max(model.evals_result_["validation_0"]["neg_log_loss"])
    assert not np.array_equal(model.coefs_[0], first)
    model.set_params(solver="lbfgs", early_stopping=False).fit(X, y)
    assert not hasattr(model, "evals_result_")


def test_a_warm_start_without_an_evaluation_set_forgets_its_scores():
    def much(estimator, X, y):
        return 50 + estimator.score(X, y)

    model = MLPClassifier(early_stopping=True, warm_start=True, **LATE)
    model.fit(X, y, eval_set=(X_held, y_held), eval_metric=much)
    assert model.fit(X, y).n_iter_ == 6
    assert model.best_validation_score_ <= 1
    best = model.best_validation_score_
    assert model.fit(X, y).best_validation_score_ >= best  # they are kept between fits of the same kind


def test_training_continues_from_coefs_set_by_a_callback():
    def clip(model, epoch, results):
        model.coefs_ = [np.clip(W, -0.1, 0.1) for W in model.coefs_]

    def clip_in_place(model, epoch, results):
        for W in model.coefs_:
            np.clip(W, -0.1, 0.1, out=W)

    new, same = (MLPClassifier(**LATE).fit(X, y, callbacks=each) for each in (clip, clip_in_place))
    assert new.loss_curve_ == same.loss_curve_ != MLPClassifier(**LATE).fit(X, y).loss_curve_
    assert_array_equal(new.predict_proba(X), same.predict_proba(X))
    by_lbfgs = MLPClassifier(solver="lbfgs", **LATE)
    assert_array_equal(by_lbfgs.fit(X, y, callbacks=clip).coefs_[0], by_lbfgs.fit(X, y).coefs_[0])


def test_names_of_scorers():
    given = [make_scorer(accuracy_score), make_scorer(balanced_accuracy_score)]
    model = MLPClassifier(**LATE).fit(X, y, eval_set=(X_held, y_held), eval_metric=given)
    assert list(model.evals_result_["validation_0"]) == ["accuracy_score", "balanced_accuracy_score"]


def test_results_of_an_mlp_exclude_earlier_fits():
    model, heard = mlp().fit(X, y, 1, validation_data=(X_held, y_held)), []
    model.fit(X, y, 1, callbacks=lambda model, epoch, results: heard.append(set(results)))
    assert heard == [{"loss"}]


@pytest.mark.filterwarnings("ignore:.*sample_weight.*")
@pytest.mark.parametrize("metric", [None, "neg_mean_absolute_error"])
def test_early_stopping_on_an_evaluation_set_restores_the_best_weights(metric, tmp_path):
    """No training data is held out."""
    target, held = iris.data[:100, 0], iris.data[100:, 0]
    options = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.05, "n_iter_no_change": 5, "random_state": 0}
    best = []
    model = MLPRegressor(early_stopping=True, max_iter=400, **options).fit(
        iris.data[:100, 1:], target, eval_set=(iris.data[100:, 1:], held), eval_metric=metric,
        callbacks=lambda model, epoch, results: best.append(model.coefs_[0].copy()),
    )  # fmt: skip
    (curves,) = model.evals_result_.values()
    (scores,) = curves.values()
    assert model.validation_scores_ == scores
    assert len(scores) == model.n_iter_ < 400
    assert model.best_validation_score_ == max(scores)
    assert_array_equal(model.coefs_[0], best[int(np.argmax(scores))])
    plain = MLPRegressor(max_iter=1, **options).fit(iris.data[:100, 1:], target)
    assert model.loss_curve_[0] == plain.loss_curve_[0]
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").evals_result_ == model.evals_result_


@pytest.mark.parametrize("wrong, message", [
    ({"eval_set": X_held}, "eval_set must be"), ({"eval_set": [X_held, y_held]}, "eval_set must be"),
    ({"eval_set": (X_held,)}, "eval_set must be"), ({"eval_set": (X_held, y)}, "inconsistent numbers"),
    ({"eval_set": (X_held[:0], y_held[:0])}, "a set without samples"), ({"eval_set": []}, "must have at least one set"),
    ({"eval_set": (X_held, y_held), "eval_names": ["a", "b"]}, "eval_names must be 1"),
    ({"eval_set": [(X, y)] * 2, "eval_names": ["a", "a"]}, "eval_names must be 2 distinct"),
    ({"eval_set": (X_held, y_held), "eval_metric": "goodness"}, "goodness"),
    ({"eval_set": (X_held, y_held), "eval_metric": 3}, "eval_metric must be"),
    ({"eval_set": (X_held, y_held), "eval_metric": []}, "one or more distinct metrics"),
    ({"eval_set": (X_held, y_held), "eval_metric": ["accuracy"] * 2}, "one or more distinct metrics"),
    ({"eval_metric": "accuracy"}, "require evaluation sets"), ({"eval_set": (X_held[:, :2], y_held)}, "features"),
])  # fmt: skip
def test_invalid_evaluation_sets(wrong, message):
    model = MLPClassifier(**LATE).fit(X, y)
    before = model.coefs_[0].copy()
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **wrong)
    assert_array_equal(model.coefs_[0], before)


def test_lbfgs_is_scored_after_each_iteration():
    options = {"solver": "lbfgs", "n_iter_no_change": 3, "random_state": 0}
    diary, kept = Recorder(), []
    model = MLPClassifier(early_stopping=True, **options).fit(
        X, y, eval_set=(X_held, y_held), eval_metric="neg_log_loss",
        callbacks=[diary, lambda model, epoch, results: kept.append(model.coefs_[0].copy())],
    )  # fmt: skip
    scores = model.evals_result_["validation_0"]["neg_log_loss"]
    assert model.n_iter_ == len(scores) == len(model.loss_curve_) == len(kept) < 200
    assert np.argmax(scores) == len(scores) - 5  # three iterations without improvement, and one more
    assert_array_equal(model.coefs_[0], kept[-5])
    assert_allclose(-log_loss(y_held, model.predict_proba(X_held)), max(scores))
    assert [note[1] for note in diary.notes[:-1]] == list(range(1, len(scores) + 1))
    assert MLPClassifier(**options).fit(X, y, callbacks=Recorder(2)).n_iter_ == 2


def test_scoring_does_not_change_lbfgs():
    plain = MLPClassifier(solver="lbfgs", **LATE).fit(X, y)
    watched = MLPClassifier(solver="lbfgs", **LATE).fit(X, y, eval_set=(X_held, y_held), callbacks=Recorder())
    assert_array_equal(plain.coefs_[0], watched.coefs_[0])
    assert watched.loss_curve_[-1] == watched.loss_ == plain.loss_
