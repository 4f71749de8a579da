"""X, y and weights in every container: column names, dtypes, dates, damaged sparse matrices."""

import pickle
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from fastmlp import (
    MLP,
    Adaline,
    Layer,
    MLPClassifier,
    MLPEnsembleRegressor,
    MLPRegressor,
    Perceptron,
    TabularMLPClassifier,
    TabularMLPRegressor,
    check_gradients,
    dead_units,
    fit_many,
    input_gradient,
    jacobian,
    load,
    to_c,
)
from fastmlp.cli.table_model import TableModel
from fastmlp.validation.arrays import frame_values, is_clean_csr, is_valid_csr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = np.random.RandomState(0)
X, NAMES = rng.standard_normal((40, 3)), ["a", "b", "c"]
y = X @ [1.0, -2.0, 0.5]
LABELS = (y > 0).astype(int)
FRAME = pd.DataFrame(X, columns=NAMES)
OTHERS = {
    "another order": FRAME[["c", "a", "b"]],
    "other names": FRAME.rename(columns={"a": "z"}),
}
WRONG_NAMES = "feature names should match"


def network(**options):
    return MLP([Layer(4, "tanh", dropout=0.1), Layer(1, "identity")], **{"random_state": 0} | options)


def regressor(**options):
    return MLPRegressor(hidden_layer_sizes=(4,), **{"max_iter": 2, "random_state": 0, "dropout": 0.1} | options)


def classifier(**options):
    return MLPClassifier(hidden_layer_sizes=(4,), **{"max_iter": 2, "random_state": 0} | options)


def polars_of(frame):
    return pytest.importorskip("polars", reason="needs the package polars").DataFrame(dict(frame.items()))


def arrow_of(frame):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    return pyarrow.table({name: column.to_numpy() for name, column in frame.items()})


