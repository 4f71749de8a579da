"""Blocks of Parquet files, Arrow data sets and lazy data frames: a fit on them equals one in memory."""

import pickle
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastmlp import MLP, Layer, MLPClassifier, MLPRegressor, make_optimizer, read_blocks

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = np.random.RandomState(0)
X = rng.standard_normal((400, 3))
y = X @ [1, 2, 3]
LABELS = np.where(y > 0, "high", "low")
TABLE = pa.table({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": y, "label": LABELS, "w": np.arange(400.0)})
OPTIONS = {"max_iter": 2, "shuffle": False, "random_state": 0, "batch_size": 50}
FEATURES = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path):
    """Three files of four row groups each: one in a subfolder, one with another order of columns."""
    path = tmp_path / "data"
    (path / "more").mkdir(parents=True)
    pq.write_table(TABLE[:100], path / "0.parquet", row_group_size=30)
    pq.write_table(TABLE[100:250].select(TABLE.column_names[::-1]), path / "1.parquet", row_group_size=40)
    pq.write_table(TABLE[250:], path / "more" / "2.PARQUET", row_group_size=50)
    (path / "_SUCCESS").touch()
    (path / ".hidden.parquet").touch()
    (path / "_temporary").mkdir()
    (path / "_temporary" / "3.parquet").touch()
    (path / "notes.txt").touch()
    return path


def polars(folder):
    pl = pytest.importorskip("polars", reason="needs the package polars")
    return pl.concat([pl.scan_parquet(path).select(TABLE.column_names) for path in paths(folder)])


def dask(folder):
    dd = pytest.importorskip("dask.dataframe", reason="needs the package dask")
    return dd.from_pandas(TABLE.to_pandas(), npartitions=5)


def paths(folder):
    return [folder / "0.parquet", folder / "1.parquet", folder / "more" / "2.PARQUET"]


SOURCES = {  # name: (source, number of blocks, number of samples)
    "folder": (lambda folder: folder, 11, 400),
    "text": (str, 11, 400),
    "pattern": (lambda folder: f"{folder}/**/[012].*", 11, 400),
    "folders of a pattern": (lambda folder: folder.parent / "d*", 11, 400),
    "list": (paths, 11, 400),
    "dataset": (lambda folder: ds.dataset(list(map(str, paths(folder)))), 11, 400),
    "dataset in memory": (lambda folder: ds.dataset(TABLE), 1, None),
    "polars": (polars, 5, 400),
    "dask": (dask, 5, None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_fit_equals_one_in_memory(folder, name):
    make, n_blocks, n_samples = SOURCES[name]
    blocks = read_blocks(make(folder), "y", columns=FEATURES, weight="w", block_rows=90)
    assert (len(blocks), blocks.n_samples) == (n_blocks, n_samples)
    whole = MLPRegressor(**OPTIONS).fit(X, y, np.arange(400.0))
    model = MLPRegressor(**OPTIONS).fit_stream(blocks)
    assert_array_equal(model.coefs_[0], whole.coefs_[0])
    assert list(model.feature_names_in_) == FEATURES
    labels = read_blocks(make(folder), "label", columns=FEATURES, block_rows=90)
    classifier = MLPClassifier(**OPTIONS).fit_stream(labels, ["low", "high"])
    assert_array_equal(classifier.coefs_[0], MLPClassifier(**OPTIONS).fit(X, LABELS).coefs_[0])


@pytest.mark.parametrize("name", SOURCES)
def test_shuffled_epochs_use_each_sample_once_and_can_be_repeated(folder, name):
    make, *_ = SOURCES[name]
    models = [
        MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0).fit_stream(
            read_blocks(make(folder), "y", columns=FEATURES, block_rows=90), 2, shuffle_blocks=3
        )
        for _ in range(2)
    ]
    assert_array_equal(models[0].parameters, models[1].parameters)
    assert models[0]._state.step == 2 * 13


def test_blocks_are_a_sequence(folder):
    blocks = read_blocks(folder, ["y", "w"], columns=FEATURES)
    assert blocks.name(4) == f"{folder / '1.parquet'}, row group 0"
    frame, targets = blocks[-1]
    assert_array_equal(frame.to_numpy(), X[350:])
    assert frame.to_numpy().flags.c_contiguous
    assert_array_equal(targets, np.column_stack([y, np.arange(400.0)])[350:])
    assert sum(len(frame) for frame, _ in blocks) == 400
    with pytest.raises(IndexError):
        blocks[11]
    assert_array_equal(pickle.loads(pickle.dumps(blocks))[0][0], blocks[0][0])


def test_all_other_columns_are_features_by_default(folder):
    blocks = read_blocks(paths(folder)[:1], "label", weight="w")
    assert list(blocks[0][0].columns) == ["a", "b", "c", "y"]


def test_a_schedule_knows_the_number_of_samples(folder):
    optimizer = make_optimizer("momentum", 0.01, schedule="cosine")
    layers = [Layer(1, "identity")]
    blocks = read_blocks(folder, "y", columns=FEATURES)
    model = MLP(layers, optimizer=optimizer, random_state=0).fit_stream(blocks, 2, shuffle=False)
    whole = MLP(layers, optimizer=optimizer, random_state=0).fit(X, y, 2, shuffle=False)
    assert_array_equal(model.parameters, whole.parameters)


def test_names_of_folders_are_columns(tmp_path):
    for year in (2025, 2026):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(TABLE[: year - 2000], tmp_path / f"year={year}" / "p.parquet")
    for source in (tmp_path, f"{tmp_path}/y*/*.parquet"):
        blocks = read_blocks(source, "y", columns=["year", "a"])
        assert [len(frame) for frame, _ in blocks] == [25, 26]
        assert_array_equal(blocks[1][0]["year"], 2026.0)
        assert read_blocks(source, "year", columns=["a"])[0][1].tolist() == [2025] * 25
    with pytest.raises(ValueError, match="no column 'year'"):  # the name of a folder above says nothing
        read_blocks(tmp_path / "year=2025", "y", columns=["year"])


TYPES = {  # name: (values, how X shows them)
    "int8": (pa.array([1, 2], pa.int8()), [1, 2]),
    "large": (pa.array([2**53 + 1, 2**62]), [2.0**53, 2.0**62]),  # rounded, as fit rounds them
    "uint64": (pa.array([1, 2**63], pa.uint64()), [1, 2.0**63]),
    "bool": (pa.array([True, False]), [1, 0]),
    "half": (pa.array(np.array([1, 2], np.float16)), [1, 2]),
    "decimal": (pa.array([Decimal("1.25"), Decimal("-3")]), [1.25, -3]),
    "category": (pa.array([7, 5]).dictionary_encode(), [7, 5]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_of_numbers(tmp_path, kind):
    values, shown = TYPES[kind]
    pq.write_table(pa.table({"x": values, "y": values}), tmp_path / "f.parquet")
    frame, target = read_blocks(tmp_path, "y")[0]
    assert_array_equal(frame["x"], np.array(shown, float))
    assert target.tolist() == values.to_pylist()  # integers of any size stay exact as labels
    assert read_blocks(tmp_path, ["y"])[0][1].shape == (2, 1)


def test_columns_of_float32_stay_float32(tmp_path):
    narrow = pa.table({"a": X[:, 0].astype("f4"), "b": X[:, 1].astype("f4"), "y": y.astype("f4"), "n": np.arange(400)})
    pq.write_table(narrow, tmp_path / "0.parquet")
    frame, target = read_blocks(tmp_path, "y", columns=["a", "b"])[0]
    assert (frame.dtypes == np.float32).all() and target.dtype == np.float32
    assert (read_blocks(tmp_path, "y")[0][0].dtypes == np.float64).all()
    pq.write_table(TABLE, tmp_path / "1.parquet")  # another file decides for all blocks
    assert (read_blocks(tmp_path, "y", columns=["a", "b"])[0][0].dtypes == np.float64).all()


def test_labels_of_categories_and_missing_targets(tmp_path):
    table = pa.table({"x": [1.0, 2.0, 3.0], "c": pa.array(["u", "v", "u"]).dictionary_encode(),
                      "m": pa.array([1, None, 3]), "b": pa.array([True, None, False])})  # fmt: skip
    pq.write_table(table, tmp_path / "f.parquet")
    assert read_blocks(tmp_path, "c", columns=["x"])[0][1].tolist() == ["u", "v", "u"]
    assert_array_equal(read_blocks(tmp_path, "m", columns=["x"])[0][1], [1, np.nan, 3])
    blocks = read_blocks(tmp_path, ["m", "b"], columns=["x"])
    assert_array_equal(blocks[0][1], [[1, 1], [np.nan, np.nan], [3, 0]])
    MLPRegressor(max_iter=2, missing_targets="ignore").fit_stream(blocks)
    with pytest.raises(ValueError, match=r"contains NaN"):
        MLPRegressor(max_iter=2).fit_stream(blocks)


def test_empty_files_row_groups_and_single_rows(tmp_path):
    with pq.ParquetWriter(tmp_path / "1.parquet", TABLE.schema) as writer:
        for part in (TABLE[:0], TABLE[:1], TABLE[:0], TABLE[1:400]):
            writer.write_table(part)
    pq.write_table(TABLE[:0], tmp_path / "0.parquet")
    pq.ParquetWriter(tmp_path / "2.parquet", TABLE.schema).close()  # without a row group
    model = MLPRegressor(**OPTIONS).fit_stream(read_blocks(tmp_path, "y", columns=FEATURES))
    assert_array_equal(model.coefs_[0], MLPRegressor(**OPTIONS).fit(X, y).coefs_[0])
    for empty in ("0.parquet", "2.parquet"):
        with pytest.raises(ValueError, match=r"no samples|empty"):
            MLPRegressor(**OPTIONS).fit_stream(read_blocks(tmp_path / empty, "y", columns=FEATURES))


def with_column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values))


def unreadable(path):
    path.write_bytes(b"PAR1 and more")


N = 150
BROKEN = {  # what is done to the second of three files: the error
    "no column": (lambda table: table.drop_columns(["b"]), ValueError, "1.parquet has no column 'b'. Columns: 'w', "),
    "no target": (lambda table: table.drop_columns(["y"]), ValueError, "1.parquet has no column 'y'"),
    "strings": (with_column("b", ["x"] * N), ValueError, "1.parquet: the column 'b' holds string, but the featu"),
    "dates": (with_column("b", [date(2026, 1, 1)] * N), ValueError, "1.parquet: the column 'b' holds date32.day., but"),
    "lists": (with_column("b", [[1.0]] * N), ValueError, "1.parquet: the column 'b' holds list<.*>, but the feat"),
    "records": (with_column("b", [{"q": 1}] * N), ValueError, "1.parquet: the column 'b' holds struct<.*>, but the fe"),
    "texts": (with_column("y", ["x"] * N), ValueError, "the target 'y' holds double in .*0.parquet, but string in"),
    "dated target": (with_column("y", [date(2026, 1, 1)] * N), ValueError, "1.parquet: the column 'y' holds date32"),
    "weights": (with_column("w", ["x"] * N), ValueError, "1.parquet: the column 'w' holds string, but weights must be"),
    "null": (with_column("b", [None] * 50 + [1.0] * 100), ValueError,
             "1.parquet, row group 0: the column 'b' has 40 missing values: fill them in or drop these rows"),
    "null weight": (with_column("w", [1.0] * 149 + [None]), ValueError, "group 3: the column 'w' has 1 missing values"),
    "no type": (with_column("b", [None] * N), ValueError, "1.parquet, row group 0: the column 'b' has 40 missing"),
    "twice": (lambda table: table.append_column("b", table["b"]), ValueError, "1.parquet has 2 columns 'b': rename or"),
    "damaged": (unreadable, OSError, "1.parquet cannot be read: "),
    "gone": (Path.unlink, FileNotFoundError, "there is no file .*1.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("damage", BROKEN)
def test_a_file_unlike_the_others_is_refused_before_training(folder, damage):
    """The message names the file and the column."""
    change, error, message = BROKEN[damage]
    second = folder / "1.parquet"
    if error is ValueError:
        pq.write_table(change(pq.read_table(second)), second, row_group_size=40)
    else:
        change(second)
    with pytest.raises(error, match=message):
        read_blocks(paths(folder), "y", columns=FEATURES, weight="w")


CALLS = {
    "there is no file or folder nothing": (FileNotFoundError, "nothing", "y", {}),
    "no file matches nothing/": (FileNotFoundError, "nothing/*.parquet", "y", {}),
    "the folder .* has no file ": (FileNotFoundError, "empty", "y", {}),
    "the name of the file or folder is empty": (FileNotFoundError, "", "y", {}),
    "there is no file absent": (FileNotFoundError, ["absent"], "y", {}),
    "cannot be read as Parquet": (OSError, "data/notes.txt", "y", {}),
    "has no column 'z'. Columns: 'a', 'b', 'c', 'y', 'label', 'w'": (ValueError, "data", "z", {}),
    "has no column 'q'": (ValueError, "data", "y", {"columns": ["a", "q"]}),
    "weight: .*has no column 'v'": (ValueError, "data", "y", {"columns": ["a"], "weight": "v"}),
    "'y' cannot be used more than once": (ValueError, "data", "y", {"columns": ["a", "y"]}),
    "'a' cannot be used more than once": (ValueError, "data", "y", {"columns": ["a", "a"]}),
    "'y' cannot be used more": (ValueError, "data", ["y", "y"], {}),
    "'label' holds string, but the features must be numbers": (ValueError, "data", "y", {}),
    "'label' holds string, but a target must be numbers, or one": (ValueError, "data", ["y", "label"], {}),
    "columns must be a list of names, got the string 'a'": (TypeError, "data", "y", {"columns": "a"}),
    "columns must be names of columns, got .1": (TypeError, "data", "y", {"columns": [1]}),
    "target must be names": (TypeError, "data", [3], {}),
    "weight must be names": (TypeError, "data", "y", {"weight": 3}),
    "at least one target": (ValueError, "data", [], {}),
    "one column other than target": (ValueError, "data", "y", {"columns": []}),
    "source must be a path, a list .* got DataFrame. Data in memory": (TypeError, TABLE.to_pandas(), "y", {}),
    "got Table. Data in memory need no blocks": (TypeError, TABLE, "y", {}),
    "got int": (TypeError, 3, "y", {}),
    "block_rows must be": (ValueError, "data", "y", {"block_rows": 0}),
    "Remove the filtering. To read a part of the rows, pass a LazyFrame": (
        ValueError, ds.dataset(TABLE).filter(ds.field("a") > 0), "y", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", CALLS)
def test_invalid_calls(folder, monkeypatch, message):
    error, source, target, options = CALLS[message]
    monkeypatch.chdir(folder.parent)
    Path("empty").mkdir()
    with pytest.raises(error, match=message):
        read_blocks(source, target, **options)


@pytest.mark.parametrize("name", ["folder", "dataset", "polars", "dask"])
def test_fit_stream_names_read_blocks(folder, name):
    make, *_ = SOURCES[name]
    with pytest.raises(TypeError, match=r"blocks must be blocks \(X, y\), got .*: pass read_blocks"):
        MLPRegressor().fit_stream(make(folder))


@pytest.mark.parametrize("name", ["polars", "dask"])
def test_missing_values_and_types_of_lazy_frames(folder, name):
    make, *_ = SOURCES[name]
    frame = make(folder)
    with pytest.raises(ValueError, match=r"'label' holds .*string, but the features must be numbers"):
        read_blocks(frame, "y")
    if name == "dask":
        frame = frame.assign(a=frame["a"].where(frame["a"] < 2, other=None).astype("Float64"))
    else:
        import polars as pl

        frame = frame.with_columns(a=pl.when(pl.col("a") < 2).then("a"))
    with pytest.raises(ValueError, match=r"block \d \((partition|rows) .*\): the column 'a' has \d+ missing values"):
        MLPRegressor(max_iter=1).fit_stream(read_blocks(frame, "y", columns=FEATURES, block_rows=90))


def test_infinite_values_name_the_row_group(folder):
    changed = pq.read_table(folder / "1.parquet")
    values = changed["b"].to_numpy().copy()
    values[100] = np.inf
    pq.write_table(with_column("b", values)(changed), folder / "1.parquet", row_group_size=40)
    with pytest.raises(ValueError, match=r"block 6 \(.*1.parquet, row group 2\): Input X contains infinity"):
        MLPRegressor(max_iter=1).fit_stream(read_blocks(folder, "y", columns=FEATURES))


def test_files_that_vanish_between_epochs(folder):
    model = MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0)
    blocks = read_blocks(folder, "y", columns=FEATURES)

    def move(model, epoch, results):
        shutil.move(folder / "more", folder.parent / "moved")

    with pytest.raises(OSError, match=r"block \d+ \(.*2.PARQUET, row group \d\) cannot be read: .*") as caught:
        model.fit_stream(blocks, 3, callbacks=move)
    assert caught.value.__cause__ is not None
    assert model.epoch == 1
    shutil.move(folder.parent / "moved", folder / "more")
    model.fit_stream(blocks, 2)
    whole = MLP([Layer(4, "tanh"), Layer(1, "identity")], random_state=0).fit_stream(blocks, 3)
    assert_array_equal(model.parameters, whole.parameters)
