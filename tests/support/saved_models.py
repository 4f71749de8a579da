"""A small model of each kind that fastmlp saves, and what it predicts.

The inputs never change, because tests/io/versions has predictions for them by earlier releases.
"""

import json

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from fastmlp import (
    MLP,
    Embedding,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    OneHot,
    Periodic,
    PiecewiseLinear,
    Plain,
    TabularMLPClassifier,
    TabularMLPRegressor,
    make_optimizer,
    make_schedule,
)
from fastmlp.cli.table_estimator import Reading, TableEstimator
from fastmlp.cli.table_model import TableModel
from fastmlp.io.model_files import checksum
from fastmlp.training.stopping import PatienceState
from fastmlp.training.windows import StreamPosition

_rng = np.random.RandomState(0)
X = _rng.standard_normal((40, 3)).round(3)
CLASSES = np.digitize(X[:, 0] + X[:, 1] ** 2, [0, 1])
LABELS = np.array(["low", "middle", "high"])[CLASSES]
NUMBERS = X @ [1.0, -2.0, 0.5] + 3
CODED = np.column_stack([X[:, :2], CLASSES, _rng.randint(4, size=40)]).astype(np.float64)
TABLE = pd.DataFrame(
    {
        "size": X[:, 0],
        "colour": np.array(["red", "blue", None, "green"], object)[CODED[:, 3].astype(int)],
        "sold": pd.date_range("2020-01-01", periods=40, freq="37h").where(X[:, 2] > -1),
        "new": X[:, 1] > 0,
    }
)
FRAME = pd.DataFrame({"size": X[:, 0], "colour": np.array(["red", "blue"])[CODED[:, 3].astype(int) % 2]})


def _network(y=CLASSES, **options):
    layers = [(4, "tanh"), (3, "softmax")]
    return MLP(layers, "categorical_cross_entropy", random_state=1, **options).fit(X, y, epochs=2, batch_size=16)


def _in_epoch(stream):
    """A network of a checkpoint within an epoch."""
    model = _network(optimizer=make_optimizer("adamw", schedule=make_schedule("reduce_on_plateau")))
    state = model._state
    state.order, state.position, state.loss_sum = np.random.RandomState(0).permutation(40), 16, 0.5
    state.epoch_start = model.parameters.copy()
    if stream:
        state.order = state.order[:32]
        state.stream = StreamPosition(np.array([2, 0, 1]), 3, 1, np.array([[2, 5], [0, 7]]), 16, 16, 1)
    return model


def _with_patience():
    """A network of a checkpoint in a fit with early stopping."""
    model = _network()
    model._state.stopping = PatienceState("loss", 8, 0.7, model.parameters.copy(), 2, 1)
    return model


def _with_inputs():
    inputs = [Plain(), Periodic(2, 2), OneHot(3), Embedding(4, 2)]
    return MLP([(4, "relu"), (1, "identity")], inputs=inputs, random_state=2, dtype="float64").fit(CODED, NUMBERS, 2)


def _with_pieces():
    inputs = [PiecewiseLinear([-1.0, 0.0, 1.0]), Plain(), Plain()]
    return MLP([(1, "identity")], optimizer="lbfgs", inputs=inputs, random_state=2).fit(X, NUMBERS, 3)


def _with_evidence():
    layers = [(4, "tanh"), (1, "identity")]
    return MLP(layers, optimizer="lm", alpha="bayes", random_state=0, dtype="float64").fit(X, NUMBERS, 3)


SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}
TABULAR = {"hidden_layer_sizes": (4,), "epochs": 2, "random_state": 0}


def _table_estimator():
    fitted = TabularMLPClassifier(**TABULAR).fit(TABLE, LABELS)
    return TableEstimator(fitted, "kind", Reading(["colour"], ["colour", "sold"], ["size"], ["?"], "."))


def _table_model(target, task):
    frame = FRAME.assign(kind=LABELS, price=NUMBERS)[["size", "colour", target]]
    table = TableModel.create(frame, target, task=task, hidden=(4,), random_state=0)
    table.model.fit(*table.arrays(frame), epochs=2)
    return table


