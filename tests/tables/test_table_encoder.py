"""TableEncoder: the same matrix from every container, each kind of column, changed columns, bad tables, saved state."""

import json
import pickle
import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import clone
from sklearn.utils.estimator_checks import check_estimator

from fastmlp.io.model_files import decode, encode
from fastmlp.tables import TableEncoder

pl = pytest.importorskip("polars", reason="needs polars")
pa = pytest.importorskip("pyarrow", reason="needs pyarrow")

DAY = datetime(2024, 2, 29, 13, 30)
PLAIN = {  # columns as they are in NumPy
    "number": [1.5, -2.0, 1e300, 3.0, 0.25, 1e-300],
    "integer": np.array([2**60, 5, -7, 2**53 + 1, 9, 9]),
    "unsigned": np.array([2**64 - 1, 0, 3, 4, 5, 6], np.uint64),
    "boolean": [True, False, False, True, True, False],
    "text": ["01", "1", "b", "1", "NA", "01"],
    "date": [DAY + timedelta(days=40 * i, hours=i) for i in range(6)],
    "constant": [7] * 6,
}
MISSING = {  # Python values, None where missing
    "number": [1.5, None, 2.5, 3.5, None, 0.0],
    "integer": [2**53 + 1, 5, None, 3, 9, 9],
    "decimal": [Decimal("1.5"), None, Decimal("2.5"), Decimal("-3"), Decimal("0"), Decimal("7")],
    "boolean": [True, None, False, True, True, None],
    "text": ["b", None, "a", "b", "a", "nan"],
    "date": [None, *(DAY.date() + timedelta(days=40 * i) for i in range(5))],
    "time": [None, *(DAY + timedelta(days=40 * i, minutes=i) for i in range(5))],
    "duration": [timedelta(hours=i) for i in range(5)] + [None],
    "empty": [None] * 6,
}
OBJECTS = {name: np.array(values, object) for name, values in MISSING.items()}
ARROW = {name: pa.array(values) for name, values in MISSING.items()}
ARROW |= {"text": ARROW["text"].dictionary_encode(), "time": ARROW["time"].cast(pa.timestamp("ns", "UTC"))}
PLAIN_TABLES = {
    "pandas": pd.DataFrame(PLAIN),
    "pandas of categories": pd.DataFrame(PLAIN).astype({"text": "category"}),
    "pandas of Arrow": pd.DataFrame(PLAIN).convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.DataFrame(PLAIN),
    "Arrow": pa.table(PLAIN | {"text": pa.array(PLAIN["text"], pa.string_view())}),
    "dict": PLAIN,
    "dict of series": {name: pl.Series(values) for name, values in PLAIN.items()},
    "record batch": pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in PLAIN.items()}),
}
MISSING_TABLES = {
    "pandas objects": pd.DataFrame(OBJECTS),
    "pandas": pd.DataFrame(MISSING).assign(time=pd.to_datetime(pd.Series(MISSING["time"]), utc=True)),
    "pandas nullable": pd.DataFrame(MISSING).convert_dtypes(),
    "pandas of Arrow": pd.DataFrame({name: pd.Series(pd.arrays.ArrowExtensionArray(v)) for name, v in ARROW.items()}),
    "polars": pl.DataFrame(MISSING),
    "polars categories": pl.DataFrame(MISSING).with_columns(pl.col("text").cast(pl.Enum(["z", "nan", "b", "a"]))),
    "Arrow": pa.table(ARROW),
    "dict": MISSING,
    "dict of objects": OBJECTS,
}
NAMES = ["number", "integer", "text"]
ARRAYS = {
    "array of objects": np.array([OBJECTS[name] for name in NAMES], object).T,
    "rows": [list(row) for row in zip(*(MISSING[name] for name in NAMES))],
    "frame": pd.DataFrame({name: MISSING[name] for name in NAMES}).rename(columns=dict(zip(NAMES, range(3)))),
}


@pytest.mark.parametrize("tables", (PLAIN_TABLES, MISSING_TABLES, ARRAYS), ids=("plain", "missing", "arrays"))
def test_the_same_matrix_from_each_container(tables):
    of_dict = TableEncoder("float64").fit(tables.get("dict", tables.get("rows")))
    for name, table in tables.items():
        encoder = TableEncoder("float64").fit(table)
        assert encoder.columns_ == of_dict.columns_, name
        for fitted in (encoder, of_dict):
            np.testing.assert_array_equal(fitted.transform(table), of_dict.transform(tables[next(iter(tables))]), name)


