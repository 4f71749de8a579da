"""class_weight of the classifier, epochs of partial_fit, n_layers and width."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLP, MLPClassifier, MLPEnsembleClassifier, MLPRegressor, TabularMLPClassifier, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, numbers = load_iris(return_X_y=True)
X, numbers = X[20:], numbers[20:]  # 30, 50 and 50
texts = np.array(["a", "b", "c"])[numbers]
several = np.column_stack([numbers == 0, numbers > 0, X[:, 0] > 6]).astype(int)
LABELS = {"numbers": numbers, "texts": texts, "two": texts == "a", "several": several}
WEIGHTS = {
    "numbers": {0: 2.0, 2: 0.5}, "texts": {"a": 3, "b": 0}, "two": {True: 5.0, False: 1},
    "several": [{0: 1, 1: 2}, {0: 1, 1: 1}, {0: 3, 1: 0.5}],
}  # fmt: skip


def model(**params):
    return MLPClassifier(**{"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0} | params)


def expected_weights(given, labels):
    if isinstance(given, dict):
        return np.array([given.get(label, 1) for label in labels.tolist()], float)
    return compute_sample_weight(given, labels)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs", "lm"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", ["balanced", "given"])
def test_class_weights_equal_sample_weights(labels, kind, solver, loss):
    if solver == "lm" and loss != "squared_error":
        pytest.skip("lm minimises squared errors")
    y, given = LABELS[labels], "balanced" if kind == "balanced" else WEIGHTS[labels]
    rows = np.random.RandomState(0).uniform(0.5, 2, len(y))
    found = model(class_weight=given, solver=solver, loss=loss).fit(X, y, sample_weight=rows)
    wanted = model(solver=solver, loss=loss).fit(X, y, sample_weight=rows * expected_weights(given, y))
    assert_array_equal(found.coefs_[0], wanted.coefs_[0])
    plain = model(solver=solver, loss=loss).fit(X, y, sample_weight=rows)
    assert not np.array_equal(found.coefs_[0], plain.coefs_[0])


def test_class_weights_apply_to_the_scores_of_early_stopping():
    options = {"early_stopping": True, "max_iter": 4}
    found = model(class_weight="balanced", **options).fit(X, texts)
    wanted = model(**options).fit(X, texts, sample_weight=compute_sample_weight("balanced", texts))
    assert found.validation_scores_ == wanted.validation_scores_


def test_partial_fit_on_parts_that_lack_classes():
    given = {"a": 3.0, "c": 0.5}
    found, wanted = model(class_weight=given), model()
    for part in (slice(0, 40), slice(30, 130)):
        found.partial_fit(X[part], texts[part], classes=["a", "b", "c"])
        weights = expected_weights(given, texts[part])
        wanted.partial_fit(X[part], texts[part], sample_weight=weights, classes=["a", "b", "c"])
    assert_array_equal(found.coefs_[0], wanted.coefs_[0])


def test_balanced_is_refused_by_partial_fit():
    fresh = model(class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' is not supported by partial_fit"):
        fresh.partial_fit(X, texts, classes=["a", "b", "c"])
    assert not hasattr(fresh, "coefs_")


def test_a_dict_may_have_more_classes_than_these_rows():
    """As in scikit-learn, if it has all classes of these rows: a fold may lack a class."""
    given = {"a": 3.0, "b": 1.0, "c": 0.5, "d": 7.0}
    for make in (model, partial(TabularMLPClassifier, epochs=2, hidden_layer_sizes=(4,), random_state=0)):
        found = make(class_weight=given).fit(X, texts).predict_proba(X)
        wanted = make().fit(X, texts, sample_weight=compute_sample_weight(given, texts).astype("f4"))
        assert_array_equal(found, wanted.predict_proba(X))
        for wrong in ({"a": 1.0, "d": 7.0}, {"a": -1.0}, {"a": np.nan}, "even", 3, np.ones(3)):
            with pytest.raises(ValueError, match=r"class.weight"):
                make(class_weight=wrong).fit(X, texts)


@pytest.mark.parametrize("wrong, message", [
    ({"d": 1.0}, "class_weight has unknown classes 'd': the classes are a, b, c"),
    ({"a": -1.0}, "must be finite, non-negative"), ({"a": np.nan}, "must be finite, non-negative"),
    ("even", "class_weight"), (3, "class_weight"), ([{0: 1}], "class_weight"),
])  # fmt: skip
def test_invalid_class_weights(wrong, message):
    fitted = model().fit(X, texts)
    before = fitted.coefs_[0].copy()
    with pytest.raises(ValueError, match=message):
        fitted.set_params(class_weight=wrong).fit(X, texts)
    assert_array_equal(fitted.coefs_[0], before)


@pytest.mark.parametrize("labels", LABELS)
def test_class_weights_are_saved(tmp_path, labels):
    fitted = model(class_weight=WEIGHTS[labels]).fit(X, LABELS[labels])
    fitted.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.class_weight == WEIGHTS[labels]
    assert_array_equal(again.fit(X, LABELS[labels]).coefs_[0], fitted.coefs_[0])


@pytest.mark.parametrize("wrong", [[{1: -1}, {}, {}], [{1: np.inf}, {}, {}], [{0: 0, 1: 0}, {}, {}], [{}], {0: 1.0}])
def test_invalid_class_weights_of_multilabel_targets(wrong):
    with pytest.raises(ValueError, match=r"finite, non-negative and not all 0|a list of 3 dicts"):
        model(class_weight=wrong).fit(X, several)


def test_multilabel_partial_fit_on_parts_that_lack_labels():
    given = [{1: 2.0}, {0: 3.0}, {}]
    part = several[:, 0] == 0
    found = model(class_weight=given).partial_fit(X[part], several[part], classes=[0, 1, 2])
    weights = np.where(several[part][:, 1], 1.0, 3.0)
    wanted = model().partial_fit(X[part], several[part], sample_weight=weights, classes=[0, 1, 2])
    assert_array_equal(found.coefs_[0], wanted.coefs_[0])


@pytest.mark.parametrize("kind, y, more", [
    (MLPClassifier, texts, {"classes": ["a", "b", "c"]}), (MLPRegressor, X[:, 0], {}),
])  # fmt: skip
def test_epochs_of_partial_fit(kind, y, more):
    """``epochs=3`` equals three calls. Without shuffling, because each epoch would have a different order."""
    options = {"hidden_layer_sizes": (5,), "batch_size": 20, "shuffle": False}
    at_once = kind(**options, random_state=np.random.RandomState(0)).partial_fit(X, y, **more, epochs=3)
    one_by_one = kind(**options, random_state=np.random.RandomState(0))
    for _ in range(3):
        one_by_one.partial_fit(X, y, **more)
    assert_allclose(at_once.coefs_[0], one_by_one.coefs_[0], rtol=1e-12)
    assert at_once.t_ == one_by_one.t_ == 3 * len(X)
    assert len(at_once.loss_curve_) == 3
    for wrong in (0, 1.5, None, True):
        with pytest.raises(ValueError, match="epochs must be an integer of at least 1"):
            at_once.partial_fit(X, y, epochs=wrong)


def test_n_layers_and_width():
    def sizes(**params):
        return MLPRegressor(hidden_layer_sizes=(3, 4), max_iter=1, **params).fit(X, X[:, 0])._net.network.sizes

    assert sizes() == (4, 3, 4, 1)
    assert sizes(n_layers=2, width=7) == (4, 7, 7, 1)
    assert sizes(width=7) == (4, 7, 1)
    assert sizes(n_layers=3) == (4, 100, 100, 100, 1)
    assert sizes(n_layers=0) == (4, 1)
    for wrong in ({"n_layers": -1}, {"n_layers": 10**8, "width": 1}, {"width": 0}, {"width": 2.5}, {"n_layers": "2"}):
        with pytest.raises(ValueError, match="must be"):
            sizes(**wrong)


def test_grid_search_over_n_layers_and_width():
    search = GridSearchCV(model(), {"n_layers": [1, 2], "width": [3, 6]}, cv=2, n_jobs=2).fit(X, texts)
    assert search.best_estimator_._net.network.sizes[1] in (3, 6)
    assert len(search.cv_results_["params"]) == 4


TOO_SMALL = {"denormal": 1e-320, "of float32": 1e-42}


@pytest.mark.parametrize("size", TOO_SMALL.values(), ids=TOO_SMALL)
def test_weights_too_small_to_divide_by_are_refused(size, backend):
    """The compiled backends flush denormal numbers to 0, and would divide by a sum of 0."""
    data, labels = X.astype(np.float32 if size == 1e-42 else np.float64), numbers
    weight, classes = np.full(len(X), size), {0: size, 1: size, 2: size}
    blocks = [(data, labels, weight)]
    classifier = MLPClassifier(max_iter=2, backend=backend)
    own = MLP([(3, "softmax")], "categorical_cross_entropy", backend=backend, dtype=data.dtype)
    for learn in (
        lambda: classifier.fit(data, labels, weight),
        lambda: classifier.partial_fit(data, labels, weight, classes=[0, 1, 2]),
        lambda: classifier.fit_stream(blocks, [0, 1, 2]),
        lambda: MLPClassifier(class_weight=classes, max_iter=2, backend=backend).fit(data, labels),
        lambda: MLPClassifier(solver="lbfgs", backend=backend).fit(data, labels, weight),
        lambda: MLPRegressor(max_iter=2, backend=backend).fit(data, labels, weight),
        lambda: MLPEnsembleClassifier(classifier, n_members=2).fit(data, labels, weight),
        lambda: own.fit(data, labels, sample_weight=weight, epochs=1),
        lambda: own.fit(data, labels, class_weight=classes, epochs=1),
        lambda: own.fit_stream(blocks),
        lambda: own.build(4).evaluate(data, labels, sample_weight=weight),
    ):
        with pytest.raises(ValueError, match=r"none is a normal number in float(32|64) .*Multiply them by a constant"):
            learn()
    for refused in (
        lambda: MLPClassifier(class_weight={0: 1e39}).fit(X.astype("f4"), numbers),
        lambda: MLP([(3, "softmax")], "categorical_cross_entropy").fit(X, numbers, class_weight={0: 1e39}),
    ):
        with pytest.raises(ValueError, match="too large: their sum is not finite in float32"):
            refused()
    with pytest.raises(ValueError, match="too large: their sum is not finite in float64"):
        MLPClassifier(class_weight={0: 1e200}).fit(X, numbers, np.full(len(X), 1e200))
    with pytest.raises(ValueError, match="not all 0"):
        MLPClassifier(class_weight=dict.fromkeys(range(3), 0)).partial_fit(X, numbers, classes=[0, 1, 2])
    assert not hasattr(classifier, "coefs_")
    large = classifier.set_params(random_state=0).fit(data, labels, weight * 0 + 1e-30)  # a normal number
    assert np.isfinite(large.loss_)