class Tensor:
    """Like a torch tensor on the host: it has ``__array__`` and a dtype that is not one of NumPy's."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, f"torch.{array.dtype}"

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)

    def __len__(self):
        return len(self.array)

    def __iter__(self):
        return iter(self.array)


# Column names

USES_OF_NETWORKS = {
    "predict": lambda model, rows: model.predict(rows),
    "mc_samples": lambda model, rows: model.predict(rows, mc_samples=2),
    "layer_outputs": lambda model, rows: model.layer_outputs(rows),
    "evaluate": lambda model, rows: model.evaluate(rows, y),
    "fit": lambda model, rows: model.fit(rows, y, 1),
    "validation_data": lambda model, rows: model.fit(FRAME, y, 1, validation_data=(rows, y)),
    "fit_stream": lambda model, rows: model.fit_stream([(FRAME, y), (rows, y)], shuffle=False),
}
USES_OF_ESTIMATORS = {
    "predict": lambda model, rows: model.predict(rows),
    "score": lambda model, rows: model.score(rows, y),
    "partial_fit": lambda model, rows: model.partial_fit(rows, y),
    "mc_samples": lambda model, rows: model.predict(rows, mc_samples=2),
    "eval_set": lambda model, rows: model.fit(FRAME, y, eval_set=[(FRAME, y), (rows, y)]),
    "fit_stream": lambda model, rows: model.fit_stream([(FRAME, y), (rows, y)]),
}
USES_OF_BOTH = {
    "input_gradient": input_gradient,
    "jacobian": jacobian,
    "dead_units": dead_units,
    "check_gradients": lambda model, rows: check_gradients(model, rows, y, n_parameters=1),
    "to_c": lambda model, rows: to_c(model, test_inputs=rows),
}


@pytest.mark.parametrize("make", [pd.DataFrame, polars_of, arrow_of])
@pytest.mark.parametrize("kind", [network, regressor])
def test_other_column_names_are_refused_everywhere(kind, make, tmp_path):
    fitted = kind().fit(make(FRAME), y)
    assert fitted.feature_names_in_.tolist() == NAMES
    fitted.save(tmp_path / "model")
    before = fitted.predict(FRAME)
    uses = USES_OF_BOTH | (USES_OF_NETWORKS if kind is network else USES_OF_ESTIMATORS)
    for model in (fitted, load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        for name, use in uses.items():
            for what, rows in OTHERS.items():
                if name in ("fit_stream", "eval_set", "validation_data"):  # start a new fit
                    model = pickle.loads(pickle.dumps(model))
                with pytest.raises(ValueError, match=WRONG_NAMES):
                    use(model, make(rows))
                    pytest.fail(f"{name} accepts {what}")
    np.testing.assert_array_equal(fitted.predict(make(FRAME)), before)


@pytest.mark.parametrize("kind", [network, regressor])
def test_duplicate_column_names_are_refused_everywhere(kind):
    twice = FRAME.set_axis([NAMES[0], NAMES[1], NAMES[0]], axis=1)
    uses = USES_OF_BOTH | (USES_OF_NETWORKS if kind is network else USES_OF_ESTIMATORS)
    message = f"has several columns named '{NAMES[0]}': rename"
    for name, use in uses.items():
        with pytest.raises(ValueError, match=message):
            use(kind().fit(FRAME, y), twice)
            pytest.fail(name)
    for fit in (
        lambda model: model.fit(twice, y),
        lambda model: model.fit(FRAME, twice),
        lambda model: model.fit(FRAME, y, sample_weight=twice),
        lambda model: model.fit_stream([(twice, y)]),
    ):
        with pytest.raises(ValueError, match=message):
            fit(kind())
    with pytest.raises(ValueError, match=message):
        classifier().fit(FRAME, twice)
    with pytest.raises(ValueError, match="y of eval_set has several"):
        regressor().fit(FRAME, y, eval_set=(FRAME, twice))


def test_duplicate_column_names_of_arrow():
    pyarrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    with pytest.raises(ValueError, match="X has several columns named 'a'"):
        regressor().fit(pyarrow.table([pyarrow.array(X[:, 0])] * 2, names=["a", "a"]), y)


def test_column_names_of_ensembles_and_classic_models():
    members = MLPEnsembleRegressor(regressor(), n_members=2, random_state=0).fit(FRAME, y)
    for model in (members, Perceptron(max_iter=2).fit(FRAME, LABELS), Adaline(max_iter=2).fit(FRAME, LABELS)):
        with pytest.raises(ValueError, match=WRONG_NAMES):
            model.predict(OTHERS["another order"])
    with pytest.raises(ValueError, match=WRONG_NAMES):
        MLPEnsembleRegressor(regressor(), n_members=2).fit(FRAME, y, eval_set=(OTHERS["another order"], y))


@pytest.mark.filterwarnings("error")
def test_column_names_only_in_fit_or_only_in_predict():
    """scikit-learn's warnings are raised; there are none for arrays, and none from internal calls."""
    named, plain = network().fit(FRAME, y, 1, validation_data=(FRAME, y), monitor=True), network().fit(X, y, 1)
    assert not hasattr(plain, "feature_names_in_")
    assert not hasattr(network().fit(FRAME.set_axis([0, 1, 2], axis=1), y, 1), "feature_names_in_")
    for model, rows in ((named, FRAME), (plain, X)):
        model.evaluate(rows, y)
        model.predict(rows)
        check_gradients(model, rows, y, n_parameters=1)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLP was fitted with feature names"):
        named.predict(X)
    with pytest.warns(UserWarning, match="X has feature names, but MLP was fitted without feature names"):
        plain.predict(FRAME)
    network().build(3).predict(FRAME)  # not fitted, so there are no names to compare


def test_a_refused_first_fit_stores_no_column_names():
    for begin in (
        lambda model: model.fit(FRAME, y, validation_data=(OTHERS["another order"], y)),
        lambda model: model.fit(FRAME, y[:5]),
        lambda model: model.fit_stream([(FRAME, y[:5])]),
    ):
        model = network()
        with pytest.raises(ValueError, match=r"feature names|inconsistent"):
            begin(model)
        assert not hasattr(model, "feature_names_in_")
        model.fit(OTHERS["another order"], y, 1)
        assert model.feature_names_in_.tolist() == ["c", "a", "b"]


