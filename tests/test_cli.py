"""The command line, as a user types it."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_iris
from sklearn.metrics import r2_score

import fastmlp
from fastmlp import backends
from fastmlp.cli import main
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from fastmlp.tables import ColumnEncoder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def houses(tmp_path):
    """A table with numbers, texts and a quantity to predict."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"area": rng.uniform(30, 200, 300), "rooms": rng.randint(1, 7, 300)})
    frame["town"] = rng.choice(["Ulm", "Köln, Süd", 'the "Old" one'], 300)
    frame["price"] = 3000 * frame.area + 20000 * (frame.town == "Ulm") + rng.normal(0, 1000, 300)
    frame.to_csv(tmp_path / "houses.csv", index=False)
    return frame


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def value_of(name, output):
    return float(next(line.split()[-1] for line in output.splitlines() if line.startswith(name)))


def test_train_digits():
    output = run("train", "digits", "--hidden", "128", "--epochs", "40", "--compare", "--plot", "loss.png").output
    assert value_of("test accuracy", output) >= 0.97
    assert "backend cython: compiled ahead of time" in output
    assert "samples/s with cython" in output
    assert "the NumPy reference" in output
    assert Path("loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    table = fastmlp.load("model.fastmlp")
    assert len(table.classes) == 10


@pytest.mark.parametrize("source", ["iris", "wine", "breast_cancer"])
def test_bundled_classification(source):
    assert value_of("test accuracy", run("train", source, "--quiet").output) > 0.9


def test_bundled_regression():
    output = run("train", "diabetes", "--hidden", "", "--optimizer", "lbfgs", "--quiet").output
    assert value_of("test r2", output) > 0.3


def test_a_table_there_and_back(houses):
    output = run(
        "train", "houses.csv", "--target", "price", "--hidden", "32,16", "--epochs", 200, "--out", "h.fastmlp"
    ).output
    assert value_of("test r2", output) > 0.98
    houses.drop(columns="price").to_csv("new.csv", index=False)
    run("predict", "h.fastmlp", "new.csv", "--out", "p.csv")
    predicted = pd.read_csv("p.csv")
    assert list(predicted.columns) == ["price"]
    assert r2_score(houses.price, predicted.price) > 0.98
    printed = run("predict", "h.fastmlp", "new.csv").output
    assert printed.splitlines() == Path("p.csv").read_text().splitlines()


def test_numbers_are_standardised_and_texts_are_one_column_each(houses):
    encoder = ColumnEncoder.fit(houses.drop(columns="price"))
    X = encoder.transform(houses, "float64")
    assert X.shape == (300, encoder.n_outputs) == (300, 5)
    np.testing.assert_allclose(X[:, :2].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X[:, :2].std(axis=0), 1, rtol=1e-12)
    assert (X[:, 2:].sum(axis=1) == 1).all()
    assert (X[:, 2 + sorted(houses.town.unique()).index("Ulm")] == (houses.town == "Ulm")).all()


def test_columns_are_found_by_name_not_by_place(houses):
    run("train", "houses.csv", "--target", "price", "--quiet", "--epochs", 5)
    expected = run("predict", "model.fastmlp", "houses.csv").output
    houses[["town", "price", "rooms", "area"]].to_csv("turned.csv", index=False)
    assert run("predict", "model.fastmlp", "turned.csv").output == expected


def test_text_labels_and_probabilities(houses):
    run("train", "houses.csv", "--target", "town", "--quiet", "--epochs", 60)
    labels = pd.read_csv("houses.csv")["town"]
    run("predict", "model.fastmlp", "houses.csv", "--out", "p.csv")
    run("predict", "model.fastmlp", "houses.csv", "--proba", "--out", "proba.csv")
    predicted, proba = pd.read_csv("p.csv")["town"], pd.read_csv("proba.csv")
    assert set(predicted) <= set(labels)
    assert list(proba.columns) == sorted(labels.unique())
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.idxmax(axis=1) == predicted).all()


def test_npz():
    X, y = load_iris(return_X_y=True)
    np.savez("iris.npz", X=X, y=y)
    np.savez("new.npz", X=X)
    assert value_of("test accuracy", run("train", "iris.npz", "--quiet").output) > 0.9
    assert len(run("predict", "model.fastmlp", "new.npz").output.splitlines()) == 151


def test_missing_values_are_named_and_can_be_dropped(houses):
    houses.loc[[3, 5], "area"] = np.nan
    houses.to_csv("houses.csv", index=False)
    message = run("train", "houses.csv", "--target", "price", code=1).output
    assert "'area' (2 rows)" in message
    assert "--drop-missing" in message
    output = run("train", "houses.csv", "--target", "price", "--drop-missing", "--quiet", "--epochs", 2).output
    assert "238 rows to train on, 60 held out" in output
    assert "'area' (2 rows)" in run("predict", "model.fastmlp", "houses.csv", code=1).output


