"""The score of early stopping; evaluation sets that lack classes, need a transformation or give NaN."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLP, MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor, make_loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
COMMON = y < 2
rng = np.random.RandomState(0)
INPUTS = rng.uniform(-1, 1, (1500, 2))
SKEWED = INPUTS[:, 0] + rng.exponential(1, 1500)  # its 0.9 quantile is 2.3 above the inputs', its mean 1
QUANTILE = make_loss("quantile", quantile=0.9)
OPTIONS = {"learning_rate_init": 0.01, "early_stopping": True, "max_iter": 60, "random_state": 0, "n_iter_no_change": 5}


def by_fit(**more):
    return MLPRegressor(QUANTILE, (16,), **OPTIONS | more).fit(INPUTS, SKEWED)


def by_evaluation_set(**more):
    estimator = MLPRegressor(QUANTILE, (16,), **OPTIONS | more)
    return estimator.fit(INPUTS[500:], SKEWED[500:], eval_set=(INPUTS[:500], SKEWED[:500]))


def by_stream(**more):
    blocks = [(INPUTS[start : start + 250], SKEWED[start : start + 250]) for start in range(500, 1500, 250)]
    return MLPRegressor(QUANTILE, (16,), **OPTIONS | more).fit_stream(blocks, eval_X=INPUTS[:500], eval_y=SKEWED[:500])


def by_ensemble(**more):
    members = MLPRegressor(QUANTILE, (16,), **OPTIONS | more)
    return MLPEnsembleRegressor(members, n_members=2, random_state=0).fit(INPUTS, SKEWED)


@pytest.mark.parametrize("fit", [by_fit, by_evaluation_set, by_stream, by_ensemble])
def test_early_stopping_uses_the_training_loss_function(fit):
    model = fit()
    assert 0.87 < (SKEWED <= model.predict(INPUTS)).mean() < 0.93
    for estimator in getattr(model, "members_", [model]):
        assert estimator.best_validation_score_ == max(estimator.validation_scores_)
        if hasattr(estimator, "evals_result_"):
            assert estimator.validation_scores_ == estimator.evals_result_["validation_0"]["neg_loss"]


@pytest.mark.parametrize(
    "loss", ["absolute_error", "huber", "mean_squared_error", "quantile", "squared_error", "poisson"]
)
def test_neg_loss_is_the_held_out_loss_without_penalties(loss, backend):
    """For scikit-learn's own losses the score is R^2, as in scikit-learn."""
    target = np.abs(SKEWED)
    model = MLPRegressor(loss, (8,), **OPTIONS | {"max_iter": 3, "alpha": 10.0, "backend": backend})
    model.fit(INPUTS, target, eval_set=(INPUTS[:500], target[:500]), eval_metric=["neg_loss", "r2"])
    residual = target[:500] - model.predict(INPUTS[:500])
    scores = {name: values[-1] for name, values in model.evals_result_["validation_0"].items()}
    if loss != "poisson":
        size = np.abs(residual)
        expected = {
            "squared_error": residual**2 / 2, "mean_squared_error": residual**2, "absolute_error": size,
            "huber": np.where(size <= 1, residual**2 / 2, size - 0.5), "quantile": size / 2,
        }[loss]  # fmt: skip
        assert max(model.evals_result_["validation_0"]["neg_loss"]) == pytest.approx(-expected.mean(), rel=1e-9)
    assert scores["r2"] == pytest.approx(model.score(INPUTS[:500], target[:500]), abs=0.2)
    held_out = MLPRegressor(loss, (8,), **OPTIONS | {"max_iter": 3, "backend": backend}).fit(INPUTS, target)
    if loss != "poisson":
        assert (held_out.best_validation_score_ < 0) == (loss != "squared_error")


def squared_error(prediction, target):
    return (prediction - target) ** 2 / 2


