"""The commands of the command line: train, predict, evaluate, export, info."""

import importlib.metadata
import json
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_iris
from sklearn.metrics import r2_score

import fastmlp
from fastmlp.backends import registry
from fastmlp.cli.column_encoder import ColumnEncoder
from fastmlp.cli.main import main
from fastmlp.kernels.rules import ACTIVATIONS, OPTIMIZERS
from patience import PATIENCE


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def houses(tmp_path):
    """A table with numeric columns, a string column and a numeric target."""
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
    output = run("train", "digits", "--compare", "--plot", "loss.png").output
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


@pytest.mark.parametrize("optimizer", ["lbfgs", "lm"])
def test_bundled_regression(optimizer):
    output = run("train", "diabetes", "--hidden", "", "--optimizer", optimizer, "--compare", "--quiet").output
    assert value_of("test r2", output) > 0.3


def test_train_on_a_table_and_predict(houses):
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


def test_numbers_are_standardised_and_strings_are_one_hot_encoded(houses):
    encoder = ColumnEncoder.fit(houses.drop(columns="price"))
    X = encoder.transform(houses, "float64")
    assert X.shape == (300, encoder.n_outputs) == (300, 5)
    np.testing.assert_allclose(X[:, :2].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X[:, :2].std(axis=0), 1, rtol=1e-12)
    assert (X[:, 2:].sum(axis=1) == 1).all()
    assert (X[:, 2 + sorted(houses.town.unique()).index("Ulm")] == (houses.town == "Ulm")).all()


def test_columns_are_matched_by_name_not_by_position(houses):
    run("train", "houses.csv", "--target", "price", "--quiet", "--epochs", 5)
    expected = run("predict", "model.fastmlp", "houses.csv").output
    houses[["town", "price", "rooms", "area"]].to_csv("turned.csv", index=False)
    assert run("predict", "model.fastmlp", "turned.csv").output == expected


def test_string_labels_and_probabilities(houses):
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


def test_missing_values_are_an_error_for_plain_networks_and_can_be_dropped(houses):
    houses.loc[[3, 5], "area"] = np.nan
    houses.to_csv("houses.csv", index=False)
    message = run("train", "houses.csv", "--target", "price", "--plain", code=1).output
    assert "'area' (2 rows)" in message
    assert "--drop-missing" in message
    output = run(
        "train", "houses.csv", "--target", "price", "--drop-missing", "--quiet", "--epochs", 2, "--plain"
    ).output
    assert "238 rows for training, 60 for testing" in output
    assert "'area' (2 rows)" in run("predict", "model.fastmlp", "houses.csv", code=1).output


