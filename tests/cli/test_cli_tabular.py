"""Table estimators in the command line: columns of every kind, folds, files, reports."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

import fastmlp
from fastmlp import TabularMLPClassifier, TabularMLPRegressor, to_c, to_numpy_source, to_onnx
from fastmlp.cli.main import main
from fastmlp.cli.plain_run import EPOCHS, HIDDEN
from fastmlp.cli.tables import read_table
from fastmlp.cli.tabular_run import MOST_LINES, columns_text
from fastmlp.cli.train import PLAIN, TABULAR
from fastmlp.cli.train import train as train_command
from fastmlp.estimators.tabular.recipe import epochs_for

QUICK = "--epochs", 5, "--quiet", "--hidden", "16"
N_TRAINED, N_NEW = 150, 50


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def houses():
    """New rows of a table with columns of every kind and missing values; old.csv has others, new.csv these."""
    rng, n = np.random.RandomState(0), N_TRAINED + N_NEW
    day = pd.Timestamp("2020-01-31") + pd.to_timedelta(rng.randint(0, 900, n), "D")
    frame = pd.DataFrame({
        "area": rng.uniform(30, 200, n), "town": rng.choice(["Ulm", "Köln, Süd", "01"], n),
        "sold": day.strftime("%Y-%m-%d"), "seen": day.strftime("%Y-%m-%dT08:30:00+01:00"),
        "lift": rng.choice(["True", "False"], n), "empty": None,
    })  # fmt: skip
    for name in ("area", "town", "sold", "lift"):
        frame.loc[rng.rand(n) < 0.1, name] = None
    frame["name"] = [f"Villa {i}" for i in range(n)]
    frame["price"] = 3000 * frame.area.fillna(100) + 50_000 * (frame.town == "Ulm")
    frame["kind"] = np.where(frame.price > frame.price.median(), "dear", "cheap")
    frame[:N_TRAINED].to_csv("old.csv", index=False)
    frame[N_TRAINED:].to_csv("new.csv", index=False)
    return frame[N_TRAINED:].reset_index(drop=True)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def found_by(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def one_line(text):
    return " ".join(text.split())


def test_columns_of_every_kind_need_no_options(houses):
    result = run("train", "old.csv", "--target", "price", "--ignore", "kind", *QUICK)
    output = one_line(result.stdout)
    assert "120 rows for training, 30 for testing area numbers: median" in output
    assert "sold dates since 2020-" in output
    assert "seen dates since 2020-" in output
    assert "lift booleans" in output
    assert "empty no values, not used name 120 different strings in 120 rows, not used" in output
    assert "column 'sold' holds dates such as '20" in result.stderr
    assert "column 'name' is not used" in result.stderr
    model = fastmlp.load("model.fastmlp")
    assert isinstance(model.estimator, TabularMLPRegressor)
    kinds = {column["name"]: column["kind"] for column in model.estimator.encoder_.describe()}
    assert kinds == {
        "area": "numbers", "town": "strings", "sold": "dates", "seen": "dates", "lift": "booleans", "empty": "not used",
        "name": "not used",
    }  # fmt: skip
    printed = list(map(float, run("predict", "model.fastmlp", "new.csv").stdout.splitlines()[1:]))
    np.testing.assert_allclose(printed, model.predict(houses))
    rows = houses.town == "01"  # which is no number, although nothing else shows it in this file
    houses[rows].to_csv("new.csv", index=False)
    printed = list(map(float, run("predict", "model.fastmlp", "new.csv").stdout.splitlines()[1:]))
    np.testing.assert_allclose(printed, model.predict(houses[rows]))


SCORED = {  # options: (the rows that are scored, members)
    (): ("test", 1), ("--members", 2): ("test", 2), ("--folds", 3): ("out-of-fold", 3),
    ("--eval", "new.csv"): ("eval", 1),
}  # fmt: skip


@pytest.mark.parametrize("target, task", [("price", "regression"), ("kind", "classification")])
@pytest.mark.parametrize("options", SCORED, ids=str)
def test_scores_are_those_of_rows_that_were_not_trained_on(houses, target, task, options):
    part, n_members = SCORED[options]
    found = found_by("train", "old.csv", "--target", target, *QUICK, *options)
    model = fastmlp.load("model.fastmlp")
    assert (found["task"], list(found["scores"]), found["members"]) == (task, [part], n_members)
    assert n_members == len(model.estimator.members_) == len(found["best_epochs"])
    assert [column["name"] for column in found["columns"]] == [name for name in houses if name != target]
    wanted = {name: pytest.approx(value, rel=1e-6) for name, value in evaluated(model, houses, target).items()}
    assert found_by("evaluate", "model.fastmlp", "new.csv") == {"rows": N_NEW} | wanted
    if part == "out-of-fold":
        assert next(iter(found["scores"][part].values())) == pytest.approx(model.estimator.score_)
        assert found["rows"] == {"train": N_TRAINED, "out-of-fold": N_TRAINED}
    elif part == "eval":
        assert found["scores"]["eval"] == wanted
        assert found["best_epochs"] == [model.estimator.members_[0].best_epoch] != [None]
    else:
        assert found["rows"] == {"train": 120, "test": 30}


def evaluated(model, frame, target):
    predicted = model.predict(frame)
    if target == "price":
        return {"r2": r2_score(frame.price, predicted), "rmse": root_mean_squared_error(frame.price, predicted)}
    proba = model.predict_proba(frame)
    assert list(proba) == ["cheap", "dear"]
    proba = proba.to_numpy(float)
    return {
        "accuracy": accuracy_score(frame.kind, predicted),
        "log_loss": log_loss(frame.kind, proba / proba.sum(1)[:, None]),
    }


def test_each_option_of_a_plain_network_selects_one():
    names = {option.name for option in train_command.params}
    assert {*PLAIN, *TABULAR, "plain"} <= names
    values = {"activation": "tanh", "optimizer": "sgd", "learning_rate": 0.01, "dtype": "float64", "backend": "cython",
              "metric": "loss", "early_stopping": 3, "batch_size": 16, "alpha": 0}  # fmt: skip
    assert {*values, "stream", "shuffle_blocks"} == set(PLAIN)  # these two: test_cli_parts.py
    for name, value in values.items():
        more = ("--early-stopping", 3) if name == "metric" else ()
        run("train", "iris", "--quiet", "--epochs", 1, f"--{name.replace('_', '-')}", value, *more)
        assert type(fastmlp.load("model.fastmlp")).__name__ == "TableModel"
    run("train", "iris", "--quiet", "--epochs", 1, "--plain")
    assert type(fastmlp.load("model.fastmlp")).__name__ == "TableModel"
    for name in TABULAR:
        option = f"--{name.replace('_', '-')}"
        message = one_line(run("train", "iris", "--alpha", 0, option, 2, code=2).output)
        assert f"{option} is not for a plain network, which --alpha selects" in message


def test_options_reach_the_estimator():
    options = "--members", 2, "--time-limit", 60, "--hidden", "7,5", "--epochs", 3, "--seed", 4, "--balanced", "--quiet"
    run("train", "iris", *options)
    model = fastmlp.load("model.fastmlp").estimator
    assert isinstance(model, TabularMLPClassifier)
    assert (model.n_members, model.time_limit, model.epochs, model.random_state) == (2, 60, 3, 4)
    assert (model.class_weight, list(model.hidden_layer_sizes), model.n_folds) == ("balanced", [7, 5], None)
    assert [layer.units for layer in model.members_[0].layers] == [7, 5, 3]


DATES = {
    "dates": (["2026-01-31", "", "1999-12-01"], True),
    "times": (["2026-01-31 10:00", "2026-01-31T10:00:01.5", "2026-02-01"], True),
    "with zones": (["2026-01-31T10:00Z", "2026-01-31T10:00+02:00", ""], True),
    "another order": (["31.01.2026", "2026-01-31", ""], False),
    "no such day": (["2026-02-30", "2026-01-31", ""], False),
    "a text": (["2026-01-31", "soon", ""], False),
    "weeks": (["2026-W01-1", "2026-W01-2", ""], False),
    "months": (["2026-01", "2026-02", ""], False),
}


@pytest.mark.parametrize("case", DATES)
@pytest.mark.filterwarnings("ignore:column 'x' holds dates")
def test_columns_of_iso_dates_are_dates(case):
    texts, are_dates = DATES[case]
    pd.DataFrame({"x": texts, "y": range(3)}).to_csv("t.csv", index=False)
    column = read_table("t.csv", "y", dates=True).frame.x
    assert pd.api.types.is_datetime64_any_dtype(column) == are_dates
    if are_dates:
        wanted = [pd.Timestamp(text or None).tz_localize(None) if "Z" not in text and "+" not in text
                  else pd.Timestamp(text).tz_convert("UTC").tz_localize(None) for text in texts]  # fmt: skip
        assert column.tolist() == wanted
    for options in ({"dates": False}, {"dates": True, "texts": ["x"]}):
        assert pd.api.types.is_string_dtype(read_table("t.csv", "y", **options).frame.x)
    assert pd.api.types.is_string_dtype(read_table("t.csv", "x", dates=True).frame.x)  # a target


def test_a_date_that_is_none_in_a_later_file_is_an_error(houses):
    run("train", "old.csv", "--target", "price", *QUICK)
    houses.assign(sold="soon").to_csv("new.csv", index=False)
    message = "column 'sold' held dates in fit, but has the string 'soon' (50 rows) here"
    assert message in one_line(run("predict", "model.fastmlp", "new.csv", code=1).output)


@pytest.mark.parametrize("target", ["price", "kind"])
def test_rows_without_a_target_are_dropped(houses, target):
    houses.loc[[1, 4], target] = None
    houses.to_csv("new.csv", index=False)
    result = run("train", "new.csv", "--target", target, *QUICK)
    assert f"2 of 50 rows of new.csv dropped: missing or infinite values in '{target}' (2 rows)" in result.stderr
    assert "38 rows for training, 10 for testing" in result.stdout
    result = run("evaluate", "model.fastmlp", "new.csv")
    assert f"2 of 50 rows have no '{target}': not counted" in result.stderr
    assert "rows 48" in result.stdout
    houses.assign(**{target: None}).to_csv("new.csv", index=False)
    assert f"no row has a value of the target '{target}'" in run("evaluate", "model.fastmlp", "new.csv", code=1).output
    assert "every row of new.csv has missing" in run("train", "new.csv", "--target", target, code=1).output


def test_labels_that_were_read_with_missing_ones_stay_integers_and_booleans():
    for labels, wanted in (([1, 2, None], {"1", "2"}), ([True, False, None], {"True", "False"})):
        pd.DataFrame({"a": range(60), "y": pd.array(labels * 20)}).to_csv("t.csv", index=False)
        run("train", "t.csv", "--target", "y", *QUICK)
        assert set(run("predict", "model.fastmlp", "t.csv").stdout.split()[1:]) <= wanted
        run("evaluate", "model.fastmlp", "t.csv")


def test_a_class_of_a_single_row_is_trained_on():
    labels = [*["a", "b"] * 30, "c", "d", "e", "f", "g"]
    pd.DataFrame({"a": range(65), "y": labels}).to_csv("t.csv", index=False)
    assert sum(found_by("train", "t.csv", "--target", "y", *QUICK)["rows"].values()) == 65
    assert set(fastmlp.load("model.fastmlp").classes) == set(labels)


def test_files_with_types_keep_them(houses):
    """A model of a Parquet file reads the same from CSV, and the other way round."""
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    frame = houses.assign(
        sold=pd.to_datetime(houses.sold), code=pd.Categorical(np.arange(N_NEW) % 3), whole=pd.array([1, None] * 25),
        real=pd.array([1, 2, 3, None, 4] * 10, "float32[pyarrow]"),
    )  # fmt: skip
    frame.to_parquet("new.parquet")
    frame.to_csv("new.csv", index=False)
    run("train", "new.parquet", "--target", "real", *QUICK)
    for trained in ("new.csv", "new.parquet"):
        run("train", trained, "--target", "price", "--text", "whole", *QUICK)
        outputs = [run("predict", "model.fastmlp", source).stdout for source in ("new.csv", "new.parquet")]
        values = [list(map(float, output.split()[1:])) for output in outputs]
        np.testing.assert_allclose(*values)


@pytest.mark.parametrize("names", [[0, 1, 2], pd.to_datetime(["2020", "2021", "2022"])])
def test_names_of_columns_in_parquet_files_are_strings(names):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    frame = pd.DataFrame(np.random.RandomState(0).randn(40, 3), columns=names)
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    target = frame.rename(columns=str).columns[2]
    run("train", "t.parquet", "--target", target, *QUICK)
    expected = run("predict", "model.fastmlp", "t.parquet").stdout
    assert expected.startswith(target) and "Error" not in expected
    found = run("predict", "model.fastmlp", "t.csv").stdout if isinstance(names, list) else expected
    assert found == expected


@pytest.mark.parametrize("change", [
    {"texts": 5}, {"texts": "ab"}, {"csv_texts": [1]}, {"numbers": None}, {"missing": [None]}, {"decimal": "x"},
    {"decimal": 3}, {"target": 7},
])  # fmt: skip
def test_damaged_settings_of_reading_are_refused(change, houses, monkeypatch):
    run("train", "old.csv", "--target", "price", *QUICK)
    model = fastmlp.load("model.fastmlp")
    saved = model.saved_state()
    saved.update(change if "target" in change else {"reading": saved["reading"] | change})
    monkeypatch.setattr(model, "saved_state", lambda: saved)
    model.save("model.fastmlp")
    assert "is damaged" in one_line(run("predict", "model.fastmlp", "new.csv", code=1).output)


@pytest.mark.parametrize("case", ["dates", "nested", "nested target"])
def test_columns_that_cannot_be_used(case):
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    odd = {"dates": pd.date_range("2026-01-01", periods=20)}.get(case, pd.Series([[1, 2]] * 20))
    pd.DataFrame({"odd": odd, "y": range(20)}).to_parquet("t.parquet")
    message = one_line(run("train", "t.parquet", "--target", "y" if case == "nested" else "odd", code=1).output)
    assert ("column 'odd' has nested values" if case == "nested" else "column 'odd' holds") in message


def test_the_table_of_columns_is_short():
    columns = [{"name": f"c{i:02}", "kind": "numbers", "description": "numbers"} for i in range(MOST_LINES)]
    assert len(columns_text(columns).splitlines()) == MOST_LINES
    columns += [{"name": "x" * 99, "kind": "not used", "description": "constant, not used"}]
    lines = columns_text(columns).splitlines()
    assert (len(lines), lines[-1]) == (MOST_LINES, "  and 2 more columns: 1 numbers, 1 not used")
    assert columns_text(columns[-1:]) == f"  {'x' * 27}...  constant, not used"


def test_report_and_plot(houses):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    pytest.importorskip("jinja2", reason="needs the extra plot")
    options = "--target", "kind", "--folds", 2, "--report", "r.html", "--plot", "p.png", "--compare", *QUICK
    output = run("train", "old.csv", *options).stdout
    assert "loss plot in p.png" in output and "samples/s with cython" in output and "2 members, 5 epochs" in output
    page = Path("r.html").read_text()
    assert f"kind of old.csv: {N_TRAINED} rows for cross-validation" in page
    assert ">cheap</th>" in page and "dates since 2020-" in page
    run("train", "old.csv", "--target", "price", "--report", "r.html", *QUICK)
    assert "price of old.csv: 30 rows for testing" in Path("r.html").read_text()


def test_the_help_states_the_defaults_of_the_estimators():
    text = one_line(run("train", "--help").stdout)
    for kind in (TabularMLPClassifier, TabularMLPRegressor):
        model = kind()
        few, many = epochs_for(1), epochs_for(10**9)
        assert (
            model.epochs is None
            and f"[default: {few}, or down to {many} if there are many rows; plain: {EPOCHS}]" in text
        )
        hidden, plain = (",".join(map(str, sizes)) for sizes in (model.hidden_layer_sizes, HIDDEN))
        assert f"[default: {hidden}; plain: {plain}]" in text and f"[default: {model.n_members}]" in text


def test_exports_are_those_of_the_estimator(houses):
    run("train", "old.csv", "--target", "price", *QUICK)
    estimator = fastmlp.load("model.fastmlp").estimator
    run("export", "model.fastmlp", "m.c", "--name", "house")
    assert Path("m.c").read_text() == to_c(estimator, name="house")
    run("export", "model.fastmlp", "m.py")
    assert Path("m.py").read_text() == to_numpy_source(estimator)
    pytest.importorskip("onnx", reason="needs the package onnx")
    run("export", "model.fastmlp", "m.onnx")
    assert Path("m.onnx").read_bytes() == to_onnx(estimator).SerializeToString()