def test_files_without_or_with_invalid_column_names(tmp_path):
    """A file as earlier versions wrote it, and files whose names do not match the network."""
    model = network().fit(FRAME, y, 1)
    saved = model.saved_state()
    del saved["feature_names_in_"]
    old = MLP.from_saved_state(saved)
    assert not hasattr(old, "feature_names_in_")
    np.testing.assert_array_equal(old.predict(X), model.predict(FRAME))
    for wrong in (np.array(["a"], object), np.array([1, 2, 3], object)):
        with pytest.raises(ValueError, match="feature names are"):
            MLP.from_saved_state(saved | {"feature_names_in_": wrong})


@pytest.mark.parametrize("make", [pd.DataFrame, polars_of, arrow_of])
def test_column_names_in_plot_decision_boundary(make):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    from fastmlp.inspection.plots import plot_decision_boundary

    rows, wrong = make(FRAME[["a", "b"]]), make(FRAME[["b", "a"]])
    for model in (MLP([(1, "logistic")], "binary_cross_entropy").fit(rows, LABELS, 1), classifier().fit(rows, LABELS)):
        plot_decision_boundary(model, rows, LABELS)
        with pytest.raises(ValueError, match=WRONG_NAMES):
            plot_decision_boundary(model, wrong, LABELS)


def test_column_names_of_a_table_model():
    """The inputs of the network have the names of the table's columns; arrays are matched by position."""
    table = TableModel.create(FRAME.assign(y=y), "y", hidden=(3,))
    table.model.build(3)
    assert to_c(table, test_inputs=FRAME) == to_c(table, test_inputs=X)
    with pytest.raises(ValueError, match=WRONG_NAMES):
        to_c(table, test_inputs=OTHERS["another order"])


# dtypes

