"""The command line in scripts: --json, Parquet, validation data, bench, exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer, load_diabetes

import fastmlp
from fastmlp.backends import registry
from fastmlp.cli.main import main

RATE = 0.02


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cancer():
    """A table of two classes, written to two files: the first 400 rows, and the rest."""
    frame = load_breast_cancer(as_frame=True).frame
    frame["target"] = np.where(frame.target, "benign", "malignant")
    frame[:400].to_csv("old.csv", index=False)
    frame[400:].to_csv("new.csv", index=False)
    return frame


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def found_by(*arguments):
    """Return the JSON object that is the whole of stdout."""
    return json.loads(run(*arguments, "--json").stdout)


def train(*arguments):
    return found_by("train", *arguments, "--quiet", "--learning-rate", RATE)


def test_training_as_json(cancer):
    found = train("old.csv", "--target", "target", "--epochs", 3)
    assert found["rows"] == {"train": 320, "test": 80}
    assert (found["inputs"], found["epochs"], found["task"]) == (30, 3, "classification")
    assert (found["backend"], found["interrupted"], found["best_epoch"]) == ("cython", False, None)
    assert found["scores"]["test"]["accuracy"] > 0.8
    assert found["seconds"] > 0
    assert fastmlp.load(found["model"]).model.epoch == 3


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_early_stopping_on_validation_rows(cancer, metric):
    found = train(
        "old.csv", "--target", "target", "--eval", "new.csv", "--early-stopping", 4, "--metric", metric, "--epochs", 200
    )
    history = fastmlp.load("model.fastmlp").model.history
    best = {"loss": np.argmin, "accuracy": np.argmax}[metric](history[f"validation_{metric}"])
    assert found["rows"] == {"train": 400, "eval": 169}
    assert found["best_epoch"] == best + 1 == found["epochs"] - 4 < 196
    assert found["scores"]["eval"][metric] == pytest.approx(history[f"validation_{metric}"][best])
    assert set(found["scores"]) == {"eval"}
    again = found_by("evaluate", "model.fastmlp", "new.csv")
    assert again == {"rows": 169} | found["scores"]["eval"]


def test_early_stopping_does_not_use_the_test_rows(cancer):
    found = train("old.csv", "--target", "target", "--early-stopping", 4, "--epochs", 200)
    assert found["rows"] == {"train": 288, "test": 80, "watched": 32}
    assert set(found["scores"]) == {"test", "watched"}
    both = train("old.csv", "--target", "target", "--eval", "new.csv", "--test-size", 0.25, "--epochs", 2)
    assert both["rows"] == {"train": 300, "eval": 169, "test": 100}
    none = train("old.csv", "--target", "target", "--test-size", 0, "--epochs", 2)
    assert none["rows"] == {"train": 400}
    assert none["scores"] == {}
    output = run("train", "old.csv", "--target", "target", "--early-stopping", 4, "--epochs", 200).output
    assert "288 rows for training, 80 for testing, 32 for validation" in output
    assert "the weights are those of epoch" in output


def test_report_of_a_training_run(cancer):
    output = run(
        "train", "old.csv", "--target", "target", "--eval", "new.csv", "--epochs", 5, "--report", "r.html", "--compare",
        "--plain",
    ).output  # fmt: skip
    page = Path("r.html").read_text()
    assert "report in r.html" in output
    assert "target of old.csv: 169 rows for validation" in page
    assert ">malignant</th>" in page
    assert "norm of an epoch" in page  # monitored
    assert 'scope="row">numpy</th>' in page  # its speed
    run("train", "diabetes", "--optimizer", "lbfgs", "--epochs", 5, "--quiet", "--report", "r.html")
    assert "predicted - true" in Path("r.html").read_text()


def test_balanced_classes(cancer):
    few = pd.concat([cancer[cancer.target == "benign"], cancer[cancer.target == "malignant"][:12]])
    few.to_csv("few.csv", index=False)
    options = ("few.csv", "--target", "target", "--epochs", 1, "--hidden", "", "--test-size", 0)
    recall = {}
    for balanced in ((), ("--balanced",)):
        train(*options, *balanced)
        rest = cancer[cancer.target == "malignant"][12:]
        recall[balanced] = (fastmlp.load("model.fastmlp").predict(rest) == "malignant").mean()
    assert recall["--balanced",] > recall[()]


@pytest.mark.parametrize("kind", ["parquet", "PARQUET"])
def test_parquet_in_and_out(cancer, kind):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    cancer[:400].to_parquet(f"old.{kind}", index=False)
    cancer[400:].to_parquet(f"new.{kind}", index=False)
    of_csv = train("old.csv", "--target", "target", "--epochs", 2)
    of_parquet = train(f"old.{kind}", "--target", "target", "--epochs", 2)
    assert of_parquet["scores"] == of_csv["scores"]
    run("predict", "model.fastmlp", f"new.{kind}", "--out", f"p.{kind}")
    assert list(pd.read_parquet(f"p.{kind}").target) == list(fastmlp.load("model.fastmlp").predict(cancer[400:]))
    run("predict", "model.fastmlp", f"new.{kind}", "--proba", "--out", f"p.{kind}")
    assert list(pd.read_parquet(f"p.{kind}").columns) == ["benign", "malignant"]
    Path("bad.parquet").write_text("no")
    assert "cannot be read as Parquet" in run("train", "bad.parquet", "--target", "a", code=1).output


def test_columns_of_parquet_types():
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({
        "whole": pd.array(rng.randint(0, 9, 200), "Int64"), "kind": pd.Categorical(rng.choice(["u", "v"], 200)),
        "yes": rng.rand(200) > 0.5, "real": pd.array(rng.rand(200), "float32[pyarrow]"),
    })  # fmt: skip
    frame["label"] = pd.array(np.where(frame.yes, "p", "q"), "string")
    frame.to_parquet("t.parquet")
    assert train("t.parquet", "--target", "label", "--epochs", 20)["scores"]["test"]["accuracy"] == 1
    assert train("t.parquet", "--target", "whole", "--task", "regression", "--epochs", 2)["inputs"] == 6
    predicted = fastmlp.load("model.fastmlp").predict(frame)
    np.testing.assert_allclose(found_by("predict", "model.fastmlp", "t.parquet")["whole"], predicted, rtol=1e-6)


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    def missing(*given, **options):
        raise ImportError("no engine")

    Path("t.parquet").write_text("")
    monkeypatch.setattr(pd, "read_parquet", missing)
    assert "pip install 'fastmlp[parquet]'" in run("train", "t.parquet", "--target", "a", code=1).output


def test_a_diverging_fit_as_json():
    found = found_by("train", "diabetes", "--optimizer", "sgd", "--learning-rate", 1e30, "--compare", "--quiet")
    assert found["samples_per_second"] is None
    assert found["epochs"] == 0


def test_validation_rows_may_lack_ignored_columns(cancer):
    cancer.assign(empty=np.nan).drop(columns="mean area").to_csv("more.csv", index=False)
    found = train(
        "old.csv", "--target", "target", "--eval", "more.csv", "--drop-missing", "--ignore", "mean area", "--epochs", 1
    )
    assert found["rows"]["eval"] == 569


def test_predictions_as_json(cancer):
    train("old.csv", "--target", "target", "--epochs", 2)
    table = fastmlp.load("model.fastmlp")
    assert found_by("predict", "model.fastmlp", "new.csv") == {"target": list(table.predict(cancer[400:]))}
    proba = found_by("predict", "model.fastmlp", "new.csv", "--proba")
    np.testing.assert_allclose(np.array(proba["benign"]) + proba["malignant"], 1, atol=1e-6)
    assert "use either --json" in run("predict", "model.fastmlp", "new.csv", "--json", "--out", "p", code=2).output


def test_export_and_info_as_json():
    train("iris", "--epochs", 1)
    assert found_by("export", "model.fastmlp", "m.c") == {"file": "m.c", "bytes": Path("m.c").stat().st_size}
    info = found_by("info")
    assert info["fastmlp"] == fastmlp.__version__
    assert set(info["backends"]) == set(registry.MODULES)
    assert info["backends"]["numpy"] is None
    assert info["auto"]["backend"] == "cython"


def test_bench_times_backends_and_scikit_learn():
    found = found_by("bench", "--network", "5,8,2", "--batch-size", 64, "--rounds", 1, "--backend", "cython",
                     "--backend", "numpy")  # fmt: skip
    (result,) = found["results"]
    assert (result["network"], result["batch_size"]) == ([5, 8, 2], 64)
    for times in (result["samples_per_second"], result["row_seconds"]):
        assert set(times) == {"cython", "numpy", "scikit-learn"}
        assert all(value > 0 for value in times.values())
    output = run("bench", "--network", "5,1", "--rounds", 1, "--backend", "numpy").output
    assert output.startswith("5-1, batch 32\n")
    assert "x scikit-learn" in output


@pytest.mark.parametrize("arguments, code, message", [
    (["train", "diabetes", "--balanced"], 2, "--balanced is only for classification"),
    (["train", "diabetes", "--metric", "r2"], 2, "--metric needs --early-stopping"),
    (["train", "diabetes", "--metric", "accuracy", "--early-stopping", "3"], 1, "metric must be 'r2'"),
    (["train", "diabetes", "--eval", "nothing.csv"], 1, "neither a file nor"),
    (["train", "diabetes", "--eval", "wine"], 1, "no column"), (["train", "diabetes", "--test-size", "1"], 2, "range"),
    (["train", "diabetes", "--eval", "d.csv", "--out", "d.csv"], 2, "would be overwritten"),
    (["train", "diabetes", "--report", "no/r.html"], 1, "the folder does not exist"),
    (["train", "diabetes", "--plot", "p.xyz"], 2, "--plot must end in one of"),
    (["train", "diabetes", "--out", "m", "--report", "./m"], 2, "must be different files"),
    (["bench", "--batch-size", "3"], 2, "--batch-size needs --network"),
    (["bench", "--network", "3"], 2, "at least two widths"), (["bench", "--backend", "no"], 2, "is not one of"),
    (["predict", "nothing", "iris"], 2, "does not exist"),
])  # fmt: skip
def test_exit_statuses(arguments, code, message):
    load_diabetes(as_frame=True).frame.to_csv("d.csv", index=False)
    result = run(*arguments, code=code)
    assert message in result.stderr.replace("\n", " ")
    assert result.stdout == "" or "rows for training" in result.stdout


def test_every_command_has_help_with_an_example():
    for name, command in main.commands.items():
        shown = run(name, "--help").output
        assert "--json" in shown
        assert command.epilog or name in ("info", "measure")
        assert f"fastmlp {name}" in shown or not command.epilog
    assert "130 Ctrl-C" in run("--help").output.replace("\n", " ")


def test_progress_goes_to_stderr():
    line = [sys.executable, "-m", "fastmlp", "train", "iris", "--epochs", "2", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "samples/s" in done.stderr
    assert json.loads(done.stdout)["epochs"] == 2