def encoded(fit, given=None):
    return TableEncoder("float64").fit({"a": fit}).transform({"a": fit if given is None else given})


def test_numbers_are_scaled_robustly_and_clipped_smoothly():
    z = np.array([-2.0, -1, 0, 1, 48]) / 2  # the quartiles are 1 and 3
    np.testing.assert_allclose(encoded([0.0, 1, 2, 3, 50])[:, 0], z / np.sqrt(1 + (z / 3) ** 2))
    half_range = encoded([5.0] * 10 + [9.0])[:, 0]  # the quartiles are equal: median 5, half of the whole range 2
    np.testing.assert_allclose(half_range, [0] * 10 + [2 / np.sqrt(1 + 4 / 9)])


SCALES = {
    "large": [1e300, -1e300, 2e299],
    "largest": [1.7e308, -1.7e308, 0.0],
    "largest two": [1.7e308, -1.7e308],
    "small": [1e-300, 3e-300, 2e-300],
    "float16": np.array([1, 2, 60000], np.float16),
    "infinite": [np.inf, 1.0, 2.0, -np.inf],
    "Python integers": [10**400, 1, 2],
    "more than 64 bits": [2**70, 2**71, 2**72],
}


@pytest.mark.parametrize("values", SCALES.values(), ids=SCALES)
def test_numbers_of_any_scale(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix = encoded(values)
    assert np.isfinite(matrix).all() and matrix.std() > 0.5 and np.abs(matrix).max() <= 3
    in_order = sorted(range(len(values)), key=list(values).__getitem__)
    assert (np.diff(matrix[in_order, 0]) > 0).all()


def test_missing_numbers():
    np.testing.assert_allclose(encoded([1.0, 3, None, 2])[:, 1], [-1, -1, 1, -1])
    assert encoded([1.0, 3, None, 2])[2, 0] == 0
    np.testing.assert_array_equal(encoded([1, 2, 3], [None, np.nan, 2]), np.zeros((3, 1)))  # none in fit
    np.testing.assert_array_equal(encoded([5, None, 5], [5, 6, None]), [[-1], [-1], [1]])  # only their place counts


def test_masked_arrays_and_missing_values_of_pandas():
    values = np.array([[1.0, 4], [2, 5], [3, 6]])
    missing = np.where(values == 2, np.nan, values)
    objects = np.array([[1, "4"], [pd.NA, "5"], [3, "6"]], object)
    expected = TableEncoder().fit_transform(missing)
    np.testing.assert_array_equal(TableEncoder().fit_transform(np.ma.masked_equal(values, 2)), expected)
    np.testing.assert_array_equal(TableEncoder().fit_transform(objects)[:, :2], expected[:, :2])
    texts = np.ma.masked_equal(np.array([["b"], ["?"], ["a"]]), "?")
    np.testing.assert_array_equal(TableEncoder().fit_transform(texts), [[1], [2], [0]])


CODES = {  # (values in fit, values in transform): codes
    "sorted": (["b", "a", "c"], ["a", "b", "c", "d"], [0, 1, 2, -1]),
    "missing in fit": (["b", None, "a"], [None, "a", np.nan, "x"], [2, 0, 2, -1]),
    "missing later": (["b", "a"], [None, "b"], [-1, 1]),
    "named like missing": (["nan", "NA", None, "None"], ["NA", "None", "nan", None], [0, 1, 2, 3]),
    "leading zeros": (["01", "1", "001"], ["1", "01", "001"], [2, 1, 0]),
    "numbers for texts": (["1", "2", "x"], [1, 2.0, 3], [0, 1, -1]),
    "zeros for texts": (["01", "2"], [1, 2], [-1, 1]),
    "booleans for texts": (["True", "False", "?"], [True, False], [2, 1]),
    "mixed": ([1, "a", 2.5, False], ["1", 1.0, "a", "2.5", False], [0, 0, 3, 1, 2]),
    "missing numbers for texts": (["1", "nan", None, "2"], [1.0, np.nan], [0, 3]),
    "bytes": ([b"a", b"b"], ["b", b"a"], [1, 0]),
    "only missing": (["b", "a"], [None, None], [-1, -1]),
}


@pytest.mark.parametrize("case", CODES)
def test_categories(case):
    fit, given, codes = CODES[case]
    np.testing.assert_array_equal(encoded(fit, given)[:, 0], codes)


def test_numbers_as_categories():
    values = [3, 10, 3, None]
    arrow = pa.array(values, pa.int64()).dictionary_encode()
    for known in (pd.Series(pd.Categorical(values, categories=[99, 10, 3])), pa.chunked_array([arrow])):
        encoder = TableEncoder().fit({"a": known})
        assert encoder.columns_[0].values == ("10", "3") and encoder.encoded[0].n_values == 3
        for given in ([3, 10, 4], [3.0, 10.0, 4.0], ["3", "10", "4"], pd.Series([3, 10, 4], dtype="category")):
            np.testing.assert_array_equal(encoder.transform({"a": given})[:, 0], [1, 0, -1])


BIG = [2**53, 2**53 + 1, 2**53 + 2]


def test_large_integers_as_categories():
    """float64 would round the one in the middle to the first."""
    encoder = TableEncoder().fit({"a": np.array([*map(str, BIG), "x"], object)})
    for given in (
        np.array(BIG), np.array(BIG, np.uint64), np.array([*BIG, None], object)[:3], pd.Series(BIG, dtype="Int64"),
        pd.Series(pd.Categorical(BIG)), pl.Series(BIG), pa.chunked_array([BIG]), list(map(str, BIG)),
    ):  # fmt: skip
        np.testing.assert_array_equal(encoder.transform({"a": given})[:, 0], [0, 1, 2])
    for given in (pd.Series([*BIG, None], dtype="Int64"), pl.Series([*BIG, None]), np.array([*BIG, None], object)):
        np.testing.assert_array_equal(encoder.transform({"a": given})[:, 0], [0, 1, 2, -1])
    with pytest.raises(ValueError, match=r"column 'a' has floating-point numbers of 2\^53 or more.*'9007199254740993'"):
        encoder.transform({"a": np.array(BIG, float)})
    floats = TableEncoder().fit({"a": np.array([1e300, "x"], object)})
    np.testing.assert_array_equal(floats.transform({"a": [1e300, 2.0]})[:, 0], [0, -1])


def test_columns_with_unknown_values_only_are_warned_of():
    """'yes' may be written 'Yes' in another file."""
    encoder = TableEncoder().fit({"a": ["yes", "no", None] * 20, "b": [1.0, 2.0, 3.0] * 20})
    with pytest.warns(UserWarning, match=r"column 'a' has only values that did not occur in fit.* 'Yes' \(20 rows\)"):
        encoder.transform({"a": ["Yes", "No"] * 10 + [None] * 9, "b": [0.0] * 29})
    for given in (["Yes"] * 19, ["Yes"] * 60 + ["no"], [None] * 60):
        encoder.transform({"a": given, "b": [0.0] * len(given)})


def test_rare_categories_share_the_code_of_unseen_ones():
    encoder = TableEncoder(min_frequency=2).fit({"a": ["a", "b", "b", "c", "c", None]})
    np.testing.assert_array_equal(encoder.transform({"a": ["a", "b", "c", None, "x"]})[:, 0], [-1, 0, 1, -1, -1])
    assert encoder.describe()[0]["description"] == "2 categories, 1 missing, 2 rows with rare values"


def test_booleans():
    np.testing.assert_array_equal(encoded([True, False, None]), [[1, -1], [-1, -1], [0, 1]])
    for given in ([1, 0, None], ["true", "FALSE", None], [1.0, 0.0, np.nan]):
        np.testing.assert_array_equal(encoded([True, False], given)[:, 0], [1, -1, 0])


def test_dates():
    days = [date(2020, 1, 6), date(2020, 3, 7), date(2022, 3, 8), None]
    encoder = TableEncoder("float64").fit({"d": days})
    names = [column.name for column in encoder.encoded]
    assert names == ["d: year", "d: month", "d: day of week", "d: days", "d is missing"]
    scalings = encoder.columns_[0].scalings
    medians = {"year": 2020, "month": 3, "day of week": 1, "days": 61}
    assert {part: scaling.median for part, scaling in scalings.items()} == medians
    np.testing.assert_array_equal(encoder.transform({"d": days})[3], [0, 0, 0, 0, 1])
    at_night = [datetime(2020, 1, 6, 23, 30), datetime(2020, 1, 6), datetime(2020, 1, 7, 6)]
    encoder.fit({"d": at_night})
    assert [column.name for column in encoder.encoded] == ["d: day of week", "d: hour", "d: days"]
    assert encoder.columns_[0].scalings["hour"].median == 6
    here = pd.Series(at_night).dt.tz_localize("Europe/Berlin")
    same = encoder.transform({"d": here.dt.tz_convert("UTC").dt.tz_localize(None)})
    aware = [moment.to_pydatetime() for moment in here]
    as_texts = [moment.astimezone(UTC).isoformat() for moment in aware]
    for given in (here, np.array(aware, object), pl.Series(aware), as_texts):
        np.testing.assert_array_equal(encoder.transform({"d": given}), same)


def test_durations_and_times_of_day_are_seconds():
    seconds = encoded([60.0, 7200, 3600])
    for values in ([timedelta(minutes=1), timedelta(hours=2), timedelta(hours=1)], [time(0, 1), time(2), time(1)]):
        for column in (values, pl.Series(values), pd.Series(values), np.array(values, object)):
            np.testing.assert_array_equal(encoded(column), seconds)


CHANGED = {  # (values in fit, values in transform): part of the message
    "numbers to texts": ([1.0, 2], ["1", "?", "?"], "held numbers in fit, but has the string '?' (2 rows) here"),
    "numbers to underscores": ([1.0, 2], ["1_0", "2"], "has the string '1_0' (1 row) here"),
    "numbers to dates": ([1.0, 2], [DAY], "held numbers in fit, but has dates here"),
    "texts to numbers": (["b", "a"], [1.0, 2.0], "held strings such as 'a' in fit, but has numbers here"),
    "texts to booleans": (["b", "1"], [True], "but has booleans here"),
    "texts to dates": (["b", "2"], [DAY], "but has dates here"),
    "booleans to numbers": ([True, False], [0, 2], "held booleans in fit, but has the number 2 (1 row) here"),
    "booleans to texts": ([True, False], ["yes"], "held booleans in fit, but has the string 'yes' (1 row) here"),
    "dates to numbers": ([DAY, DAY + timedelta(days=99)], [3], "held dates in fit, but has numbers here"),
    "dates to texts": ([DAY, DAY + timedelta(days=99)], ["soon", "2020-01-01"], "the string 'soon' (1 row) here"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_column_of_another_kind_than_in_fit(case):
    fit, given, message = CHANGED[case]
    encoder = TableEncoder().fit({"a": fit})
    with pytest.raises(ValueError, match="column 'a'") as error:
        encoder.transform({"a": given})
    assert message in str(error.value)
    assert encoder.transform({"a": [None, None]}).shape == (2, len(encoder.encoded))  # missing values have any kind


X = np.random.RandomState(0).standard_normal((60, 3))
FRAME = pd.DataFrame(X, columns=list("abc"))
BAD = {  # a table: part of the message
    "duplicate names": (pd.DataFrame(X, columns=list("aab")), "several columns named 'a'"),
    "duplicate texts of names": (pd.DataFrame(X, columns=[1, "1", 2]), "several columns named '1'"),
    "one dimension": (X[0], "of shape (3,). Reshape"),
    "series": (pd.Series(X[0]), "of one dimension. Reshape"),
    "Arrow column": (pa.chunked_array([X[0]]), "of one dimension. Reshape"),
    "three dimensions": (X[None], "two dimensions"),
    "sparse": (sparse.csr_array(X), "pass X.toarray()"),
    "lazy": (pl.DataFrame(X).lazy(), "collect"),
    "None": (None, "two dimensions"),
    "string": ("table.csv", "two dimensions"),
    "ragged rows": ([[1, 2], [3]], "different lengths"),
    "ragged columns": ({"a": [1, 2], "b": [1]}, "same number of rows, got 'a' 2, 'b' 1"),
    "no rows": (X[:0], "0 sample(s) (shape=(0, 3))"),
    "no columns": (FRAME[[]], "0 feature(s) (shape=(60, 0))"),
    "one row": (X[:1], "n_samples=1"),
    "constant": (np.ones((5, 2)), "no column of X can be used: 'x0' (constant), 'x1' (constant)"),
    "empty": ({"a": [None, None]}, "'a' (no values)"),
    "complex": (X + 1j, "Complex data not supported"),
    "complex column": (pd.DataFrame({"a": [1j, 2]}), "Complex data not supported: column 'a'"),
}
NESTED = {
    "list": pd.DataFrame({"a": [[1], [2]]}),
    "tuple": pd.DataFrame({"a": [(1, 2), None]}),
    "dict": {"a": [{"b": 1}, {"b": 2}]},
    "set": {"a": np.array([1, {2}], object)},
    "polars list": pl.DataFrame({"a": [[1], [2]]}),
    "Arrow struct": pa.table({"a": [{"b": 1}, {"b": 2}]}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables(case):
    table, message = BAD[case]
    encoder = TableEncoder().fit(FRAME)
    with pytest.raises(ValueError) as error:
        encoder.fit(table)
    assert message in str(error.value)
    assert encoder.transform(FRAME).shape == (60, 6)  # a refused fit changes nothing


@pytest.mark.parametrize("case", NESTED)
def test_nested_cells(case):
    with pytest.raises(TypeError, match=r"column 'a' has nested values .* must be a string, a number"):
        TableEncoder().fit(NESTED[case])


def test_ranks_of_numbers():
    rng = np.random.RandomState(0)
    x = np.exp(rng.standard_normal(4000))  # the rank of a log-normal number is its logarithm
    encoder = TableEncoder("float64").fit({"x": x, "few": rng.randint(0, 10, 4000)})
    assert [(column.name, column.kind, len(column.quantiles)) for column in encoder.encoded] == [
        ("x", "number", 201), ("x: rank", "rank", 201), ("few", "number", 10),
    ]  # fmt: skip
    given = {"x": [0.0, 0.2, 1, 5, 1e9, np.inf, -np.inf, np.nan], "few": [0] * 8}
    ranks = encoder.transform(given)[:, 1]
    np.testing.assert_allclose(ranks[1:4], np.log(given["x"][1:4]), atol=0.07)
    np.testing.assert_array_equal(ranks[[0, 4, 5, 6, 7]], [-3, 3, 3, -3, 0])
    repeated = encoder.fit({"x": np.repeat([0.0, *range(1, 41)], [60, *[1] * 40])}).transform({"x": [0.0, 0.5, 1]})
    assert repeated[0, 1] < -0.3 and 0.2 < repeated[2, 1] < 0.3  # numbers that are equal share the mean of their scores


def test_ranks_of_numbers_whose_differences_are_denormal():
    x, given = np.arange(12.0), np.array([0.5, 6, 11, 20, -np.inf])
    found = TableEncoder("float64").fit({"x": 1e-310 * x}).transform({"x": 1e-310 * given})
    np.testing.assert_allclose(found, TableEncoder("float64").fit({"x": x}).transform({"x": given}))


def test_columns_by_name():
    encoder = TableEncoder().fit(FRAME.assign(constant=1))
    assert encoder.feature_names_in_.tolist() == ["a", "b", "c", "constant"] and encoder.n_features_in_ == 4
    expected = encoder.transform(FRAME.assign(constant=1))
    for same in (FRAME[["c", "a", "b"]], FRAME.assign(other="x"), pl.DataFrame(X, schema=list("abc"))):
        np.testing.assert_array_equal(encoder.transform(same), expected)
    with pytest.raises(ValueError, match="X has no column 'b', 'c'"):
        encoder.transform(FRAME[["a"]])
    encoder.fit(FRAME)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but TableEncoder was fitted with"):
        np.testing.assert_array_equal(encoder.transform(X), expected)
    with pytest.raises(ValueError, match="X has 2 features, but TableEncoder is expecting 3 features as input"):
        encoder.transform(X[:, :2])
    encoder.fit(X)
    assert not hasattr(encoder, "feature_names_in_")
    assert encoder.get_feature_names_out().tolist() == ["x0", "x0: rank", "x1", "x1: rank", "x2", "x2: rank"]
    with pytest.warns(UserWarning, match="X has feature names, but TableEncoder was fitted without"):
        np.testing.assert_array_equal(encoder.transform(FRAME), expected)


def test_texts_that_are_no_categories():
    names, some = [f"name {i}" for i in range(60)], ["a", "b", "c"] * 20
    with pytest.warns(UserWarning, match="column 'a' is not used: it has 60 different strings in 60 rows, such as"):
        encoder = TableEncoder().fit({"a": names, "b": some})
    assert [column.name for column in encoder.encoded] == ["b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableEncoder().fit({"a": names[:50]})
        TableEncoder().fit({"a": ["a", "b", *[None] * 60]})  # few values, most of them missing
        TableEncoder().fit({"a": pd.Series(pd.Categorical(some, categories=[*names, "a", "b", "c"]))})
    power = [str(50 + i % 20) for i in range(60)]
    with pytest.warns(UserWarning, match=r"column 'hp' holds numbers, except for the string '\?' \(2 rows\)"):
        TableEncoder().fit({"hp": [*power, "?", "?"]})


def test_description():
    encoder = TableEncoder().fit(MISSING | {"constant": [1] * 6, "same": ["a"] * 6, "flag": [True] * 5 + [None]})
    found = {row["name"]: (row["kind"], row["description"]) for row in encoder.describe()}
    assert found["number"] == ("numbers", "numbers: median 2, scale 1.625, 2 missing")
    assert found["boolean"] == ("booleans", "booleans, 2 missing")
    assert found["text"] == ("strings", "3 categories, 1 missing")
    assert found["date"] == ("dates", "dates since 2024-02-29: month, day of week, days, 1 missing")
    assert found["empty"] == ("not used", "no values, not used")
    assert found["constant"] == found["same"] == ("not used", "constant, not used")
    assert found["flag"] == ("booleans", "booleans: all equal, 1 missing")


@pytest.mark.parametrize("table", (MISSING, PLAIN, ARRAYS["rows"]), ids=("missing", "plain", "rows"))
def test_saved_state(table):
    encoder = TableEncoder("float64", min_frequency=2).fit(table)
    tensors = {}
    text = json.dumps(encode(encoder.saved_state(), tensors))
    loaded = TableEncoder.from_saved_state(decode(json.loads(text), tensors))
    for copy in (loaded, pickle.loads(pickle.dumps(encoder)), clone(encoder).fit(table)):
        assert (copy.get_params(), copy.columns_) == (encoder.get_params(), encoder.columns_)
        assert hasattr(copy, "feature_names_in_") == hasattr(encoder, "feature_names_in_")
        np.testing.assert_array_equal(copy.transform(table), encoder.transform(table))


DAMAGE = [  # (column, entry of its record, a value that it cannot have)
    ("number", "scaling", (0.0, np.nan)),
    ("number", "scaling", (0.0, 0.0)),
    ("number", "scaling", (1.0,)),
    ("number", "n_missing", "two"),
    ("number", "class", "Path"),
    ("text", "values", (1, 2)),
    ("text", "values", None),
    ("boolean", "varies", 1),
    ("date", "earliest", "never"),
    ("date", "scalings", {"century": (0.0, 1.0)}),
]


@pytest.mark.parametrize(("name", "field", "value"), DAMAGE)
def test_damaged_state_is_refused(name, field, value):
    saved = TableEncoder().fit(MISSING).saved_state()
    column = next(column for column in saved["columns"] if column["name"] == name)
    assert field in column
    column[field] = value
    with pytest.raises((ValueError, TypeError, KeyError)):
        TableEncoder.from_saved_state(saved)


@pytest.mark.parametrize("parameters", ({"dtype": "int8"}, {"min_frequency": 0}, {"min_frequency": 1.5}))
def test_parameters(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        TableEncoder(**parameters).fit(FRAME)
    assert TableEncoder("float64").fit_transform(FRAME).dtype == np.float64
    assert TableEncoder().fit_transform(FRAME).dtype == np.float32


@pytest.mark.filterwarnings("ignore")
def test_conformance_with_scikit_learn():
    check_estimator(TableEncoder(), on_skip=None)


def test_wide_and_short_tables():
    wide = np.random.RandomState(0).standard_normal((5, 2000))
    encoder = TableEncoder().fit(pl.DataFrame(wide))
    assert encoder.transform(pl.DataFrame(wide[:1])).shape == (1, 2000)
    assert encoder.transform(pl.DataFrame(wide[:0])).shape == (0, 2000)


def test_real_tables(data_folder):
    paths = sorted((data_folder / "tabular").glob("*.parquet"))
    assert paths
    for path in paths:
        frame = pd.read_parquet(path).drop(columns="target")
        matrix = TableEncoder().fit_transform(frame)
        assert np.isfinite(matrix).all() and (np.ptp(matrix, axis=0) > 0).all(), path.name
        np.testing.assert_array_equal(TableEncoder().fit_transform(pl.from_pandas(frame)), matrix, path.name)


def test_columns_of_frames_are_found_by_their_numbers():
    frame = pd.DataFrame(np.random.RandomState(0).rand(20, 3))
    shuffled = frame[[2, 0, 1]]
    for fitted in (frame, shuffled):
        encoder = TableEncoder().fit(fitted)
        np.testing.assert_array_equal(encoder.transform(shuffled), encoder.transform(frame))
        assert encoder.names_in(shuffled) == [encoder.names_in(frame)[number] for number in (2, 0, 1)]
    np.testing.assert_array_equal(
        TableEncoder().fit(frame).transform(frame), TableEncoder().fit_transform(frame.values)
    )