# {name: (how to make it, its inputs)}
MODELS = {
    "network": (lambda: _network(), X),
    "network_unbuilt": (lambda: MLP([(2, "relu"), (1, "identity")], random_state=0), None),
    "network_in_epoch": (lambda: _in_epoch(stream=False), X),
    "network_in_stream": (lambda: _in_epoch(stream=True), X),
    "network_with_patience": (_with_patience, X),
    "network_with_inputs": (_with_inputs, CODED),
    "network_with_pieces": (_with_pieces, X),
    "network_with_evidence": (_with_evidence, X),
    "classifier": (
        lambda: MLPClassifier(**SMALL | {"random_state": np.random.RandomState(0)}).fit(
            X, LABELS, eval_set=(X, LABELS)
        ),
        X,
    ),
    "classifier_binary": (
        lambda: MLPClassifier(**SMALL, early_stopping=True, loss="squared_error").fit(
            pd.DataFrame(X, columns=list("abc")), CLASSES > 0
        ),
        pd.DataFrame(X, columns=list("abc")),
    ),
    "regressor": (
        lambda: MLPRegressor(**SMALL, scale="standard", dropout=0.1, solver="sgd", skip=2).fit(X, NUMBERS),
        X,
    ),
    "regressor_lbfgs": (lambda: MLPRegressor(**SMALL, solver="lbfgs").fit(X.astype("f4"), X[:, :2]), X),
    "ensemble_classifier": (
        lambda: MLPEnsembleClassifier(MLPClassifier(**SMALL), n_members=2, random_state=0).fit(X, LABELS),
        X,
    ),
    "ensemble_regressor": (
        lambda: MLPEnsembleRegressor(MLPRegressor(**SMALL), n_members=2, random_state=0).fit(X, NUMBERS),
        X,
    ),
    "tabular_classifier": (lambda: TabularMLPClassifier(**TABULAR, n_folds=2).fit(TABLE, LABELS), TABLE),
    "tabular_regressor": (lambda: TabularMLPRegressor(**TABULAR, n_folds=2).fit(TABLE, NUMBERS), TABLE),
    "table_estimator": (_table_estimator, TABLE),
    "table_model": (lambda: _table_model("kind", "classification"), FRAME),
    "table_model_of_numbers": (lambda: _table_model("price", "regression"), FRAME),
}


def numbers_of(model, inputs):
    """Predictions of numbers or probabilities, as an array; None of a network without weights."""
    if inputs is None:
        return None
    has_classes = getattr(model, "classes", getattr(model, "classes_", None)) is not None
    return np.asarray(model.predict_proba(inputs) if has_classes else model.predict(inputs), np.float64)


# What is said of inputs whose columns have other names than those in the file, which is right if the file was changed.
OTHER_COLUMNS = "no column ", "feature names should match"


def use(model, inputs):
    """Predict with a model from a changed file, which may have lost its weights; returns the predictions."""
    repr(model)
    holder = getattr(model, "model", getattr(model, "estimator", model)) if hasattr(model, "target") else model
    has_weights = any(getattr(holder, name, None) is not None for name in ("_state", "_net", "members_"))
    try:
        return numbers_of(model, inputs) if has_weights else None
    except ValueError as error:
        if not any(text in str(error) for text in OTHER_COLUMNS):
            raise
        return None


def read_entries(path):
    """(header, tensors) of a model file."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastmlp"]), load_file(path)


def write_entries(path, header, tensors):
    """Write a model file of these entries, with the checksum that belongs to them."""
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, path, metadata={"fastmlp": text, "crc32": checksum(text, tensors)})


# Entries of the wrong type for most places, and tensors that some of them name.
TENSORS = {"vector": np.array([1.5, np.nan]), "table": np.array([[1, 2]], np.int8)}
OTHERS = [
    None, True, "x", -3, 0.5, float("nan"), 10**30, [], ["x"], {"tuple": []}, {"tuple": [1, "x"]}, {"dict": {}},
    {"dict": {"x": [1]}}, {"tensor": "vector"}, {"tensor": "table"}, {"array": ["x", None], "dtype": "object"},
]  # fmt: skip


def places(node, place=()):
    """The place of every entry within the JSON of a header, as a tuple of keys."""
    yield place
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield from places(node[key], (*place, key))


def put(node, place, value):
    """Set the entry at a place."""
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
