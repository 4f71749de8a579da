"""Tables in many Parquet files: a folder or pattern works like one file, and --stream like --plain with less memory."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import fastmlp
from fastmlp.cli.main import main

pq = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")
rng = np.random.RandomState(0)
N = 600
HOUSES = pd.DataFrame(
    {"area": rng.uniform(30, 200, N), "rooms": rng.randint(1, 7, N), "old": rng.uniform(size=N) > 0.5}
)
HOUSES["town"] = rng.choice(["Ulm", "Bonn", "Jena"], N)
HOUSES["price"] = 3000 * HOUSES.area + 50000 * (HOUSES.town == "Ulm") + rng.normal(0, 5000, N)
HOUSES["kind"] = np.where(HOUSES.price > 3.5e5, "dear", "cheap")


@pytest.fixture(autouse=True)
def parts(tmp_path, monkeypatch):
    """A folder with three files of several row groups, with columns in another order, and one file of all rows."""
    monkeypatch.chdir(tmp_path)
    Path("parts").mkdir()
    for number, rows in enumerate((HOUSES[:200], HOUSES[200:350][HOUSES.columns[::-1]], HOUSES[350:])):
        rows.to_parquet(f"parts/{number}.parquet", row_group_size=60)
    HOUSES.to_parquet("whole.parquet")


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def train(source, *options):
    return json.loads(run("train", source, "--quiet", "--json", *options).stdout)


WITHOUT = {"model", "seconds"}


@pytest.mark.parametrize("source", ["parts", "parts/*.parquet"])
@pytest.mark.parametrize("options", [("--epochs", 3), ("--plain", "--epochs", 3)])
def test_a_folder_or_pattern_works_like_one_file(source, options):
    whole, parts = (train(each, "--target", "price", *options) for each in ("whole.parquet", source))
    assert {k: v for k, v in parts.items() if k not in WITHOUT} == {k: v for k, v in whole.items() if k not in WITHOUT}
    for each in ("whole.parquet", source):
        run("predict", "model.fastmlp", each, "--out", f"{Path(each).stem[:1]}.csv")
    assert Path("w.csv").read_text() == Path(f"{Path(source).stem[:1]}.csv").read_text()
    assert run("evaluate", "model.fastmlp", source).output == run("evaluate", "model.fastmlp", "whole.parquet").output


def test_a_streamed_network_sees_what_a_plain_one_sees():
    """Without test rows, with the same encoding: all of its numbers up to rounding, before training."""
    options = "--target", "price", "--test-size", 0, "--epochs", 1, "--seed", 3
    train("parts", *options, "--plain", "--out", "plain.fastmlp")
    found = train("parts", *options, "--stream", "--out", "stream.fastmlp")
    plain, stream = fastmlp.load("plain.fastmlp"), fastmlp.load("stream.fastmlp")
    assert [column["name"] for column in stream.encoder.columns] == ["area", "rooms", "old", "town", "kind"]
    for one, other in zip(stream.encoder.columns, plain.encoder.columns):
        assert one == pytest.approx(other) if "mean" in one else one == other
    assert (stream.mean, stream.std) == pytest.approx((plain.mean, plain.std))
    assert found["rows"] == {"train": 600}
    assert stream.model._state.step == plain.model._state.step == 19
    np.testing.assert_allclose(stream.arrays(HOUSES)[0], plain.arrays(HOUSES)[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("target, score", [("price", "r2"), ("kind", "accuracy"), ("rooms", "accuracy")])
def test_streamed_networks_learn(target, score):
    ignored = [arg for name in ("kind", "price") if target != name for arg in ("--ignore", name)]
    ignored = ignored if target != "rooms" else ["--ignore", "town"]
    found = train("parts", "--target", target, "--stream", "--epochs", 15, "--shuffle-blocks", 2, *ignored)
    n_test = found["rows"]["test"]
    assert found["rows"]["train"] == N - n_test and 80 < n_test < 160
    assert found["task"] == ("regression" if score == "r2" else "classification")
    table = fastmlp.load("model.fastmlp")
    assert table.model._state.step == 15 * -(-found["rows"]["train"] // 32)
    if target != "rooms":
        assert found["scores"]["test"][score] > 0.9
    whole = table.evaluate(HOUSES)[score]
    assert abs(found["scores"]["test"][score] - whole) < 0.15


def test_test_scores_are_those_of_all_test_rows_at_once():
    from types import SimpleNamespace

    from fastmlp.cli.stream_run import test_scores as scores_of
    from fastmlp.cli.streamed_table import StreamedTable

    for target in ("price", "kind"):
        found = train("parts", "--target", target, "--stream", "--epochs", 2, "--test-size", 0.3, "--seed", 5)
        table = fastmlp.load("model.fastmlp")
        streamed = StreamedTable(SimpleNamespace(
            source="parts", target=target, ignore=[], text=[], missing=[], drop_missing=False, test_size=0.3, seed=5,
        ))  # fmt: skip
        rows = pd.concat(streamed.frames(test=True))
        trained = pd.concat(streamed.frames(test=False))
        assert sorted([*rows.area, *trained.area]) == sorted(HOUSES.area)
        expected = table.model.evaluate(*table.arrays(rows))
        assert found["scores"]["test"] == pytest.approx(expected, rel=1e-5)
        assert scores_of(table, streamed) == found["scores"]["test"]
        assert found["rows"] == {"train": len(trained), "test": len(rows)}


def test_early_stopping_and_validation_data():
    HOUSES[:100].to_csv("held.csv", index=False)
    found = train(
        "parts", "--target", "price", "--stream", "--epochs", 200, "--early-stopping", 2, "--eval", "held.csv"
    )
    assert found["rows"] == {"train": 600, "eval": 100}
    assert found["best_epoch"] == found["epochs"] - 2 or found["epochs"] == 200
    assert found["scores"]["eval"]["r2"] > 0.9


def test_missing_values_of_a_stream():
    rows = HOUSES[350:].copy()
    rows.loc[rows.index[100:103], "area"] = np.nan
    rows["rooms"] = rows["rooms"].astype(object).where(rows.index != rows.index[0], None)
    rows.to_parquet("parts/2.parquet", row_group_size=60)
    result = run("train", "parts", "--target", "price", "--stream", "--quiet", code=1)
    assert "parts/2.parquet, row group 0: missing or infinite values in 'rooms' (1 rows)" in result.output
    found = train("parts", "--target", "price", "--stream", "--epochs", 1, "--drop-missing")
    assert sum(found["rows"].values()) == 596


OTHERS = {
    "no column": (lambda rows: rows.drop(columns="town"), "parts/1.parquet has no column 'town', unlike parts/0"),
    "more": (lambda rows: rows.assign(garden=1), "parts/1.parquet has the column 'garden', unlike parts/0.parquet"),
    "type": (lambda rows: rows.assign(rooms="x"), "the column 'rooms' holds large_string in parts/1.parq"),
    "dates": (lambda rows: rows.assign(town=pd.Timestamp(0)), "the column 'town' holds timestamp"),
}  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--plain",), ("--stream",)])
@pytest.mark.parametrize("change", OTHERS)
def test_files_unlike_the_first_are_refused_before_training(options, change):
    make, message = OTHERS[change]
    make(HOUSES[200:350]).to_parquet("parts/1.parquet")
    assert message in run("train", "parts", "--target", "price", *options, code=1).output
    assert not Path("model.fastmlp").exists()


def test_types_that_go_together_are_one_column():
    """As in one file: integers with missing values, categories of several files, and an index of pandas."""
    first = HOUSES[:200].assign(town=pd.Categorical(HOUSES.town[:200]), rooms=HOUSES.rooms[:200].astype("int32"))
    later = HOUSES[200:].assign(town=pd.Categorical(HOUSES.town[200:].replace("Ulm", "Bern")), rooms=2.5)
    Path("parts/1.parquet").unlink()
    first.to_parquet("parts/0.parquet")
    later.sample(frac=1, random_state=0).to_parquet("parts/2.parquet")  # with an index
    found = train("parts", "--target", "price", "--plain", "--epochs", 1)
    assert found["inputs"] == 3 + 4 + 2
    assert train("parts", "--target", "price", "--stream", "--epochs", 1)["inputs"] == found["inputs"]


REFUSALS = {  # arguments: exit status and message
    ("parts", "--target", "kin", "--stream"): (1, "no column 'kin'. Columns: "),
    ("parts", "--target", "price", "--stream", "--ignore", "x"): (1, "no column 'x'"),
    ("parts", "--stream"): (2, "--target is required"),
    ("iris", "--stream"): (2, "--stream reads Parquet files: give a file, a folder or a pattern, not iris."),
    ("parts", "--target", "price", "--stream", "--report", "r.html"): (2, "--report needs all rows in memory"),
    ("parts", "--target", "price", "--stream", "--compare"): (2, "--compare needs all rows in memory"),
    ("parts", "--target", "price", "--stream", "--balanced"): (2, "--balanced needs all rows in memory"),
    ("parts", "--target", "price", "--stream", "--members", 3): (2, "--members is not for a plain network, which"),
    ("parts", "--target", "price", "--stream", "--early-stopping", 3): (2, "needs validation data: give --eval"),
    ("parts", "--target", "price", "--stream", "--optimizer", "lbfgs"): (1, "which needs all samples at once"),
    ("parts", "--target", "price", "--shuffle-blocks", 2): (2, "--shuffle-blocks needs --stream"),
    ("parts", "--target", "price", "--stream", "--test-size", 0.999999): (2, "no rows to train on"),
    ("parts/*.csv", "--target", "price"): (1, "no file matches parts/*.csv"),
    (".git", "--target", "price"): (1, ".git is neither a file nor a bundled data set"),
    ("empty", "--target", "price"): (1, "the folder empty has no file *.parquet"),
    ("parts", "--target", "price", "--out", "parts/0.parquet"): (2, "is an input of this command"),
}


@pytest.mark.parametrize("arguments", REFUSALS)
def test_refusals(arguments):
    Path("empty").mkdir()
    code, message = REFUSALS[arguments]
    assert message in " ".join(run("train", *arguments, "--quiet", code=code).output.split())


def test_targets_of_a_stream():
    """The same decisions and messages as for a table in memory."""
    HOUSES.assign(price=7).to_parquet("constant.parquet")
    for option in ("--stream", "--plain"):
        message = run("train", "constant.parquet", "--target", "price", option, code=1).output
        assert "the target 'price' has the same value in all 600 rows" in message
    HOUSES.assign(id=[f"n{i}" for i in range(N)]).to_parquet("names.parquet")
    message = run("train", "names.parquet", "--target", "price", "--stream", code=1).output
    assert "column 'id' has more than 200 distinct strings up to names.parquet, row group 0, too many" in message
    message = run("train", "parts", "--target", "kind", "--task", "regression", "--stream", code=1).output
    assert "the target 'kind' is not numeric" in message
    found = train("parts", "--target", "price", "--task", "classification", "--stream", "--epochs", 1)
    assert found["task"] == "classification"
    assert len(fastmlp.load("model.fastmlp").classes) == N


def test_ctrl_c_saves_the_streamed_model(monkeypatch):
    from fastmlp.training.streamed_epochs import StreamedEpochs

    original = StreamedEpochs._run_part

    def interrupting(self, part):
        signal.raise_signal(signal.SIGINT)
        original(self, part)

    monkeypatch.setattr(StreamedEpochs, "_run_part", interrupting)
    result = run("train", "parts", "--target", "price", "--stream", "--quiet", code=130)
    assert "interrupted by user in epoch 1" in result.output
    assert np.isfinite(fastmlp.load("model.fastmlp").predict(HOUSES)).all()
