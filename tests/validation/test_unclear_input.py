"""What used to end in an error of NumPy, scikit-learn or Python that names no argument, or in a crash."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from fastmlp import (  # fmt: skip
    MLP,
    Adaline,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    OneHot,
    Perceptron,
    TabularMLPRegressor,
    check_gradients,
    cross_val_fit,
    dead_units,
    fit_many,
    linear_regression,
    load,
    logistic_regression,
    softmax_regression,
    to_c,
    training_report,
)

rng = np.random.RandomState(0)
X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
labels = np.arange(20) % 2
MODEL = MLP([(4, "tanh"), (1, "identity")], random_state=0).fit(X, y, 1)
REGRESSOR = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", tol=1e3, random_state=0).fit(X, y)
CLASSIFIER = MLPClassifier((4,), solver="lbfgs", tol=1e3, random_state=0).fit(X, labels)
RAGGED = [[1, 2], [3]]
RECORDS = np.rec.fromarrays([y], names="a")
DAY = np.timedelta64(1, "D")


def with_value(array, value):
    array = array.astype(object)
    array.flat[5] = value
    return array


def outside(X):
    """A sparse matrix with indices beyond its columns."""
    sparse = csr_matrix(X)
    sparse.indices = sparse.indices + 99
    return sparse


UNCLEAR = [
    (lambda: MODEL.save(3), "path must be a str or Path, got 3"),
    (lambda: to_c(MODEL, 3), "path must be a str or Path, got 3"),
    (lambda: load("model", kind=np.ones((2, 2))), "kind must be None or one of MLP, .*, got array"),
    (lambda: load("model", kind="MPL"), "kind must be None or one of MLP, .*, got 'MPL'"),
    (lambda: REGRESSOR.fit(X, y, resume_from=3), "resume_from must be a str or Path, got 3"),
    (
        lambda: MLPEnsembleRegressor(REGRESSOR, random_state=0).fit(X, y, checkpoints=3),
        "checkpoints must be a str or Path, got 3",
    ),
    (
        lambda: TabularMLPRegressor(random_state=0).fit(X, y, checkpoints=("a",)),
        "checkpoints must be a str or Path, got",
    ),
    (lambda: check_gradients(MODEL, X, y, step=1e300), "step must be a number"),
    (lambda: cross_val_fit(REGRESSOR, X, y, seeds=("adam", None)), "seeds must be None or a list of integers from 0"),
    (lambda: cross_val_fit(REGRESSOR, X, y, seeds=[2**32]), "seeds must be None or a list of integers from 0"),
    (lambda: cross_val_fit(REGRESSOR, X, y, cv=DAY), "cv must be an int, a splitter, or a list of pairs"),
    (lambda: cross_val_fit(REGRESSOR, X, y, cv=2.0), "cv must be an int, a splitter, or a list of pairs"),
    (lambda: Perceptron().fit(X, [0, 1, [1]]), "y must be a list of labels, or of rows of one length"),
    (lambda: Perceptron().fit(X, np.empty((20, 0))), "y has no columns"),
    (lambda: MLPClassifier().partial_fit(X, [[]]), "y has no columns"),
    (lambda: MLPClassifier().partial_fit(X, labels, classes=[0.5]), "classes must be a list of every possible label"),
    (lambda: CLASSIFIER.score(DAY, labels, y**2), "X must be an array, a frame or a list of samples, got timedelta64"),
    (lambda: Perceptron().score(DAY, labels, y**2), "X must be an array, a frame or a list of samples"),
    (lambda: load("a\0b"), r"path must not contain the character"),
    (
        lambda: Perceptron(random_state=-1).fit(X, labels),
        "random_state must be None, a RandomState or a seed",
    ),
    (lambda: MLP([(1, "identity")], random_state=DAY), "random_state must be None, a RandomState or a seed"),
    (lambda: MLPEnsembleRegressor(random_state=DAY).fit(X, y), "random_state must be None, a RandomState or a seed"),
    (lambda: softmax_regression({1}), "n_classes must be an integer of at least 2"),
    (lambda: softmax_regression(1), "n_classes must be an integer of at least 2"),
    (lambda: linear_regression("1"), "n_outputs must be an integer of at least 1"),
    (lambda: logistic_regression(0), "n_outputs must be an integer of at least 1"),
    (lambda: OneHot(DAY), "n_values must be an integer"),
    (lambda: MLP([(1, "identity")], input_scale=DAY), "input_scale must be a number"),
    (lambda: MLPRegressor(l1=DAY).fit(X, y), "'l1' parameter of MLPRegressor must be a float in the range"),
    (lambda: MLPRegressor(l1=Fraction(1, 2)).fit(X, y), "'l1' parameter of MLPRegressor must be a float in the range"),
    (lambda: TabularMLPRegressor(hidden_layer_sizes=10**30).fit(X, y), "this network would have .* fewer or narrower"),
    (lambda: cross_val_fit(REGRESSOR, X, y, fit_params=(1,)), "fit_params must be a dict of arguments of fit by name"),
    (lambda: fit_many([MODEL], X, y, fit_params={0: 1}), "fit_params must be a dict of arguments of fit by name"),
    (lambda: cross_val_fit(REGRESSOR, X, 0), "y must be an array, a frame or a list, got int"),
    (lambda: cross_val_fit(REGRESSOR, X, y, groups=len), "groups must be an array, a frame or a list"),
    (lambda: cross_val_fit(REGRESSOR, X, y, groups="abc"), "groups must be an array, a frame or a list, got str"),
    (lambda: cross_val_fit(REGRESSOR, X, y, groups=[1]), "groups must have a value for each of the 20 samples"),
    (lambda: cross_val_fit(REGRESSOR, X, y, cv={"a": 1}), "cv must be an int, a splitter, or a list of pairs"),
    (lambda: cross_val_fit(REGRESSOR, X, y, cv=["ab", None]), "cv must be an int, a splitter, or a list of pairs"),
    (lambda: cross_val_fit(REGRESSOR, X, y, cv=[([0, 99], [1])]), "cv must hold indices of samples from 0 to 19"),
    (lambda: MLPEnsembleRegressor(3).save("model"), "estimator must be a fastmlp.MLPRegressor, got 3"),
    (lambda: REGRESSOR.score(X, y, RAGGED), "sample_weight must be .* rows of one length"),
    (lambda: REGRESSOR.score(X, y, np.full(20, np.nan)), "sample_weight contains NaN"),
    (lambda: REGRESSOR.score(X, y + 1j), "Complex data not supported: y must be real numbers, got complex128"),
    (lambda: CLASSIFIER.score(X, with_value(labels, "a")), "y must be labels of one type, got texts and numbers"),
    (lambda: dead_units(MODEL, X + 1j), "Complex data not supported: X must be real numbers, got complex128"),
    (lambda: MODEL.fit(X, csr_matrix(y[:, None] + 1j)), "Complex data not supported: y must be real numbers"),
    (lambda: CLASSIFIER.fit(X, labels + 1j), "Complex data not supported: y must be real numbers"),
    (lambda: MODEL.fit(X, RECORDS), r"y must be numbers, got records of .*: pass their columns"),
    (lambda: Adaline().fit(with_value(X, 10**400), labels), "X must be numbers: int too large"),
    (lambda: MODEL.fit(X, y, sample_weight=["a"] * 20), "sample_weight must be numbers: could not convert string"),
    (lambda: MODEL.predict(with_value(X, [1, 2])), "X must be numbers: float.. argument must be .*list"),
    (
        lambda: REGRESSOR.predict(pd.DataFrame({"a": y, "b": y, "colour": ["red"] * 20})),
        "X must be numbers: could not convert string to float: 'red' in column 'colour'",
    ),
    (
        lambda: MODEL.compile_predict()(np.arange(6.0)[::2]),
        "3 numbers .* a C-contiguous array .* not C-contig",
    ),
    (
        lambda: MLPRegressor(learning_rate=(1, 2, 3)).fit(X, y),
        "learning_rate must be a name or the result of make_",
    ),
    (lambda: training_report("r", CLASSIFIER, labels, y), "truth and predicted must be labels of the same kind"),
]


@pytest.mark.parametrize("call, message", UNCLEAR)
def test_the_error_names_the_argument(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("given", [outside(X), 3, RAGGED], ids=["damaged", "number", "ragged"])
def test_a_report_refuses_what_is_no_array(given, tmp_path):
    with pytest.raises(ValueError, match="truth"):
        training_report(tmp_path / "report.html", MODEL, given, y)
    assert not list(tmp_path.iterdir())


def test_a_refused_fit_leaves_a_perceptron_unfitted():
    model = Perceptron(shuffle="yes")
    with pytest.raises(ValueError, match="shuffle"):
        model.fit(X, labels)
    assert "model_" not in vars(model)


def test_classical_models_take_initial_weights():
    assert linear_regression(init="normal").init == "normal"
    assert linear_regression().init == "zeros"


def test_small_integer_types_count_like_int():
    sizes = (20, 3), (np.uint8(20), np.uint8(3))  # of which the products are beyond 255
    fits = [MLP([(1, "identity")], random_state=0).fit(X, y, *size).parameters for size in sizes]
    np.testing.assert_array_equal(*fits)