@pytest.mark.parametrize(
    "loss, is_custom",
    [
        ("squared_error", False),
        (make_loss("squared_error"), False),
        (("squared_error", ()), False),
        ((squared_error, lambda prediction, target: prediction - target), True),
    ],
    ids=["name", "object", "tuple", "custom"],
)
def test_every_form_of_a_loss_has_the_same_score(loss, is_custom):
    """R^2 for scikit-learn's squared error, the negative loss for a custom one of the same name."""
    model = MLPRegressor(loss, (8,), **OPTIONS | {"max_iter": 3}).fit(INPUTS, INPUTS[:, 0], eval_set=(INPUTS, SKEWED))
    assert list(model.evals_result_["validation_0"]) == ["neg_loss" if is_custom else "r2"]
    held_out = MLPRegressor(loss, (8,), **OPTIONS | {"max_iter": 3, "alpha": 0}).fit(INPUTS, INPUTS[:, 0])
    assert (held_out.best_validation_score_ < 0) == is_custom


def test_early_stopping_of_a_classifier_with_a_regression_loss():
    model = MLPClassifier(loss="squared_error", **OPTIONS | {"max_iter": 3}).fit(X, y, eval_set=(X, y))
    assert list(model.evals_result_["validation_0"]) == ["neg_loss"]
    assert list(MLPClassifier(max_iter=3).fit(X, y, eval_set=(X, y)).evals_result_["validation_0"]) == ["accuracy"]


@pytest.mark.parametrize("metric", ["neg_log_loss", "neg_brier_score", "top_k_accuracy", "roc_auc_ovo", "neg_loss"])
def test_evaluation_sets_may_lack_classes(metric):
    estimator, given = MLPClassifier(max_iter=2, random_state=0), {"eval_set": (X[COMMON], y[COMMON])}
    model = estimator.fit(X, y, **given, eval_metric=metric)
    if metric == "neg_log_loss":
        expected = -log_loss(y[COMMON], model.predict_proba(X[COMMON]), labels=model.classes_)
        assert model.evals_result_["validation_0"][metric][-1] == pytest.approx(expected)
        again = estimator.fit(X, y, **given, eval_metric=get_scorer(metric))
        assert again.evals_result_["validation_0"]["log_loss"][-1] == pytest.approx(expected)
    streamed = estimator.fit_stream([(X, y)], np.unique(y), **given, eval_metric=metric)
    ensemble = MLPEnsembleClassifier(estimator, n_members=2).fit(X, y, **given, eval_metric=metric)
    for each in (streamed, *ensemble.members_):
        assert np.isfinite(each.evals_result_["validation_0"][metric]).all()


@pytest.mark.parametrize("metric, target, rows", [
    ("roc_auc_ovr", y, COMMON), ("roc_auc", COMMON, y == 0), ("f1", y, y < 3),
])  # fmt: skip
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_undefined_scores_are_refused_before_training(metric, target, rows, solver):
    epochs, model = [], MLPClassifier(solver=solver)
    with pytest.raises(ValueError, match=f"'{metric}' cannot be computed for the evaluation set 'held': "):
        model.fit(
            X, target, eval_set=(X[rows], target[rows]), eval_names=["held"], eval_metric=metric,
            callbacks=lambda model, epoch, results: epochs.append(epoch),
        )  # fmt: skip
    assert not epochs
    assert not hasattr(model, "coefs_")


def test_a_pipeline_transforms_the_evaluation_set():
    far = X * 1000 + 5000
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = MLPClassifier(max_iter=5, random_state=0).set_fit_request(eval_X=True, eval_y=True)
        steps = [("scale", StandardScaler()), ("mlp", classifier)]
        pipeline = Pipeline(steps, transform_input=["eval_X"])
        one = pipeline.fit(far, y, eval_X=far[::3], eval_y=y[::3])[-1].evals_result_
        two = pipeline.fit(far, y, eval_X=(far[::3], far), eval_y=(y[::3], y))[-1].evals_result_
        assert pipeline.score(far, y) == two["validation_1"]["accuracy"][-1]
    assert two["validation_0"] == one["validation_0"]


@pytest.mark.parametrize("one, match", [
    ((X, X), "y has 4 columns after encoding, but the network has 1 outputs"),
    ((X, y, np.zeros(len(y))), "sample weights.* are too small"),
])  # fmt: skip
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_undefined_loss_is_refused_before_training(solver, one, match):
    model = MLPRegressor("huber", solver=solver)
    with pytest.raises(ValueError, match=f"evaluation set 'validation_0': {match}"):
        model.fit(X, y, eval_set=one)
    assert not hasattr(model, "coefs_")


