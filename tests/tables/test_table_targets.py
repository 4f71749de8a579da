"""Targets of tables: labels and numbers, there and back."""

import numpy as np
import pandas as pd
import pytest

from fastmlp.tables import LabelTargets, NumberTargets

pl = pytest.importorskip("polars", reason="needs polars")
pa = pytest.importorskip("pyarrow", reason="needs pyarrow")

TEXTS = ["b", "a", "c", "b"]
LABELS = {
    "list": TEXTS,
    "array": np.array(TEXTS),
    "objects": np.array(TEXTS, object),
    "pandas": pd.Series(TEXTS),
    "pandas categories": pd.Series(TEXTS, dtype="category"),
    "polars": pl.Series(TEXTS),
    "polars categories": pl.Series(TEXTS, dtype=pl.Enum(["c", "b", "a"])),
    "Arrow": pa.chunked_array([TEXTS]),
    "Arrow dictionary": pa.chunked_array([pa.array(TEXTS).dictionary_encode()]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name):
    targets = LabelTargets.fit(LABELS[name])
    assert targets.classes.tolist() == ["a", "b", "c"]
    numbers = targets.encode(LABELS[name])
    np.testing.assert_array_equal(numbers, [1, 0, 2, 1])
    assert targets.decode(numbers).tolist() == TEXTS


@pytest.mark.parametrize("dtype", ("int8", "bool", "float32", "U3"))
def test_labels_keep_their_dtype(dtype):
    y = np.array([1, 0, 1], dtype)
    targets = LabelTargets.fit(y)
    found = targets.decode(targets.encode(y))
    assert found.dtype == y.dtype and (found == y).all()


def test_unknown_labels():
    with pytest.raises(ValueError, match=r"did not occur in fit: 'd'\. Known: 'a', 'b', 'c'"):
        LabelTargets.fit(TEXTS).encode(["a", "d"])


@pytest.mark.parametrize("y", ([1.5, 2.5], [[1, 0], [0, 1]], "abc"))
def test_what_are_no_labels(y):
    with pytest.raises(ValueError):
        LabelTargets.fit(y)


MISSING = {
    "None": ["a", None, "b", None],
    "NaN": [1.0, np.nan, 2.0, np.nan],
    "pandas": pd.Series([1, None, 2, None], dtype="Int64"),
    "polars": pl.Series([1, None, 2, None]),
    "Arrow": pa.chunked_array([["a", None, "b", None]]),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_targets_are_listed(name):
    message = r"y contains NaN: targets are missing in 2 of 4 rows \(1, 3, counted from 0\)\. Drop these rows"
    with pytest.raises(ValueError, match=message):
        LabelTargets.fit(MISSING[name])
    with pytest.raises(ValueError, match=message):
        NumberTargets.fit(MISSING[name])


def test_many_missing_targets_are_counted():
    with pytest.raises(ValueError, match=r"in 9 of 10 rows \(0, 1, 2, 3, 4 and 4 more, "):
        NumberTargets.fit([[1.0, np.nan]] * 9 + [[1.0, 2.0]])


def test_numbers():
    y = np.array([1e6, 1e6 + 2, 1e6 + 4, 0.0])
    targets = NumberTargets.fit(y, np.array([1.0, 1, 1, 0]))
    assert (targets.mean, targets.low, targets.high) == (1e6 + 2, 1e6, 1e6 + 4)
    encoded = targets.encode(y)
    assert encoded.dtype == np.float32 and encoded.shape == (4, 1)
    np.testing.assert_allclose(encoded[:3, 0], np.array([-1, 0, 1]) * np.sqrt(1.5), rtol=1e-6)
    np.testing.assert_allclose(targets.decode(encoded)[:3], y[:3])
    assert targets.decode([[9.0], [-9.0]]).tolist() == [1e6 + 4, 1e6]  # limited to the range in fit


def test_several_and_constant_outputs():
    y = np.array([[1.0, 5.0], [3.0, 5.0]])
    for given in (y, y.tolist(), pd.DataFrame(y), pl.DataFrame(y)):
        targets = NumberTargets.fit(given)
        assert targets.mean.tolist() == [2, 5] and targets.std.tolist() == [1, 1]
        np.testing.assert_array_equal(targets.decode(targets.encode(given, "float64")), y)
    with pytest.raises(ValueError, match="y has 1 columns, but had 2 in fit"):
        targets.encode(y[:, 0])


@pytest.mark.parametrize(
    "y", (["a", "b"], [1.0, np.inf], [np.datetime64("2020-01-01")] * 2, 3.0, [], pd.Series(["1", "x"]))
)
def test_what_are_no_numbers(y):
    with pytest.raises(ValueError):
        NumberTargets.fit(y)
