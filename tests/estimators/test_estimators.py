"""The estimator interface of scikit-learn: parameters, attributes, pickles, clones, partial_fit, errors."""

import copy
import inspect
import io
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.fitting import FLOAT64

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
KINDS = ("MLPClassifier", "MLPRegressor")


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_scikit_learn_then_ours(kind):
    ours = inspect.signature(getattr(fastmlp, kind)).parameters
    theirs = inspect.signature(getattr(neural_network, kind)).parameters
    shared = list(ours)[: len(theirs)]
    assert [(p.name, p.default, p.kind) for p in map(ours.get, shared)] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]
    extra = list(ours)[len(theirs) :]
    both = ["l1", "activity_l1", "activity_l2", "dropout", "input_dropout", "input_noise", "init", "skip"]
    of_classes = kind == "MLPClassifier"
    own, last = (["loss", "target_values"], ["class_weight"]) if of_classes else ([], [])
    own_last = [] if of_classes else ["non_crossing"]
    assert extra == [
        "backend", "n_jobs", *both, "skip_weights", *own, "n_layers", "width", "scale", *last, "dtype",
        "matmul_precision", "missing_targets", *own_last, "communicator",
    ]  # fmt: skip
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in extra)


@pytest.mark.parametrize("kind", KINDS)
def test_parameter_constraints_are_those_of_scikit_learn(kind):
    ours, theirs = getattr(fastmlp, kind)._parameter_constraints, getattr(neural_network, kind)._parameter_constraints
    # Parameters with more options accept all of scikit-learn's.
    wider = {"activation", "solver", "learning_rate", "loss"}
    for name in theirs:
        if name in wider:
            assert theirs[name][0].options < ours[name][0].options, name
        elif name == "alpha":
            assert [described(c) for c in ours[name][:-1]] == [described(c) for c in theirs[name]]
            assert ours[name][-1].options == {"bayes"}
        else:
            assert [described(c) for c in ours[name]] == [described(c) for c in theirs[name]], name


def described(constraint):
    return constraint if isinstance(constraint, str) else (type(constraint).__name__, vars(constraint))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
def test_public_attributes_after_fit(kind, solver):
    found = []
    for package in (fastmlp, neural_network):
        model = getattr(package, kind)(solver=solver, max_iter=3).fit(pd.DataFrame(X, columns=list("abcd")), y)
        names = (name for name in dir(model) if name.endswith("_") and not name.startswith("_"))
        found.append({name for name in names if hasattr(model, name)})
    assert found[0] - found[1] == {"backend_", "backend_reason_"}
    assert found[1] <= found[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_methods_take_the_same_arguments(kind, method):
    ours = inspect.signature(getattr(getattr(fastmlp, kind)(), method))
    theirs = inspect.signature(getattr(getattr(neural_network, kind)(), method))
    more = {
        "mc_samples",
        "epochs",
        "eval_set",
        "eval_X",
        "eval_y",
        "eval_names",
        "eval_metric",
        "callbacks",
        "resume_from",
    }
    found = [p.replace(annotation=p.empty) for p in ours.parameters.values() if p.name not in more]
    assert found == list(theirs.parameters.values())


def test_float32_input_is_fitted_in_float32():
    for solver in ("adam", "lbfgs"):
        model = MLPClassifier(max_iter=3, solver=solver).fit(X.astype("f4"), y)
        assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype("float32")}
        assert model.predict_proba(X.astype("f4")).dtype == np.float32
    assert MLPRegressor(max_iter=3).fit(X.astype("f4"), y).predict(X).dtype == np.float32
    assert MLPRegressor(max_iter=3).fit(X, y).predict(X).dtype == np.float64


def test_feature_names_of_a_frame():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier(max_iter=3).fit(frame, y)
    assert list(model.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)