def test_ignored_columns_are_not_needed(houses):
    run("train", "houses.csv", "--target", "price", "--ignore", "town", "--quiet", "--epochs", 2)
    houses[["area", "rooms"]].to_csv("few.csv", index=False)
    run("predict", "model.fastmlp", "few.csv")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "houses.csv", "--target", "prise"], "no column 'prise'. Columns: 'area', 'rooms', 'town', 'price'"),
        (["train", "houses.csv"], "--target is needed: one of area, rooms, town, price"),
        (["train", "nothing.csv", "--target", "x"], "neither a file nor a bundled data set (digits, iris"),
        (["train", "houses.csv", "--target", "town", "--task", "regression"], "not numeric"),
        (["train", "houses.csv", "--target", "price", "--ignore", "size"], "no column 'size'"),
        (["train", "houses.csv", "--target", "price", "--learning-rate", "-1"], "learning_rate must be"),
        (["train", "houses.csv", "--target", "price", "--alpha", "-1"], "alpha must be"),
        (["train", "constant.csv", "--target", "a"], "single value"),
        (["train", "names.csv", "--target", "a"], "column 'name' has 300 different texts"),
        (["train", "only.csv", "--target", "a"], "no column to learn from"),
        (["train", "empty.csv", "--target", "a"], "cannot be read as CSV"),
        (["train", "header.csv", "--target", "a"], "0 rows"),
        (["train", "text.npz"], "cannot be read as NPZ"),
        (["train", "noX.npz"], "needs a 2-D array X"),
        (["predict", "houses.csv", "houses.csv"], "no model file of fastmlp"),
        (["train", "houses.csv", "--target", "price", "--quiet", "--epochs", "1", "--out", "no/m"], "No such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_get_one_line(houses, arguments, message):
    pd.DataFrame({"a": [1, 1, 1], "b": [1, 2, 3]}).to_csv("constant.csv", index=False)
    pd.DataFrame({"a": range(300), "name": [f"n{i}" for i in range(300)]}).to_csv("names.csv", index=False)
    pd.DataFrame({"a": [1.5, 2, 3]}).to_csv("only.csv", index=False)
    Path("empty.csv").write_text("")
    Path("header.csv").write_text("a,b\n")
    Path("text.npz").write_text("not a zip")
    np.savez("noX.npz", z=np.zeros(3))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output.replace("\n", " ")
    assert isinstance(result.exception, SystemExit)


def test_a_model_of_another_kind_is_refused():
    fastmlp.MLP([(1, "identity")]).save("m.fastmlp")
    assert "holds a MLP, not a TableModel" in run("predict", "m.fastmlp", "iris", code=1).output


def test_an_unknown_category_is_all_zeros(houses):
    run("train", "houses.csv", "--target", "price", "--quiet", "--epochs", 2)
    houses.assign(town="Rom").to_csv("new.csv", index=False)
    assert len(run("predict", "model.fastmlp", "new.csv").output.splitlines()) == 301


def test_info_lists_every_backend(monkeypatch):
    output = run("info").output
    for name in backends.MODULES:
        assert f"backend {name}: works" in output
    assert "backend auto takes cython" in output
    assert "BLAS" in output
    backends.why_not.cache_clear()
    monkeypatch.setitem(backends.MODULES, "numba", "no_such_module")
    assert "backend numba: does not work: ModuleNotFoundError" in run("info").output
    monkeypatch.undo()
    backends.why_not.cache_clear()


def test_help_enumerates_the_tables():
    output = run("train", "--help").output.replace("\n", " ")
    for name in [*OPTIMIZERS, *backends.NAMES, *(name for name, row in ACTIVATIONS.items() if not row.rowwise)]:
        assert name in output


def test_ctrl_c_saves_what_there_is_and_says_so():
    command = [sys.executable, "-m", "fastmlp", "train", "digits", "--epochs", "1000000", "--out", "cut.fastmlp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "backend" not in process.stdout.readline():
            pass
        threading.Event().wait(0.7)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted by user" in errors
    assert "model saved in cut.fastmlp" in output
    assert fastmlp.load("cut.fastmlp").model.epoch > 0


def test_a_closed_pipe_is_no_error_of_ours(houses):
    run("train", "houses.csv", "--target", "price", "--quiet", "--epochs", 1)
    line = f"{sys.executable} -m fastmlp predict model.fastmlp houses.csv | head -n 1"
    result = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert result.stdout == "price\n"
    assert "Traceback" not in result.stderr


# Real tables.


def test_california_housing(data_folder):
    source = data_folder / "california_housing" / "housing.csv"
    output = run(
        "train", source, "--target", "median_house_value", "--drop-missing", "--quiet", "--hidden", "64,32",
        "--epochs", 30,
    ).output  # fmt: skip
    assert value_of("test r2", output) > 0.75


def test_adult(data_folder):
    names = [f"column{i}" for i in range(14)] + ["income"]
    frame = pd.read_csv(data_folder / "adult" / "adult.data", names=names, skipinitialspace=True)
    frame.to_csv("adult.csv", index=False)
    output = run("train", "adult.csv", "--target", "income", "--quiet", "--epochs", 10).output
    assert value_of("test accuracy", output) > 0.84
    assert list(fastmlp.load("model.fastmlp").classes) == ["<=50K", ">50K"]