CONTAINERS = {
    "array": lambda rows: rows,
    "big-endian": lambda rows: rows.astype(rows.dtype.newbyteorder(">")),
    "list of arrays": list,
    "tensor": Tensor,
    "pandas": pd.DataFrame,
    "nullable pandas": lambda rows: pd.DataFrame(rows).convert_dtypes(convert_integer=False),
    "polars": lambda rows: polars_of(pd.DataFrame(rows, columns=NAMES)),
    "arrow": lambda rows: arrow_of(pd.DataFrame(rows, columns=NAMES)),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_array,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_containers_keep_their_dtype(container, dtype, backend):
    plain = X.astype(dtype)
    rows = CONTAINERS[container](plain)
    for fit in (
        lambda rows: regressor(backend=backend).fit(rows, y),
        lambda rows: regressor(backend=backend).partial_fit(rows, y),
        lambda rows: regressor(backend=backend).fit_stream([(rows, y)]),
        lambda rows: classifier(backend=backend).fit(rows, LABELS, eval_set=(rows, LABELS)),
    ):
        model, expected = fit(rows), fit(plain)
        assert model.coefs_[0].dtype == dtype
        assert list(getattr(model, "feature_names_in_", NAMES)) == NAMES
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
        np.testing.assert_array_equal(model.predict(rows), expected.predict(plain))
    found, expected = (network(backend=backend).fit(given, y, 1) for given in (rows, plain))
    np.testing.assert_array_equal(found.predict(rows), expected.predict(plain))


def test_mixed_and_half_precision_are_trained_in_float64():
    mixed = FRAME.astype({"a": "float32"})
    for rows in (mixed, polars_of(mixed), arrow_of(mixed), X.astype("float16"), X.tolist()):
        assert regressor().fit(rows, y).coefs_[0].dtype == "float64"


# Dates

DAYS = np.datetime64("2020-01-01") + np.arange(120).reshape(40, 3)
MOMENTS = [[datetime(2020, 1, 1), 1.0, 2.0]] * 40
DATES = {
    "datetime64": DAYS,
    "NaT": np.full((40, 3), np.datetime64("NaT", "ns")),
    "timedelta64": DAYS - DAYS[0],
    "datetime": np.array(MOMENTS, object),
    "list": MOMENTS,
    "timedelta": [[1.0, timedelta(1), 2.0]] * 40,
    "list of datetime64": DAYS.tolist(),
    "scalars": [[np.datetime64("2020-01-01"), 1.0, 2.0]] * 40,
    "Timestamp": pd.DataFrame(MOMENTS, columns=NAMES).astype(object),
    "frame": pd.DataFrame(DAYS, columns=NAMES),
    "frame with a zone": pd.DataFrame(DAYS, columns=NAMES).apply(lambda column: column.dt.tz_localize("UTC")),
    "categories": pd.DataFrame(DAYS, columns=NAMES).astype("category"),
    "one column": FRAME.assign(b=DAYS[:, 0]),
    "intervals": FRAME.assign(b=pd.interval_range(0, periods=40)),
    "polars": lambda: polars_of(FRAME.assign(b=DAYS[:, 0])),
    "arrow": lambda: arrow_of(FRAME.assign(b=DAYS[:, 0] - DAYS[0, 0])),
}


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("kind", DATES)
def test_dates_in_x_are_refused(kind):
    rows = DATES[kind]() if callable(DATES[kind]) else DATES[kind]
    fitted, fitted_network = regressor().fit(X, y), network().fit(X, y, 1)
    calls = [
        lambda: regressor().fit(rows, y),
        lambda: regressor().partial_fit(rows, y),
        lambda: regressor().fit_stream([(rows, y)]),
        lambda: regressor().fit(X, y, eval_set=(rows, y)),
        lambda: classifier().fit(rows, LABELS),
        lambda: fitted.predict(rows),
        lambda: MLPEnsembleRegressor(regressor(), n_members=1).fit(rows, y),
        lambda: Perceptron().fit(rows, LABELS),
        lambda: network().fit(rows, y),
        lambda: network().fit_stream([(rows, y)]),
        lambda: network().fit(X, y, validation_data=(rows, y)),
        lambda: fitted_network.predict(rows),
        lambda: input_gradient(fitted_network, rows),
        lambda: to_c(fitted, test_inputs=rows),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(
            ValueError, match=r"(X|test_inputs) must be numbers, got .*[dD]a(te|ys)|numbers, got (Time|dur)"
        ):
            call()
            pytest.fail(f"call {number} did not raise")


@pytest.mark.parametrize("dates", [DAYS[:, 0], DAYS[:, 0].astype(object), pd.Series(DAYS[:, 0]), list(DAYS[:, 0])])
def test_dates_as_targets_and_weights(dates):
    """A classifier accepts the same labels as scikit-learn's."""
    for call in (
        lambda: regressor().fit(X, dates),
        lambda: regressor().fit(X, y, eval_set=(X, dates)),
        lambda: network().fit(X, dates),
        lambda: network().fit(X, y, validation_data=(X, dates)),
    ):
        with pytest.raises(ValueError, match="y must be numbers, got date"):
            call()
    for fit in (regressor().fit, classifier().fit, network().fit, regressor().partial_fit):
        with pytest.raises(ValueError, match="sample_weight must be numbers, got date"):
            fit(X, LABELS, sample_weight=dates)


MASKED_X = np.ma.array(X, mask=X > 1.5)
MASKED_Y = np.ma.array(y, mask=y > 1)
MASKED_LABELS = np.ma.array(LABELS, mask=y > 1)
MASKED_WEIGHT = np.ma.array(np.ones(40), mask=y > 1)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # of scikit-learn
def test_masked_values_are_missing():
    """What lies below a mask is never used."""
    fitted, fitted_network = regressor().fit(X, y), network().fit(X, y, 1)
    ensemble, classic = MLPEnsembleRegressor(regressor(), n_members=1).fit(X, y), Perceptron(max_iter=2).fit(X, LABELS)
    table = TabularMLPRegressor(epochs=1, hidden_layer_sizes=(3,)).fit(X, y)
    labelled = TabularMLPClassifier(epochs=1, hidden_layer_sizes=(3,)).fit(X, LABELS)
    calls = {
        "X": [regressor().fit, regressor().partial_fit, network().fit, fitted.score, fitted_network.evaluate,
              lambda X, y: fitted.predict(X), lambda X, y: fitted_network.predict(X), lambda X, y: ensemble.predict(X),
              lambda X, y: classic.predict(X), lambda X, y: input_gradient(fitted, X)],
        "y": [regressor().fit, regressor().partial_fit, network().fit, fitted.score, fitted_network.evaluate,
              ensemble.fit, ensemble.score, table.score, table.fit,
              lambda X, y: regressor().fit_stream([(X, y)]), lambda X, y: network().fit_stream([(X, y)]),
              lambda X, y: regressor().fit(X, MASKED_Y.data, eval_set=(X, y)),
              lambda X, y: network().fit(X, MASKED_Y.data, validation_data=(X, y))],
        "labels": [classifier().fit, Perceptron().fit, classifier().fit(X, LABELS).score, labelled.fit, labelled.score],
        "weight": [lambda X, y, w: regressor().fit(X, y, w), lambda X, y, w: network().fit(X, y, sample_weight=w),
                   fitted.score, ensemble.score, table.fit, table.score],
    }  # fmt: skip
    given = {
        "X": (MASKED_X, y), "y": (X, MASKED_Y), "labels": (X, MASKED_LABELS), "weight": (X, y, MASKED_WEIGHT),
    }  # fmt: skip
    for what, functions in calls.items():
        for number, call in enumerate(functions):
            with pytest.raises(ValueError, match="NaN"):
                call(*given[what])
                pytest.fail(f"call {number} for {what} did not raise")
    nothing = [np.ma.array(each) for each in (X, y)]
    np.testing.assert_array_equal(regressor().fit(*nothing).predict(nothing[0]), fitted.predict(X))


def test_objects_as_labels():
    """pandas makes them where missing labels were dropped. Mixed types are still no labels."""
    for values in ([False, True], [np.False_, np.True_], [3, 7]):
        labels = np.array(values, object)[LABELS]
        for make in (classifier, partial(TabularMLPClassifier, epochs=1), partial(Perceptron, max_iter=2)):
            for given in (labels, pd.Series(labels, dtype=object)):
                model = make().fit(X, given)
                assert model.classes_.tolist() == values and model.classes_.dtype in (bool, int)
                assert model.score(X, given) == np.mean(model.predict(X) == labels)
    for values in ([False, 1], [1, False]):
        with pytest.raises(ValueError, match="Unknown label type"):
            classifier().fit(X, np.array(values, object)[LABELS])


def test_dates_as_labels():
    days = DAYS[:2, 0][LABELS]
    assert set(classifier().fit(X, days).predict(X)) <= set(days)


# Sparse matrices


def damaged(make, how):
    """A sparse matrix whose arrays are inconsistent."""
    matrix = make(np.where(X > 0, X, 0))
    if how in ("too large", "negative"):
        indices = matrix.indices if hasattr(matrix, "indices") else matrix.col
        indices[3] = 10**6 if how == "too large" else -(10**6)
    elif how == "not monotone":
        matrix.indptr[1] = matrix.indptr[-1]
        matrix.indptr[2] = 0
    elif how == "beyond the end":
        matrix.indptr[-1] += 10**6
    else:
        matrix.data = matrix.data[:5]
    return matrix


@pytest.mark.parametrize("how", ["too large", "negative", "not monotone", "beyond the end", "lengths"])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix, sparse.bsr_matrix])
def test_damaged_sparse_matrices_are_refused_before_they_are_read(make, how):
    if make is sparse.coo_matrix and how in ("not monotone", "beyond the end"):
        return  # this format has no such array
    spoiled = partial(damaged, make, how)
    fitted, fitted_network = regressor().fit(X, y), network().fit(X, y, 1)
    for call in (
        lambda: regressor().fit(spoiled(), y),
        lambda: classifier().fit(spoiled(), LABELS),
        lambda: regressor().partial_fit(spoiled(), y),
        lambda: regressor().fit_stream([(spoiled(), y)]),
        lambda: regressor().fit(X, y, eval_set=(spoiled(), y)),
        lambda: fitted.predict(spoiled()),
        lambda: fitted.predict(spoiled(), mc_samples=2),
        lambda: MLPEnsembleRegressor(regressor(), n_members=1).fit(spoiled(), y),
        lambda: network().fit(spoiled(), y),
        lambda: network().fit_stream([(X, y), (spoiled(), y)], shuffle=False),
        lambda: network().fit(X, y, validation_data=(spoiled(), y)),
        lambda: fitted_network.predict(spoiled()),
        lambda: fitted_network.evaluate(spoiled(), y),
        lambda: fitted_network.layer_outputs(spoiled()),
        lambda: check_gradients(fitted_network, spoiled(), y),
        lambda: classifier().fit(X, damaged(make, how)),  # multilabel targets
    ):
        with pytest.raises(ValueError, match="is an invalid sparse matrix"):
            call()