def test_string_labels_and_early_stopping():
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier(random_state=0, early_stopping=True, max_iter=200).fit(X, labels)
    assert set(model.predict(X)) <= set(labels)
    assert len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_predictions_for_one_target_column_have_one_dimension():
    model = MLPRegressor(max_iter=3)
    assert model.fit(X, y.astype(float)).predict(X).shape == (150,)
    assert model.fit(X, np.column_stack([y, y])).predict(X).shape == (150, 2)


def test_pipelines_and_cross_validation():
    data, target = make_regression(2000, 10, random_state=0)
    model = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(50, 50), max_iter=300, random_state=0))
    assert model.fit(data, target / target.std()).score(data, target / target.std()) > 0.99
    model = make_pipeline(StandardScaler(), MLPClassifier((20,), max_iter=500, random_state=0))
    assert cross_val_score(model, X, y).mean() > 0.93


def test_grid_search_with_workers():
    search = GridSearchCV(MLPClassifier(max_iter=20, random_state=0), {"hidden_layer_sizes": [(3,), (9,)]}, n_jobs=2)
    alone = GridSearchCV(search.estimator, search.param_grid).fit(X, y)
    np.testing.assert_allclose(search.fit(X, y).cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


# Parameters are views of one vector, which a user may also replace.


def test_parameters_may_be_changed_in_place_or_replaced():
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0).fit(X, y.astype(float))
    model.intercepts_[-1][:] += 5
    before = model.predict(X)
    model.intercepts_[-1] = model.intercepts_[-1] + 1.0
    np.testing.assert_allclose(model.predict(X), before + 1)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_ = [np.zeros(3), np.array([7.0])]
    np.testing.assert_array_equal(model.predict(X), np.full(150, 7.0))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), np.full(150, 7.0))
    model.coefs_[0] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="keep their shapes"):
        model.predict(X)


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize("through", [through_joblib, lambda m: pickle.loads(pickle.dumps(m))], ids=["joblib", "pickle"])
def test_a_pickled_estimator_continues_training_like_the_original(through):
    model = MLPClassifier(random_state=np.random.RandomState(0)).partial_fit(X, y, classes=[0, 1, 2])
    twin = through(model)
    assert np.shares_memory(twin.coefs_[0], twin._net.parameters)
    for _ in range(3):
        model.partial_fit(X, y)
        twin.partial_fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], twin.coefs_[0])
    assert model.loss_curve_ == twin.loss_curve_


def test_a_memory_mapped_estimator_predicts_and_trains(tmp_path):
    model = MLPClassifier(random_state=0, max_iter=3).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(mapped.partial_fit(X, y).coefs_[0], model.partial_fit(X, y).coefs_[0])


def test_pickles_hold_parameters_once():
    model = MLPRegressor(hidden_layer_sizes=(200, 200), max_iter=1, solver="lbfgs").fit(X, y)
    assert len(pickle.dumps(model)) < 1.2 * model._net.parameters.nbytes


def test_a_clone_is_not_fitted():
    model = MLPClassifier((7,), alpha=0.3, backend="numpy", n_jobs=1, max_iter=3).fit(X, y)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coefs_")


