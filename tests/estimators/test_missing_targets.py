"""Missing targets and weights of single targets, from MLP.fit and the estimators to their scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import r2_score

from fastmlp import MLP, MLPClassifier, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPRegressor, load, make_optimizer
from fastmlp.training import epochs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.standard_normal((120, 4))
Y = X @ rng.standard_normal((4, 3)) + [0, 5, -3] + 0.1 * rng.standard_normal((120, 3))
THERE = rng.uniform(size=Y.shape) > 0.3
THERE[[7, 50]] = False
GIVEN = np.where(THERE, Y, np.nan)
WEIGHT = rng.uniform(0.2, 2, 120)


def least_squares(counted):
    """(W, b) of the linear regression of each column on the samples that count for it."""
    ones = np.column_stack([X, np.ones(len(X))])
    columns = [np.linalg.lstsq(ones[rows], y[rows], rcond=None)[0] for rows, y in zip(counted.T, Y.T)]
    return np.transpose(columns)


@pytest.mark.parametrize("scale", [None, "standard"])
def test_each_output_is_learned_from_the_targets_that_are_there(backend, scale):
    model = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0, tol=1e-9, max_iter=500, scale=scale,
                         backend=backend, random_state=0, missing_targets="ignore").fit(X, GIVEN)  # fmt: skip
    expected = np.column_stack([X, np.ones(len(X))]) @ least_squares(THERE)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_full_batch_steps_are_those_of_a_network_for_each_output(backend, dtype):
    """The gradient is divided by the number of targets over that of the outputs."""
    layers, steps = [(3, "identity")], {"epochs": 5, "batch_size": None}
    model = MLP(layers, optimizer="sgd", dtype=dtype, backend=backend, random_state=0, missing_targets="ignore").build(
        4
    )
    initial = [array.copy() for array in (*model.weights, *model.biases)]
    model.fit(X, GIVEN, **steps)
    for j in range(3):
        rows = THERE[:, j]
        single = MLP([(1, "identity")], optimizer="sgd", dtype=dtype, backend=backend).build(4)
        single.weights[0][:], single.biases[0][:] = initial[0][:, [j]], initial[1][[j]]
        rate = single.optimizer.learning_rate * rows.sum() / (THERE.sum() / 3)
        single.optimizer = make_optimizer("sgd", rate)
        single.fit(X[rows], Y[rows, j], **steps)
        np.testing.assert_allclose(model.weights[0][:, [j]], single.weights[0], rtol=1e-4)


def mlp(ignore, loss="squared_error", output="identity", optimizer="adam"):
    return MLP([(6, "tanh"), (3, output)], loss, optimizer, random_state=0, **ignore)


def regressor(ignore, **more):
    return MLPRegressor(hidden_layer_sizes=(6,), max_iter=4, random_state=0, **ignore, **more)


def labels(ignore, **more):
    return MLPClassifier(hidden_layer_sizes=(6,), max_iter=4, random_state=0, **ignore, **more)


@pytest.mark.parametrize("make", [mlp, regressor, labels])
def test_masked_arrays_mark_missing_targets(make):
    y, model = (Y > 0).astype(int) if make is labels else Y, make({"missing_targets": "ignore"})
    masked = np.ma.array(y, mask=~THERE)
    found = model.fit(X, masked).predict(X)
    expected = make({"missing_targets": "ignore"}).fit(X, np.where(THERE, y, np.nan))
    np.testing.assert_array_equal(found, expected.predict(X))
    if make is not mlp:
        assert model.score(X, masked) == expected.score(X, np.where(THERE, y, np.nan))


def fit_labels(ignore, y, w):
    model = mlp(ignore, "binary_cross_entropy", "logistic")
    return model.fit(X, np.where(np.isnan(y), y, y > 0), sample_weight=w).parameters


def blocks(y, w):
    return [tuple(part[i : i + 50] for part in (X, y, w) if part is not None) for i in range(0, 120, 50)]


def partial_fits(ignore, y, w):
    model = regressor(ignore)
    for _ in range(3):
        model.partial_fit(X, y, w)
    return model.predict(X)


def eval_set(ignore, y, w):
    model = regressor(ignore).fit(X, Y, eval_set=(X, y, w), eval_metric=["r2", "neg_loss"])
    return [*model.evals_result_["validation_0"]["r2"], *model.evals_result_["validation_0"]["neg_loss"]]


def ensemble(ignore, y, w):
    model = MLPEnsembleRegressor(regressor(ignore), n_members=2, random_state=0).fit(X, y, w)
    return [*model.predict(X).ravel(), model.score(X, y, w)]


def label_ensemble(ignore, y, w):
    return MLPEnsembleClassifier(labels(ignore), n_members=2, random_state=0).fit(X, y, w).score(X, y, w)


def step(ignore, y, w):
    """Has no missing_targets: values are not checked."""
    model = mlp({}).build(4)
    w = None if w is None else np.ascontiguousarray(w, "f")
    loss = model.compile_step(120)(X.astype("f"), np.nan_to_num(y).astype("f"), w)
    return [*model.parameters, loss]


# The numbers that a fit or a score gives, from missing_targets as keywords, y and weights.
RESULTS = {
    "fit": lambda ignore, y, w: mlp(ignore).fit(X, y, sample_weight=w).parameters,
    "online": lambda ignore, y, w: mlp(ignore).fit(X, y, 2, 1, sample_weight=w).parameters,
    "lbfgs": lambda ignore, y, w: mlp(ignore, optimizer="lbfgs").fit(X, y, sample_weight=w).parameters,
    "sparse": lambda ignore, y, w: mlp(ignore).fit(csr_matrix(X), y, sample_weight=w).parameters,
    "labels": fit_labels,
    "fit_stream": lambda ignore, y, w: mlp(ignore).fit_stream(blocks(y, w), 3, shuffle=False).parameters,
    "evaluate": lambda ignore, y, w: list(mlp(ignore).build(4).evaluate(X, y, w).values()),
    "regressor": lambda ignore, y, w: regressor(ignore).fit(X, y, w).predict(X),
    "scaled": lambda ignore, y, w: regressor(ignore, scale="standard").fit(X, y, w).predict(X),
    "early stopping": lambda ignore, y, w: regressor(ignore, early_stopping=True).fit(X, y, w).validation_scores_,
    "solver": lambda ignore, y, w: regressor(ignore, solver="lbfgs").fit(X, y, w).predict(X),
    "partial_fit": partial_fits,
    "blocks": lambda ignore, y, w: regressor(ignore, scale="standard").fit_stream(blocks(y, w)).predict(X),
    "eval_set": eval_set,
    "score": lambda ignore, y, w: regressor(ignore).fit(X, Y).score(X, y, w),
    "ensemble": ensemble,
}
LABEL_RESULTS = {
    "classifier": lambda ignore, y, w: labels(ignore).fit(X, y, w).predict_proba(X),
    "held-out labels": lambda ignore, y, w: labels(ignore, early_stopping=True).fit(X, y, w).validation_scores_,
    "blocks of labels": lambda ignore, y, w: labels(ignore).fit_stream(blocks(y, w), [0, 1, 2]).predict_proba(X),
    "score of labels": lambda ignore, y, w: labels(ignore, loss="squared_error").fit(X, Y > 0).score(X, y, w),
    "eval_set of labels": lambda ignore, y, w: labels(ignore).fit(X, Y > 0, eval_set=(X, y, w)).evals_result_[
        "validation_0"]["accuracy"],
    "ensemble of labels": label_ensemble,
}  # fmt: skip
ALL = [
    *((Y, result) for result in RESULTS.values()),
    *(((Y > 0).astype(float), result) for result in LABEL_RESULTS.values()),
]  # fmt: skip


@pytest.mark.parametrize("y, result", ALL, ids=[*RESULTS, *LABEL_RESULTS])
def test_a_missing_target_is_a_target_of_weight_0(y, result):
    """Whatever its value, bit for bit; with weights of the samples too."""
    for weight in (None, WEIGHT):
        weights = THERE * (1.0 if weight is None else weight[:, None])
        found = result({"missing_targets": "ignore"}, np.where(THERE, y, np.nan), weight)
        np.testing.assert_array_equal(found, result({}, np.where(THERE, y, 0.0), weights))
        np.testing.assert_array_equal(found, result({}, y, weights))
        assert np.isfinite(found).all()


@pytest.mark.parametrize("y, result", [*ALL, (Y, step)], ids=[*RESULTS, *LABEL_RESULTS, "compile_step"])
def test_equal_weights_of_all_targets_are_the_weight_of_a_sample(y, result):
    by_target = result({}, y, np.repeat(WEIGHT[:, None], 3, axis=1))
    np.testing.assert_allclose(by_target, result({}, y, WEIGHT), rtol=1e-3, atol=1e-4)


def test_class_weights_multiply_the_weights_of_targets():
    classes, y = [{0: 1, 1: 3}, {1: 2}, {}], (Y > 0).astype(int)
    factor = np.where(y[:, 0], 3, 1) * np.where(y[:, 1], 2, 1)
    expected = labels({}).fit(X, y, THERE * factor[:, None]).predict_proba(X)
    found = labels({}, class_weight=classes).fit(X, y, THERE.astype(float)).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    network = mlp({}, "binary_cross_entropy", "logistic").fit(X, y, sample_weight=THERE * factor[:, None])
    again = mlp({}, "binary_cross_entropy", "logistic").fit(X, y, sample_weight=THERE * 1.0, class_weight=classes)
    np.testing.assert_array_equal(network.parameters, again.parameters)


def test_compiled_steps_are_those_of_a_fit():
    weight = (THERE * WEIGHT[:, None]).astype("f")
    expected = mlp({}).fit(X, Y, 1, None, shuffle=False, sample_weight=weight)
    found = step({}, Y, weight)
    np.testing.assert_array_equal(found[:-1], expected.parameters)
    assert found[-1] == pytest.approx(expected.history["loss"][0])


def test_a_large_step_in_blocks(monkeypatch):
    """Its gradient is the weighted mean over blocks of samples."""
    weight = THERE * WEIGHT[:, None]
    expected = mlp({}, optimizer="sgd").fit(X, Y, 3, 60, shuffle=False, sample_weight=weight).parameters
    monkeypatch.setattr(epochs, "LARGE_STEP_FLOPS", 4 * 6 * 51 * 12)  # blocks of 12 samples
    found = mlp({}, optimizer="sgd").fit(X, Y, 3, 60, shuffle=False, sample_weight=weight).parameters
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (found != expected).any()


@pytest.mark.parametrize("kind", [pd.DataFrame, lambda y: pd.DataFrame(y).astype("Float64"), np.asfortranarray,
                                  lambda y: np.where(np.isnan(y), None, y), np.ndarray.tolist])  # fmt: skip
def test_targets_in_other_containers(kind):
    """Frames store columns one after the other."""
    ignore, weight = {"missing_targets": "ignore"}, np.where(THERE, WEIGHT[:, None], 0)
    for name in ("fit", "scaled", "blocks", "eval_set", "evaluate"):
        result = RESULTS[name]
        np.testing.assert_array_equal(result(ignore, kind(GIVEN), None), result(ignore, GIVEN, None))
        np.testing.assert_array_equal(result({}, Y, kind(weight)), result({}, Y, weight))


def test_scores_are_those_of_the_targets_that_are_there():
    ignore = {"missing_targets": "ignore"}
    model = regressor(ignore).fit(X, GIVEN, eval_set=(X, GIVEN))
    columns = zip(THERE.T, Y.T, model.predict(X).T)
    expected = np.mean([r2_score(y[rows], prediction[rows]) for rows, y, prediction in columns])
    assert model.score(X, GIVEN) == model.evals_result_["validation_0"]["r2"][-1] == pytest.approx(expected)
    network = mlp(ignore).fit(X, GIVEN, 2, validation_data=(X, GIVEN), metric="r2")
    scores = network.evaluate(X, GIVEN)
    assert scores["r2"] == network.history["validation_r2"][-1]
    residual = (Y - network.predict(X))[THERE]
    assert scores["loss"] == pytest.approx(np.mean(residual**2) / 2, rel=1e-5)
    assert network.history["validation_loss"][-1] == pytest.approx(scores["loss"], rel=1e-6)
    classifier = labels(ignore).fit(X, np.where(THERE, Y > 0, np.nan))
    right = (classifier.predict(X) == (Y > 0)) | ~THERE
    by_hand = np.average(right.all(axis=1), weights=THERE.mean(axis=1))
    assert classifier.score(X, np.where(THERE, Y > 0, np.nan)) == pytest.approx(by_hand)


def test_a_column_without_targets_is_left_out_of_a_score():
    model = regressor({"missing_targets": "ignore"}).fit(X, Y)
    y = np.where([True, False, True], Y, np.nan)
    expected = np.mean([r2_score(Y[:, j], model.predict(X)[:, j]) for j in (0, 2)])
    assert model.score(X, y) == pytest.approx(expected)


def test_one_output_keeps_weights_of_samples(backend):
    """Samples without a target are dropped, in a step of all samples."""
    there = THERE[:, 0]
    options = {"hidden_layer_sizes": (6,), "solver": "sgd", "batch_size": 120, "max_iter": 3, "random_state": 0}
    found = MLPRegressor(**options, backend=backend, missing_targets="ignore").fit(X, GIVEN[:, 0])
    expected = MLPRegressor(**options | {"batch_size": int(there.sum())}, backend=backend).fit(X[there], Y[there, 0])
    np.testing.assert_allclose(found.predict(X), expected.predict(X), rtol=1e-9)
    assert found.loss_ == pytest.approx(expected.loss_)


def test_saved_models_keep_the_option(tmp_path):
    for number, model in enumerate((mlp({"missing_targets": "ignore"}), regressor({"missing_targets": "ignore"}))):
        model.fit(X, GIVEN).save(tmp_path / f"{number}.fmlp")
        loaded = load(tmp_path / f"{number}.fmlp")
        assert loaded.missing_targets == "ignore"
        assert loaded.fit(X, GIVEN) is loaded


ONES, SINGLE = np.ones((120, 3)), (X.astype("f"), Y.astype("f"))
CLASSES = rng.randint(3, size=120)
SOFTMAX = {"loss": "categorical_cross_entropy", "output": "softmax"}
ignoring = {"missing_targets": "ignore"}
EMPTY = np.where([True, False, True], Y, np.nan)
REFUSED = [
    (lambda: mlp({}).fit(X, GIVEN), "NaN"),
    (lambda: regressor({}).fit(X, GIVEN), "NaN"),
    (lambda: labels({}).fit(X, np.where(THERE, Y > 0, np.nan)), "NaN"),
    (lambda: mlp({"missing_targets": "drop"}), "unknown missing_targets 'drop'. Known: raise, ignore"),
    (lambda: mlp(ignoring, **SOFTMAX), "drop the samples without a label"),
    (lambda: mlp({}, **SOFTMAX).fit(X, CLASSES, sample_weight=ONES), "one weight per sample"),
    (lambda: labels({}).fit(X, CLASSES, ONES), "one weight per sample"),
    (lambda: labels(ignoring).fit(X, np.where(THERE[:, 0], CLASSES, np.nan)), "is for multilabel y"),
    (lambda: labels(ignoring, class_weight=[{0: 1}] * 3).fit(X, Y > 0), "class_weight cannot be combined"),
    (lambda: mlp(ignoring).fit(X, EMPTY), "no values in column 1"),
    (lambda: regressor(ignoring).fit(X, EMPTY), "no values in column 1"),
    (lambda: regressor(ignoring).fit(X, np.full(120, np.nan)), "every target is missing"),
    (lambda: mlp(ignoring).build(4).evaluate(X, np.full((120, 3), np.nan)), "every target is missing"),
    (lambda: regressor(ignoring, scale="standard").partial_fit(X, EMPTY), "and targets with one in each column of y"),
    (lambda: mlp({}).fit(X, Y, sample_weight=ONES[:, :2]), r"or the shape \(120, 3\)"),
    (lambda: regressor({}).fit(X, Y, -ONES), "Negative values"),
    (lambda: regressor({}).fit(X, Y, 0 * ONES), "too small"),
    (lambda: regressor({}).fit(X, Y, np.where(THERE, 1, np.inf)), "infinity"),
    (lambda: regressor({}).fit_stream([(X, Y, WEIGHT), (X, Y, ONES)]), "all blocks must have weights of"),
    (lambda: regressor(ignoring).fit(X, Y, eval_set=(X, GIVEN), eval_metric="neg_max_error"), "cannot be computed for"),
    (lambda: mlp({}, **SOFTMAX).build(4).compile_step(120)(*SINGLE, ONES.astype("f")), r"shape \(120,\), got"),
    (lambda: mlp({}).build(4).compile_step(120)(*SINGLE, ONES[:, :2].astype("f")), r"\(120,\) or \(120, 3\), got"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", REFUSED)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_refused_fit_leaves_the_model_as_it_was():
    model, estimator = mlp(ignoring).fit(X, GIVEN), regressor(ignoring).fit(X, GIVEN)
    for fitted in (model, estimator):
        before = fitted.predict(X)
        with pytest.raises(ValueError, match="column 1"):
            fitted.fit(X, EMPTY)
        np.testing.assert_array_equal(fitted.predict(X), before)


def test_scores_of_another_number_of_columns_are_refused():
    model = regressor({"missing_targets": "ignore"}).fit(X, Y)
    with pytest.raises(ValueError, match="y has 2 columns after encoding, but the network has 3 outputs"):
        model.score(X, Y[:, :2])
