"""Pipelines that end in the estimators are converted by skl2onnx, with the same predictions."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import (
    Adaline,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    Perceptron,
    TabularMLPClassifier,
    TabularMLPRegressor,
    register_skl2onnx_converters,
    to_onnx,
)

skl2onnx = pytest.importorskip("skl2onnx", reason="needs the package skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*fork:UserWarning")
X, species = load_iris(return_X_y=True)
TOLERANCE = {"f4": 1e-5, "f8": 1e-12}
LABELS = {
    "numbers": species + 5, "strings": np.array(["é", "b", "c"])[species], "two": species > 0, "one": species * 0,
    "floats": species + 1.0, "unsigned": species.astype("u1"),
    "several": np.column_stack([species == 0, species > 0, species < 0]).astype(int),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_skl2onnx_converters()
    register_skl2onnx_converters()  # a second time, without harm


def network(kind=MLPClassifier, **params):
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0} | params)


def run(graph, **inputs):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def check(model, X, y, options=None):
    """Compare a pipeline with its ONNX graph; returns the graph's outputs."""
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    tolerance = TOLERANCE[X.dtype.str[1:]]
    classifies = hasattr(pipeline, "classes_")
    outputs = run(
        skl2onnx.to_onnx(pipeline, X[:1], options=options or ({"zipmap": False} if classifies else None)), X=X
    )
    if not classifies:
        assert outputs[0].ndim == 2
        assert outputs[0].dtype == X.dtype
        assert_allclose(outputs[0].squeeze(), pipeline.predict(X), rtol=tolerance, atol=tolerance)
        return outputs
    assert_array_equal(outputs[0], pipeline.predict(X))
    if isinstance(outputs[1], np.ndarray) and outputs[1].ndim == 2:
        assert outputs[1].dtype == X.dtype
        if hasattr(pipeline, "predict_proba"):
            wanted = pipeline.predict_proba(X)
        else:
            wanted = pipeline.decision_function(X)
            wanted = np.column_stack([-wanted, wanted]) if wanted.ndim == 1 else wanted
        assert_allclose(outputs[1], wanted, rtol=tolerance, atol=tolerance)
    return outputs


def members(estimator, kind):
    return kind(estimator, n_members=3, random_state=0)


CLASSIFIERS = {
    "network": network(), "squared error": network(loss="squared_error"), "scaled": network(scale="standard"),
    "ensemble": members(network(), MLPEnsembleClassifier), "perceptron": Perceptron(max_iter=5, random_state=0),
    "adaline": Adaline(max_iter=5, random_state=0),
}  # fmt: skip
REGRESSORS = {
    "network": network(MLPRegressor), "ensemble": members(network(MLPRegressor), MLPEnsembleRegressor),
    "scaled": network(MLPRegressor, scale="standard"), "voting": VotingRegressor([("a", network(MLPRegressor))]),
}  # fmt: skip
AROUND = {
    "soft vote": VotingClassifier(
        [("a", network()), ("b", LogisticRegression())], voting="soft", flatten_transform=False
    ),
    "hard vote": VotingClassifier([("a", network()), ("b", Perceptron())], flatten_transform=False),
    "stack": StackingClassifier([("a", network()), ("b", LogisticRegression())], cv=2),
    "calibrated": CalibratedClassifierCV(network(), cv=2),
}  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, dtype):
    for labels in ("numbers", "two"):
        check(CLASSIFIERS[name], X.astype(dtype), LABELS[labels])


@pytest.mark.parametrize("labels", LABELS)
def test_labels(labels):
    check(network(), X, LABELS[labels])
    check(members(network(), MLPEnsembleClassifier), X, LABELS[labels])


def test_labels_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match="needs labels that are int64 or strings, got"):
        check(network(), X, species.astype("u8") + 2**63)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name, dtype):
    rows = X.astype(dtype)
    check(REGRESSORS[name], rows[:, 1:], rows[:, 0])
    if name != "voting":
        check(REGRESSORS[name], rows[:, 2:], rows[:, :2])


@pytest.mark.parametrize("name", AROUND)
def test_estimators_around_a_classifier(name):
    model = AROUND[name]
    if name == "hard vote":
        pipeline = make_pipeline(StandardScaler(), model).fit(X, species)
        graph = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})
        assert_array_equal(run(graph, X=X)[0], pipeline.predict(X))
    else:
        check(model, X, species)