def test_lbfgs_that_needs_no_iteration(recwarn):
    model = MLP([(1, "identity")], optimizer="lbfgs", init="zeros")
    model.fit(X, 0 * y, validation_data=(X, 0 * y), patience=2)
    assert (model.epoch, model.best_epoch, len(recwarn)) == (0, None, 0)


@pytest.mark.parametrize("given, match", [
    ({"eval_X": X}, "eval_X and eval_y must be passed together"), ({"eval_y": y}, "must be passed together"),
    ({"eval_X": X, "eval_y": y, "eval_set": (X, y)}, "not both"),
    ({"eval_X": (X, X), "eval_y": (y,)}, "must be a tuple of 2 sets, as many as eval_X"),
    ({"eval_X": (X, X), "eval_y": y}, "eval_y must be a tuple of 2 sets"),
])  # fmt: skip
def test_eval_X_and_eval_y_must_match(given, match):
    for model in (MLPClassifier(), MLPEnsembleClassifier()):
        with pytest.raises(ValueError, match=match):
            model.fit(X, y, **given)
    with pytest.raises(ValueError, match=match):
        MLPClassifier().fit_stream([(X, y)], np.unique(y), **given)


def test_a_metric_must_return_a_number():
    for found in (None, "much", np.ones(3)):
        with pytest.raises(ValueError, match="eval_metric must return a number, but '<lambda>' returned "):
            MLPClassifier(max_iter=2).fit(X, y, eval_set=(X, y), eval_metric=lambda *given: found)  # noqa: B023
    with pytest.raises(TypeError, match="a callback must return True, False or None"):
        MLPClassifier(max_iter=2).fit(X, y, callbacks=lambda *given: np.ones(3))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_one_warning_for_a_score_that_is_always_nan(solver, recwarn):
    def nothing(estimator, X, y):
        return np.nan

    model = MLPClassifier(solver=solver, early_stopping=True, max_iter=4)
    model.fit(X, y, eval_set=(X, y), eval_metric=nothing)
    told = [str(warning.message) for warning in recwarn if "was NaN after every epoch" in str(warning.message)]
    assert len(told) == 1
    assert np.isnan(model.validation_scores_).all()
    network = MLP([(3, "softmax")], "categorical_cross_entropy", solver)
    network.fit(X, y, 4, validation_data=(X, y), metric=lambda y, outputs: np.nan, patience=2)
    assert network.epoch == 2
    assert len([1 for warning in recwarn if "was NaN after every epoch" in str(warning.message)]) == 2


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_probabilities_of_a_single_class(solver, tmp_path):
    only = np.full(len(y), "setosa")
    model = MLPClassifier(solver=solver, max_iter=3, random_state=0).fit(X, only)
    assert (model.predict_proba(X) == np.ones((len(X), 1))).all()
    assert (model.predict_log_proba(X) == 0).all()
    assert (model.predict(X) == only).all()
    model.save(tmp_path / "one.fastmlp")
    assert fastmlp.load(tmp_path / "one.fastmlp").predict_proba(X[:2]).tolist() == [[1], [1]]
    ensemble = MLPEnsembleClassifier(model, n_members=2).fit(X, only)
    assert (ensemble.predict_proba(X) == 1).all()
    assert (ensemble.predict(X) == only).all()
    noisy = MLPClassifier(dropout=0.5, max_iter=2).fit(X, only)
    mean, spread = noisy.predict_proba(X, mc_samples=3)
    assert (mean == 1).all()
    assert not spread.any()


@pytest.mark.filterwarnings("ignore:Number of classes in training fold")
def test_cross_validation_with_folds_that_lack_classes():
    halves = np.arange(50), np.arange(50, 100)
    proba = cross_val_predict(
        MLPClassifier(max_iter=2), X[:100], y[:100], cv=[halves, halves[::-1]], method="predict_proba"
    )
    assert proba.tolist() == [[0.0, 1.0]] * 50 + [[1.0, 0.0]] * 50