DECREASING = {
    "no values": np.array([0, 10**7, 10**7, 0], "i4"),
    "fewer than none": np.array([0, 10**7, 10**7, -1], "i4"),
    "differences that overflow": np.array([0, 2**31 - 1, -(2**31), -5, 3], "i4"),
    "differences of unsigned numbers": np.array([0, 10**7, 3], "u4"),
}


@pytest.mark.parametrize("starts", DECREASING.values(), ids=DECREASING)
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array, sparse.bsr_matrix])
@pytest.mark.filterwarnings("ignore:indptr array has non-integer dtype")
def test_decreasing_rows_that_scipy_overlooks_are_refused(make, starts):
    n = len(starts) - 1
    matrix = make(np.eye(n))
    matrix.indices, matrix.data, matrix.indptr = np.zeros(3, np.int32), matrix.data[[0, 0, 0]], starts
    with pytest.raises(ValueError, match="X is an invalid sparse matrix: indptr must not decrease"):
        network().build(n).predict(matrix)


@pytest.mark.parametrize("name", ["indices", "indptr"])
def test_indices_of_sparse_matrices_that_are_no_integers_are_refused(name):
    matrix = sparse.csr_matrix(np.eye(3))
    setattr(matrix, name, np.array([0, np.nan, 1e6, 3][: len(getattr(matrix, name))]))
    with pytest.raises(ValueError, match="X is an invalid sparse matrix: indices and indptr must be integers"):
        network().build(3).predict(matrix)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array])