def test_options_of_classifiers():
    rows, probability = X.astype("f4"), make_pipeline(StandardScaler(), network()).fit(X, species).predict_proba(X)
    maps = check(network(), rows, species, {"zipmap": True})[1]
    assert_allclose(pd.DataFrame(maps)[[0, 1, 2]], probability, atol=1e-4)
    columns = check(network(), rows, species, {"zipmap": "columns"})[1:]
    assert_allclose(np.column_stack(columns), probability, atol=1e-4)
    assert_array_equal(
        check(network(), rows, species + 2, {"zipmap": False, "output_class_labels": True})[2], [2, 3, 4]
    )
    text = make_pipeline(StandardScaler(), network()).fit(rows, LABELS["strings"])
    graph = skl2onnx.to_onnx(text, rows[:1], options={"zipmap": False, "nocl": True})
    assert_array_equal(text.classes_[run(graph, X=rows)[0]], text.predict(rows))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_frame_with_strings(dtype):
    """One input per column, encoded within the graph."""
    frame = pd.DataFrame(X.astype(dtype), columns=list("abcd"))
    frame["town"] = np.array(["Ulm", "Köln", "Jena"], dtype=object)[np.arange(150) % 3]
    frame["rooms"] = np.arange(150) % 4
    encoder = ColumnTransformer([
        ("numbers", StandardScaler(), list("abcd")), ("strings", OneHotEncoder(), ["town"]),
        ("rest", "passthrough", ["rooms"]),
    ])  # fmt: skip
    pipeline = make_pipeline(encoder, network()).fit(frame, LABELS["strings"])
    graph = skl2onnx.to_onnx(pipeline, frame[:1], options={"zipmap": False})
    labels, probability = run(graph, **{name: frame[[name]].to_numpy() for name in frame})
    assert_array_equal(labels, pipeline.predict(frame))
    assert_allclose(probability, pipeline.predict_proba(frame), atol=1e-6)


def test_integers_and_booleans_as_inputs():
    for rows in (X.astype(np.int64), X > 3):
        model = network().fit(rows, species)
        labels, probability = run(skl2onnx.to_onnx(model, rows[:1], options={"zipmap": False}), X=rows)
        assert_array_equal(labels, model.predict(rows))
        assert_allclose(probability, model.predict_proba(rows), atol=1e-6)


def test_estimators_that_to_onnx_shares_with_skl2onnx():
    """Ensembles, Perceptron and Adaline, alone: with the outputs of to_onnx."""
    for name in ("ensemble", "perceptron", "adaline"):
        model = CLASSIFIERS[name].fit(X, LABELS["strings"])
        labels, scores = run(to_onnx(model), X=X)
        assert_array_equal(labels, model.predict(X))
        wanted = model.predict_proba(X) if name == "ensemble" else model.decision_function(X)
        assert_allclose(scores, wanted, rtol=1e-12, atol=1e-12)
    model = REGRESSORS["ensemble"].fit(X, X[:, 0])
    assert_allclose(run(to_onnx(model), X=X)[0], model.predict(X), rtol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_table_estimators_at_the_end_of_a_pipeline(dtype):
    rows, quick = X.astype(dtype), {"epochs": 3, "hidden_layer_sizes": (8,), "n_members": 2, "random_state": 0}
    for y in (LABELS["strings"], LABELS["two"], LABELS["one"], X[:, 0], X[:, :2]):
        kind = TabularMLPRegressor if y.dtype.kind == "f" else TabularMLPClassifier
        pipeline = make_pipeline(StandardScaler(), kind(**quick)).fit(rows, y)
        options = {"zipmap": False} if kind is TabularMLPClassifier else None
        outputs = run(skl2onnx.to_onnx(pipeline, rows[:1], options=options), X=rows)
        assert outputs[-1].dtype == dtype
        if options:
            assert_array_equal(outputs[0], pipeline.predict(rows))
            assert_allclose(outputs[1], pipeline.predict_proba(rows), atol=1e-5)
        else:
            assert_allclose(outputs[0], pipeline.predict(rows).reshape(len(rows), -1), atol=1e-5)


def test_a_table_estimator_of_a_frame():
    """One input per column, in any order."""
    frame = pd.DataFrame({"a": X[:, 0], "constant": 1.0, "wide": X[:, 1] > 3, "n": np.arange(150) % 7})
    frame["town"] = np.array(["Ulm", "Köln", "Jena"], dtype=object)[np.arange(150) % 3]
    frame.loc[3:7, "a"] = np.nan
    model = TabularMLPRegressor(epochs=3, hidden_layer_sizes=(8,), random_state=0).fit(frame, X[:, 2])
    for same in (frame, frame[frame.columns[::-1]], frame.drop(columns="constant")):
        found = run(skl2onnx.to_onnx(model, same[:1]), **{name: same[[name]].to_numpy() for name in same})
        assert_allclose(found[0].squeeze(), model.predict(frame), atol=1e-5)
    with pytest.raises(ValueError, match="no input 'town'"):
        skl2onnx.to_onnx(model, frame.drop(columns="town"))
    with pytest.raises(ValueError, match="'a' held numbers in fit, but is a StringTensorType"):
        skl2onnx.to_onnx(model, frame.assign(a="x"))
    model.fit(X, X[:, 2])
    with pytest.raises(ValueError, match="3 columns, but the table of fit had 4"):
        skl2onnx.to_onnx(model, X[:, 1:])


def test_what_cannot_be_exported_is_refused_by_our_error():
    with pytest.raises(ValueError, match="custom activation"):
        check(network(activation=(np.tanh, lambda z: 1 - np.tanh(z) ** 2), backend="numpy"), X, species)