def test_ignored_columns_are_not_needed(houses):
    run("train", "houses.csv", "--target", "price", "--ignore", "town", "--quiet", "--epochs", 2)
    houses[["area", "rooms"]].to_csv("few.csv", index=False)
    run("predict", "model.fastmlp", "few.csv")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "houses.csv", "--target", "prise"], "no column 'prise'. Columns: 'area', 'rooms', 'town', 'price'"),
        (["train", "houses.csv"], "--target is required: one of area, rooms, town, price"),
        (["train", "nothing.csv", "--target", "x"], "neither a file nor a bundled data set. Bundled: digits, iris"),
        (["train", "houses.csv", "--target", "town", "--task", "regression"], "not numeric"),
        (["train", "houses.csv", "--target", "price", "--ignore", "size"], "no column 'size'"),
        (["train", "houses.csv", "--target", "price", "--learning-rate", "-1"], "learning_rate must be"),
        (
            ["train", "houses.csv", "--target", "price", "--optimizer", "lbfgs", "--learning-rate", "1"],
            "cannot be used with lbfgs",
        ),
        (["train", "iris", "--optimizer", "lm"], "optimizer 'lm' minimises squared errors"),
        (["train", "houses.csv", "--target", "price", "--alpha", "-1"], "alpha must be"),
        (["train", "constant.csv", "--target", "a"], "the same value in all 3 rows"),
        (["train", "names.csv", "--target", "a", "--plain"], "column 'name' has 300 distinct strings"),
        (["train", "only.csv", "--target", "a"], "no columns other than the target"),
        (["train", "empty.csv", "--target", "a"], "cannot be read as CSV"),
        (["train", "header.csv", "--target", "a"], "header.csv has no rows"),
        (["train", "text.npz"], "cannot be read as NPZ"),
        (["train", "noX.npz"], "must hold a 2-D array X"),
        (["predict", "houses.csv", "houses.csv"], "not a model file of fastmlp"),
        (["train", "houses.csv", "--target", "price", "--out", "houses.csv"], "would be overwritten"),
        (["predict", "houses.csv", "new.csv", "--out", "houses.csv"], "would be overwritten"),
        (["predict", "houses.csv", "new.csv", "--out", "no/p.csv"], "the folder does not exist"),
        (["train", "houses.csv", "--target", "price", "--plot", "no/p.png"], "the folder does not exist"),
        (["train", "dates.csv", "--target", "d"], "300 distinct values, too many for classes"),
        (
            ["train", "houses.csv", "--target", "town", "--folds", "3", "--dtype", "float64"],
            "--folds is not for a plain",
        ),
        (["train", "houses.csv", "--target", "price", "--balanced"], "--balanced is only for classification"),
        (["train", "complex.npz"], "2-D array X of numbers"),
        (["train", "wide.npz"], "y must be 3 numbers or strings, got float64 of shape (3, 2)"),
        (["train", "houses.csv", "--target", "price", "--plain", "--hidden", "1000000000000"], "GB in float32"),
        (
            ["train", "houses.csv", "--target", "price", "--plain", "--hidden", f"{2**62},{2**62}"],
            "GB in float32, and this",
        ),
        (
            ["train", "houses.csv", "--target", "price", "--quiet", "--epochs", "1", "--out", "no/m"],
            "the folder does not exist",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_take_one_line(houses, arguments, message):
    pd.DataFrame({"a": [1, 1, 1], "b": [1, 2, 3]}).to_csv("constant.csv", index=False)
    pd.DataFrame({"a": range(300), "name": [f"n{i}" for i in range(300)]}).to_csv("names.csv", index=False)
    pd.DataFrame({"a": [1.5, 2, 3]}).to_csv("only.csv", index=False)
    pd.DataFrame({"d": [f"day {i}" for i in range(300)], "x": range(300)}).to_csv("dates.csv", index=False)
    np.savez("complex.npz", X=np.ones((3, 2)) * 1j)
    np.savez("wide.npz", X=np.ones((3, 2)), y=np.ones((3, 2)))
    Path("empty.csv").write_text("")
    Path("header.csv").write_text("a,b\n")
    Path("text.npz").write_text("not a zip")
    np.savez("noX.npz", z=np.zeros(3))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output.replace("\n", " ")
    assert "rows for training" not in result.output or "GB in" in message  # raised before training, not after it
    assert isinstance(result.exception, SystemExit)


def test_a_file_of_another_class_is_refused():
    fastmlp.MLP([(1, "identity")]).save("m.fastmlp")
    assert "holds a MLP, not a model of 'fastmlp train'" in run("predict", "m.fastmlp", "iris", code=1).output


def test_an_unknown_category_is_all_zeros(houses):
    run("train", "houses.csv", "--target", "price", "--quiet", "--epochs", 2, "--plain")
    houses.assign(town="Rom").to_csv("new.csv", index=False)
    result = run("predict", "model.fastmlp", "new.csv")
    assert len(result.stdout.splitlines()) == 301
    assert "warning: column 'town' has values that did not occur in training" in result.stderr
    assert "'Rom' (300 rows)" in result.stderr


def test_categories_are_read_as_in_training(tmp_path):
    """A column of 01 and 1A holds strings, also in a file without 1A; likewise one of TRUE and maybe."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"code": rng.choice(["01", "02", "1A"], 200), "known": rng.choice(["TRUE", "maybe"], 200)})
    frame["t"] = 10.0 * (frame.code == "01") - 10 * (frame.code == "02") + 5 * (frame.known == "TRUE")
    frame.to_csv("codes.csv", index=False)
    run("train", "codes.csv", "--target", "t", "--quiet", "--epochs", 200)
    Path("new.csv").write_text("code,known\n01,TRUE\n02,TRUE\n")
    result = run("predict", "model.fastmlp", "new.csv")
    assert not result.stderr
    np.testing.assert_allclose(list(map(float, result.stdout.splitlines()[1:])), [15, -5], atol=1)


def test_other_values_of_a_constant_column_have_little_effect():
    frame = pd.DataFrame({"c": np.arange(90) % 9, "k": 0.1})
    frame.assign(t=frame.c * 1.5).to_csv("const.csv", index=False)
    run("train", "const.csv", "--target", "t", "--quiet")
    Path("new.csv").write_text("c,k\n1,0.1\n1,0.2\n")
    values = list(map(float, run("predict", "model.fastmlp", "new.csv").output.splitlines()[1:]))
    assert abs(values[0] - values[1]) < 1


def test_infinite_values_are_dropped_like_missing_ones(houses):
    houses.loc[4, "area"] = np.inf
    houses.to_csv("houses.csv", index=False)
    result = run("train", "houses.csv", "--target", "price", "--drop-missing", "--quiet", "--epochs", 5)
    assert "239 rows" in result.output
    assert "warning" not in result.stderr


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(houses, separator):
    houses.to_csv("other.csv", index=False, sep=separator)
    run("train", "other.csv", "--target", "price", "--quiet", "--epochs", 1)
    assert len(run("predict", "model.fastmlp", "other.csv").output.splitlines()) == 301


@pytest.mark.parametrize("kind", [">f4", "f2", "i1", "?", "g"])
def test_npz_of_any_number_type(kind):
    X = np.maximum(np.random.RandomState(0).standard_normal((60, 3)) * 3, 0)  # not all True as booleans
    np.savez("x.npz", X=X.astype(kind), y=np.array([b"a", b"b"] * 30))
    run("train", "x.npz", "--quiet", "--epochs", 1)
    assert set(run("predict", "model.fastmlp", "x.npz").output.splitlines()[1:]) <= {"a", "b"}


def test_the_model_is_saved_if_the_output_is_not_read(houses):
    line = f"{sys.executable} -m fastmlp train houses.csv --target price --quiet --epochs 1 | true"
    subprocess.run(line, shell=True, capture_output=True)
    line = f"{sys.executable} -m fastmlp train houses.csv --target price --quiet --epochs 300 | head -n 2"
    assert "area" in subprocess.run(line, shell=True, capture_output=True, text=True).stdout
    assert fastmlp.load("model.fastmlp").estimator.members_[0].epoch == 300


def table_of(frame, encoder):
    """Columns as an exported model takes them: numbers unchanged, strings one-hot encoded."""
    return np.column_stack([
        frame[column["name"]] == value if value is not None else frame[column["name"]]
        for column in encoder.columns for value in column.get("values", [None])
    ]).astype("f4")  # fmt: skip


@pytest.mark.parametrize("target", ["price", "town"])
def test_exported_models_take_the_columns_of_the_table(houses, target):
    """Standardisation is folded into the weights, for the target too."""
    run("train", "houses.csv", "--target", target, "--hidden", "16", "--epochs", "30", "--quiet", "--plain")
    table, held = fastmlp.load("model.fastmlp"), houses[:40]
    for out in ("m.onnx", "m.py", "m.c"):
        assert run("export", "model.fastmlp", out).output == f"{out} written\n"
    rows, wanted = table_of(held, table.encoder), table.predict(held)
    m = runpy.run_path("m.py")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    found = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"X": rows})[0]
    if target == "price":
        np.testing.assert_allclose(m["predict"](rows), wanted, rtol=1e-4)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    else:
        assert list(m["predict"](rows)) == list(found) == list(wanted)
    text = Path("m.c").read_text()
    assert "Inputs: 'area', 'rooms', " in text
    if shutil.which("cc"):
        subprocess.run(["cc", "-std=c99", "-DMODEL_SELF_TEST", "m.c", "-o", "m", "-lm"], check=True)
        assert subprocess.run(["./m"]).returncode == 0
    run("export", "model.fastmlp", "small.c", "--int8", "--name", "house")
    assert "house_predict" in Path("small.c").read_text()


def test_invalid_exports(houses):
    run("train", "iris", "--epochs", "1", "--quiet", "--plain")
    assert "must end in one of .onnx, .c, .py" in run("export", "model.fastmlp", "m.txt", code=2).output
    assert "--int8 and --name are only for C files" in run("export", "model.fastmlp", "m.py", "--int8", code=2).output
    assert "would be overwritten" in run("export", "model.fastmlp", "model.fastmlp", code=2).output
    assert "a name in C" in run("export", "model.fastmlp", "m.c", "--name", "2", code=1).output
    assert "not a model file" in run("export", "houses.csv", "m.c", code=1).output


def one_row(frame):
    frame[:1].to_csv("one.csv", index=False)
    return "one.csv"


def test_labels_that_look_like_numbers_stay_strings():
    frame = pd.DataFrame({"x": np.arange(60.0), "label": np.repeat(["a", "1", "2"], 20)})
    frame.to_csv("mixed.csv", index=False)
    frame[20:].to_csv("rest.csv", index=False)
    run("train", "mixed.csv", "--target", "label", "--epochs", "5", "--quiet")
    assert json.loads(run("evaluate", "model.fastmlp", "rest.csv", "--json").stdout)["rows"] == 40


@pytest.mark.parametrize("plain, names", [((), {"rows", "r2", "rmse"}), (("--plain",), {"rows", "loss", "r2"})])
def test_evaluate_as_text_and_as_json(houses, plain, names):
    houses[:200].to_csv("first.csv", index=False)
    houses[200:].to_csv("rest.csv", index=False)
    run("train", "first.csv", "--target", "price", "--hidden", "16", "--epochs", "50", "--quiet", *plain)
    output = run("evaluate", "model.fastmlp", "rest.csv").output
    found = json.loads(run("evaluate", "model.fastmlp", "rest.csv", "--json").output)
    assert set(found) == names
    assert found["rows"] == 100
    wanted = r2_score(houses[200:].price, fastmlp.load("model.fastmlp").predict(houses[200:]))
    assert found["r2"] == pytest.approx(wanted, rel=1e-4)
    assert value_of("r2", output) == pytest.approx(wanted, abs=1e-4)
    one = json.loads(run("evaluate", "model.fastmlp", one_row(houses), "--json").stdout)
    assert (one["rows"], one["r2"]) == (1, None)
    houses[200:].drop(columns="price").to_csv("bare.csv", index=False)
    assert "no column 'price'" in run("evaluate", "model.fastmlp", "bare.csv", code=1).output


def without_numba(package, version=importlib.metadata.version):
    if package == "numba":
        raise importlib.metadata.PackageNotFoundError
    return version(package)


def test_info_lists_every_backend(monkeypatch):
    output = run("info").output
    for name in registry.MODULES:
        works = registry.why_not(name) is None
        assert works or name == "cuda"
        assert f"backend {name}: {'works' if works else 'does not work: '}" in output
    assert "backend auto takes cython" in output
    assert "BLAS" in output
    registry.why_not.cache_clear()
    monkeypatch.setitem(registry.MODULES, "numba", "no_such_module")
    monkeypatch.setattr("importlib.metadata.version", without_numba)
    output = run("info").output
    assert "backend numba: does not work: ModuleNotFoundError" in output
    assert "numba is not installed" in output
    monkeypatch.undo()
    registry.why_not.cache_clear()


def test_help_lists_all_names_of_the_tables():
    output = run("train", "--help").output.replace("\n", " ")
    for name in [*OPTIMIZERS, *registry.NAMES, *(name for name, row in ACTIVATIONS.items() if not row.rowwise)]:
        assert name in output


def test_ctrl_c_saves_the_model_and_reports_it():
    command = [sys.executable, "-m", "fastmlp", "train", "digits", "--epochs", "1000000", "--out", "cut.fastmlp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "loss=" in line:  # printed by the progress bar when an epoch has ended
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted by user" in errors
    assert "model saved in cut.fastmlp" in output
    assert fastmlp.load("cut.fastmlp").estimator.members_[0].epoch > 0


# Real tables


def test_california_housing(data_folder):
    source = data_folder / "california_housing" / "housing.csv"
    output = run("train", source, "--target", "median_house_value", "--quiet", "--epochs", 20).output
    assert value_of("test r2", output) > 0.75


def test_adult(data_folder):
    names = [f"column{i}" for i in range(14)] + ["income"]
    frame = pd.read_csv(data_folder / "adult" / "adult.data", names=names, skipinitialspace=True)
    frame.to_csv("adult.csv", index=False)
    output = run("train", "adult.csv", "--target", "income", "--quiet", "--epochs", 10).output
    assert value_of("test accuracy", output) > 0.84
    assert list(fastmlp.load("model.fastmlp").classes) == ["<=50K", ">50K"]