def test_valid_csr_may_have_any_values_and_no_samples(make):
    spoiled, whole = make(X), make(X)
    spoiled.data[3] = np.nan
    for matrix, is_clean in ((whole, True), (spoiled, False), (whole[:0], False), (whole[:, :0], False)):
        assert is_valid_csr(matrix)
        assert is_clean_csr(matrix, np.dtype("f4")) == is_clean
    for how in ("too large", "negative", "not monotone", "beyond the end", "lengths"):
        assert not is_valid_csr(damaged(make, how))
    late, swapped = make(X), make(X)
    late.indptr[0], swapped.data = 1, swapped.data.astype(">f8" if np.little_endian else "<f8")
    for other in (late, swapped, sparse.csr_array(X[0]), make(X.astype(int)), sparse.csc_array(X), X):
        assert not is_valid_csr(other)


def test_sparse_arrays_of_three_dimensions_are_refused():
    cube, fitted = sparse.coo_array(np.ones((*X.shape, 2))), network().fit(X, y, 1)
    for call in (
        lambda: regressor().fit(cube, y),
        lambda: network().fit(cube, y),
        lambda: fitted.predict(cube),
        lambda: fit_many([network()], cube, y),
    ):
        with pytest.raises(ValueError, match=r"X must have at most 2 dimensions, got a sparse array of shape \("):
            call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value, message", [(np.nan, "NaN"), (np.inf, "infinity"), (1e300, "too large")])