def test_partial_fit_requires_a_stochastic_solver():
    assert hasattr(MLPClassifier(), "partial_fit")
    for kind in (MLPClassifier, MLPRegressor):
        assert not hasattr(kind(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError):
        MLPClassifier(solver="lbfgs").partial_fit(X, y)


def test_backend_and_its_reason_are_attributes(backend):
    model = MLPClassifier(backend=backend, max_iter=2).fit(X.astype("f4"), y)
    assert (model.backend_, model.backend_reason_) == (backend, "requested")
    assert model.fit(X, y).backend_reason_ == f"requested; {FLOAT64}"
    assert model.set_params(dtype="float64").fit(X, y).backend_reason_ == "requested"
    automatic = MLPClassifier(max_iter=2).fit(X, y)
    assert automatic.backend_ == "cython"
    assert "ahead of time" in automatic.backend_reason_


def test_a_single_class():
    X = np.random.RandomState(0).standard_normal((30, 3)) * 3
    for seed in range(6):
        model = MLPClassifier(max_iter=2, random_state=seed)
        with pytest.warns(Warning, match="Maximum iterations"):
            model.fit(X, ["only"] * 30)
        assert set(model.predict(X)) == {"only"}


def test_learning_rates_can_be_changed_between_calls_of_partial_fit():
    """Under scikit-learn's names, because its users change the rates of ``_optimizer``."""
    for solver, name in (("sgd", "learning_rate"), ("adam", "learning_rate_init"), ("adam", "learning_rate")):
        lowered, constant = (MLPClassifier(solver=solver, random_state=0, learning_rate_init=0.1) for _ in range(2))
        for model in (lowered, constant):
            model.partial_fit(X, y, classes=np.unique(y))
        assert (lowered._optimizer.learning_rate, lowered._optimizer.learning_rate_init) == (0.1, 0.1)
        setattr(lowered._optimizer, name, 1e-12)
        assert lowered._optimizer.learning_rate == 1e-12
        before = lowered.coefs_[0].copy()
        for model in (lowered, constant):
            model.partial_fit(X, y)
        # The momentum still contains steps made at the previous rate.
        assert abs(lowered.coefs_[0] - before).max() < (1e-9 if solver == "adam" else np.inf)
        assert abs(lowered.coefs_[0] - before).max() < abs(constant.coefs_[0] - before).max()
        setattr(lowered._optimizer, name, np.float32(0.25))
        assert lowered._optimizer.learning_rate == 0.25
        with pytest.raises(AttributeError):
            lowered._optimizer.beta_1 = 0.5
        with pytest.raises(ValueError, match=r"learning_rate.* must be a number in"):
            setattr(lowered._optimizer, name, -1)
    falling = MLPRegressor(solver="sgd", learning_rate="invscaling", max_iter=2).fit(X, y)
    falling._optimizer.learning_rate_init = 0.5
    assert falling.partial_fit(X, y)._optimizer.learning_rate == 0.5 / (3 * len(X) + 1) ** 0.5
    assert pickle.loads(pickle.dumps(falling))._optimizer.learning_rate_init == 0.5
    assert not hasattr(MLPClassifier(solver="lbfgs").fit(X, y), "_optimizer")
    assert not hasattr(MLPClassifier(), "_optimizer")


def test_an_error_about_boolean_classes_has_no_note_about_booleans():
    with pytest.raises(ValueError, match=re.escape("too few members are: ['True']") + "$"):
        MLPClassifier(early_stopping=True).fit(X[:10], [False] * 9 + [True])


@pytest.mark.parametrize("labels", [["ham", "spam"], [7, 3]])
def test_an_error_about_classes_shows_the_original_labels(labels):
    with pytest.raises(
        ValueError, match=re.escape(f"stand for the labels {' and '.join(map(repr, sorted(labels)))} of y")
    ):
        MLPClassifier(early_stopping=True).fit(X[:10], [labels[0]] * 9 + [labels[1]])


def test_coefs_are_assigned_all_or_none():
    """Views of the same vector may be swapped; one array of a wrong shape leaves all of them unchanged."""
    model = MLPClassifier(hidden_layer_sizes=(5, 5, 5), max_iter=2, random_state=0).fit(X, y)
    before = [array.copy() for array in model.coefs_]
    model.coefs_[1], model.coefs_[2] = model.coefs_[2], model.coefs_[1]
    model.predict(X)
    np.testing.assert_array_equal(model.coefs_[1], before[2])
    np.testing.assert_array_equal(model.coefs_[2], before[1])
    kept = model._net.parameters.copy()
    for wrong in ([np.zeros((4, 5)), np.zeros((3, 3)), *model.coefs_[2:]], model.coefs_[:2]):
        again = copy.deepcopy(model)
        again.coefs_ = wrong
        with pytest.raises(ValueError, match="must keep their"):
            again.predict(X)
        np.testing.assert_array_equal(again._net.parameters, kept)
