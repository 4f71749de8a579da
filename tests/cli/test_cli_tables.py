"""Reading of tables: types of columns, separators, missing values, and errors of one line."""

import datetime
import decimal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import r2_score

import fastmlp
from fastmlp.cli.main import main
from fastmlp.cli.tables import read_table


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def test_a_target_far_from_zero_is_predicted_precisely():
    """The seven digits of float32 are not enough for seconds since 1970."""
    a = np.random.RandomState(0).standard_normal(400)
    frame = pd.DataFrame({"a": a, "y": 1.7e9 + 20 * a})
    frame.to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "y", "--quiet")
    assert r2_score(frame.y, fastmlp.load("model.fastmlp").predict(frame)) > 0.98


def test_a_column_of_a_long_file_has_one_type():
    """pandas reads long files in parts, and would read 01 as a number in a part without other strings."""
    wide = {f"c{i}": np.zeros(40_000, int) for i in range(60)}
    pd.DataFrame(wide | {"zip": ["01"] * 30_000 + ["A1", "01"] * 5_000}).to_csv("long.csv", index=False)
    assert set(read_table("long.csv", "c0")[0].zip) == {"01", "A1"}


def test_validation_rows_are_read_like_training_rows():
    frame = pd.DataFrame({"zip": ["01", "02", "A1"] * 40, "y": ["1", "2", "x"] * 40})
    frame.to_csv("train.csv", index=False)
    frame[frame.zip != "A1"].to_csv("eval.csv", index=False)
    result = run("train", "train.csv", "--target", "y", "--eval", "eval.csv", "--epochs", 60, "--quiet")
    assert not result.stderr
    assert "eval accuracy 1.0000" in result.output


@pytest.mark.parametrize("text, expected", [
    ("a;y\n1,5;2\n2,5;3\n", [[1.5, 2], [2.5, 3]]), ("a, b;y\n1.5;2\n", [[1.5, 2]]), ("a\ty\n1,5\t2\n", [[1.5, 2]]),
    ("a,y\n1.5,2\n", [[1.5, 2]]),
])  # fmt: skip
def test_separators_and_decimal_commas(text, expected):
    Path("t.csv").write_text(text)
    np.testing.assert_array_equal(read_table("t.csv", "y")[0].to_numpy(float), expected)


def test_more_fields_than_in_the_header_are_refused():
    Path("t.csv").write_text("a,y\n0,0,0\n1,1,1\n")
    assert "cannot be read as CSV" in run("train", "t.csv", "--target", "y", code=1).output


def test_a_pipe_can_be_read():
    pd.DataFrame({"a": range(50), "y": range(50)}).to_csv("t.csv", index=False)
    line = f"cat t.csv | {sys.executable} -m fastmlp train /dev/stdin --target y --epochs 1 --quiet"
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert "40 rows for training" in done.stdout, done.stderr


@pytest.mark.parametrize("content", [b"garbage", b"", b"PK\x03\x04" + b"0" * 50])
def test_damaged_archives(content):
    Path("t.npz").write_bytes(content)
    assert "cannot be read as NPZ" in run("train", "t.npz", code=1).output
    np.save("t.npy", np.zeros(3))
    Path("t.npy").rename("t.npz")
    assert "cannot be read as NPZ" in run("train", "t.npz", code=1).output


def test_labels_as_bytes():
    np.savez("t.npz", X=np.arange(40.0)[:, None], y=np.array(["é".encode(), b"b"] * 20))
    run("train", "t.npz", "--epochs", 1, "--quiet")
    assert set(fastmlp.load("model.fastmlp").classes) == {"é", "b"}


@pytest.mark.parametrize("values, kind", [
    ([datetime.date(2026, 1, day) for day in range(1, 21)], "date"),
    (pd.date_range("2026-01-01", periods=20), "Timestamp"), ([decimal.Decimal(n) for n in range(20)], "Decimal"),
    ([[1, 2]] * 20, "ndarray"), ([{"a": 1}] * 20, "dict"), ([b"a", b"b"] * 10, "bytes"),
])  # fmt: skip
def test_unsupported_types_are_refused_with_the_name_of_the_column(values, kind):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    pd.DataFrame({"odd": values, "y": range(20)}).to_parquet("t.parquet")
    for target in ("odd", "y"):
        message = run("train", "t.parquet", "--target", target, "--plain", code=1).output.replace("\n", " ")
        assert f"column 'odd' holds {kind}, but only numbers and strings are supported" in message
    run("train", "t.parquet", "--target", "y", "--ignore", "odd", "--drop-missing", "--plain", code=1)  # nothing left


def test_booleans_with_missing_values():
    pd.DataFrame({"a": range(60), "y": [True, False, None] * 20}).to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "y", "--drop-missing", "--epochs", 2, "--quiet")
    pd.DataFrame({"a": range(60), "y": [True, False] * 30}).to_csv("rest.csv", index=False)
    assert "accuracy" in run("evaluate", "model.fastmlp", "rest.csv").output


def test_a_column_with_an_infinite_standard_deviation():
    pd.DataFrame({"a": [2**53 + i for i in range(3)] * 10, "b": [1e308, -1e308, 0] * 10, "y": range(30)}).to_csv(
        "t.csv", index=False
    )
    message = run("train", "t.csv", "--target", "y", "--plain", code=1).output
    assert "column 'b' has numbers that are too large" in message
    run("train", "t.csv", "--target", "y", "--quiet", "--epochs", 1)  # scaled robustly


@pytest.mark.filterwarnings("error")
def test_a_target_with_an_invalid_standard_deviation():
    """Dividing by infinity or zero would give infinite predictions, or diverge."""
    a = np.random.RandomState(0).standard_normal(60)
    pd.DataFrame({"a": a, "y": a * 1e200}).to_csv("t.csv", index=False)
    for plain, message in (
        (("--plain",), "column 'y' has numbers that are too large"),
        ((), "y or sample_weight is too"),
    ):
        assert message in run("train", "t.csv", "--target", "y", *plain, code=1).output
    pd.DataFrame({"a": a, "y": a * 1e-200}).to_csv("t.csv", index=False)
    for plain in ((), ("--plain",)):
        run("train", "t.csv", "--target", "y", "--epochs", 2, "--quiet", *plain)
        assert np.isfinite(fastmlp.load("model.fastmlp").predict(pd.read_csv("t.csv"))).all()


def test_an_export_that_loses_precision_warns():
    a = np.random.RandomState(0).standard_normal(200)
    pd.DataFrame({"a": 1.7e9 + 20 * a, "y": a}).to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "y", "--epochs", 1, "--quiet", "--plain")
    assert "loses precision in float32" in run("export", "model.fastmlp", "m.py").stderr


def test_ctrl_c_ends_every_command(monkeypatch):
    from fastmlp.cli import speed

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(speed, "time_network", interrupted)
    assert "Interrupted." in run("bench", code=130).stderr