def test_values_of_sparse_matrices_are_checked_in_the_dtype_of_the_model(value, message, dtype):
    """Also in later calls, which skip the general validation."""
    matrix = sparse.csr_matrix(X.astype(dtype))
    fitted, model = regressor(dtype="float32").partial_fit(matrix, y), network().fit(matrix, y, 1)
    fitted.partial_fit(matrix, y)
    with np.errstate(over="ignore"):
        matrix.data[3] = value
    for call in (
        lambda: fitted.predict(matrix),
        lambda: fitted.partial_fit(matrix, y),
        lambda: model.predict(matrix),
        lambda: model.fit(matrix, y),
    ):
        with pytest.raises(ValueError, match=message if np.isfinite(matrix.data[3]) else "infinity|NaN"):
            call()


def test_a_valid_sparse_matrix_is_not_modified():
    """SciPy's own check would truncate unused space at the end of the arrays."""
    matrix = sparse.csr_matrix(X)
    matrix.indices, matrix.data = np.append(matrix.indices, 99), np.append(matrix.data, 1.0)
    with pytest.warns(ConvergenceWarning):
        fitted = regressor().fit(matrix, y)
    assert len(matrix.indices) == len(matrix.data) == X.size + 1
    matrix.indices[:3] = 2, 0, 1
    matrix = sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), X.shape)
    before = matrix.indices.copy()
    fitted.predict(matrix)
    network().build(X.shape[1]).predict(matrix)
    np.testing.assert_array_equal(matrix.indices, before)


# Blocks


def test_a_dataset_of_single_samples_is_refused():
    """For example torch's TensorDataset."""
    for dataset in (
        list(zip(map(Tensor, X), map(Tensor, y))),
        list(zip(X.tolist(), y.tolist())),
        list(zip(X.reshape(20, 2, 3), y)),
    ):
        for fit in (network().fit_stream, regressor().fit_stream):
            with pytest.raises(ValueError, match=r"block 0 is a single sample.*DataLoader\(dataset, batch_size=...\)"):
                fit(dataset, shuffle=False) if fit.__self__.__class__ is MLP else fit(dataset)
    for blocks in ({"a": (X, y)}, FRAME, X, sparse.csr_matrix(X)):
        with pytest.raises(TypeError, match=r"blocks must be a sequence of blocks \(X, y\), .* got"):
            network().fit_stream(blocks)
    with pytest.raises(TypeError, match=r"blocks must be blocks \(X, y\), got str: pass read_blocks"):
        network().fit_stream("text")
    assert network().fit_stream(iter([(Tensor(X), Tensor(y))])).epoch == 1  # as a DataLoader returns them


def test_record_batches_of_arrow_are_refused():
    """scikit-learn would read them without their column names."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    batch = pyarrow.RecordBatch.from_pydict({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    for model in (MLPRegressor(), MLP([(1, "identity")])):
        with pytest.raises(ValueError, match=r"X is an Arrow RecordBatch, which is not supported: pass pyarrow\.Table"):
            model.fit(batch, [0, 1])


@pytest.mark.parametrize("columns, is_array", [
    ({"a": "f4", "b": "f4"}, True), ({"a": "i8", "b": "f4"}, True), ({"a": "f8", "b": "bool"}, False),
    ({"a": "Float64", "b": "f8"}, False), ({"a": "f8", "b": "object"}, False), ({"a": "f8", "b": "category"}, False),
])  # fmt: skip
def test_frames_of_numpy_numbers_are_checked_as_arrays(columns, is_array):
    frame = pd.DataFrame({name: pd.Series([1, 0, 1]).astype(kind) for name, kind in columns.items()})
    found = frame_values(frame)
    assert isinstance(found, np.ndarray) is is_array
    model = MLP([Layer(2), Layer(1, "identity")], random_state=0, dtype="float32").fit(frame, [0.0, 1.0, 2.0], epochs=2)
    twin = MLP([Layer(2), Layer(1, "identity")], random_state=0, dtype="float32")
    twin.fit(frame.to_numpy(dtype="f8"), [0.0, 1.0, 2.0], epochs=2)
    np.testing.assert_array_equal(model.predict(frame), twin.predict(frame.to_numpy(dtype="f8")))
