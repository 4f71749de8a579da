"""Exports of the table estimators reproduce their predictions, with the preprocessing inside."""

import runpy
import shutil
import subprocess
import sys
import warnings
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from fastmlp import TabularMLPClassifier, TabularMLPRegressor, make_loss, to_c, to_numpy_source, to_onnx
from fastmlp.estimators.tabular import plan
from fastmlp.estimators.tabular.recipe import VARIANTS
from fastmlp.export.c_preprocessing import members_of
from fastmlp.export.preprocessing import date_parts, seconds_of, table_predictor
from fastmlp.tables.cells import BOOLEANS, DATES, TEXTS
from fastmlp.tables.dates import PARTS
from fastmlp.tables.numbers import FEW_VALUES

N = 2100  # periodic inputs, and rare categories without a code
ODD = ['"a" */ ??/', "é\\", "", "日本\n"]
DATES_OF_ROWS = (
    "2024-02-29T23:59:59.999999", "1900-03-01", "1600-02-29", "2100-12-31T12:30", "1969-12-31T23:59:59", "0001-01-01"
)  # fmt: skip
ODD_NAME = '2 "é" */ ??/'


def table(n, seed):
    """A frame with columns of every kind, and numbers that depend on it."""
    rng = np.random.RandomState(seed)

    def missing(column, share=0.1):
        return column.where(rng.rand(n) >= share, None)

    streets = rng.choice([f"street {i}" for i in range(60)], n).astype(object)
    streets[:3] = "rare one", "rare two", "rare two"
    day = pd.Timestamp("2019-12-30") + pd.to_timedelta(rng.randint(0, 900 * 86400, n), "s")
    frame = pd.DataFrame({
        "size": missing(pd.Series(rng.lognormal(3, 1, n))),
        "count": rng.randint(0, FEW_VALUES - 2, n),
        "flat": missing(pd.Series(np.ones(n))),
        "int": rng.randint(-(10**9), 10**9, n),
        "_n0": rng.rand(n) < 0.5,
        "lit": missing(pd.Series(rng.rand(n) < 0.5, dtype=object)),
        "all true": missing(pd.Series(np.ones(n, bool), dtype=object)),
        "shop": missing(pd.Series(rng.choice(["Bern", "Oslo", "Rome"], n), dtype=object)),
        "street": streets,
        "grade": pd.Categorical(rng.randint(1, 4, n)),
        ODD_NAME: rng.choice(ODD, n),
        "constant": 1.0,
        "day": missing(pd.Series(day)).astype("datetime64[us]"),
        "born": np.datetime64("1900-01-01", "us") + rng.randint(0, 40000, n).astype("timedelta64[D]"),
        "n0": rng.choice(["x", "y"], n),
    })  # fmt: skip
    y = np.log(frame["size"].fillna(9)) + frame["_n0"] + 2.0 * (frame["shop"] == "Rome") + rng.randn(n) / 9
    return frame, y.to_numpy(float)


def new_rows():
    """Rows with unseen and missing values in every column, infinite numbers and unusual dates."""
    rows, _ = table(40, 1)
    rows.loc[0, "size"], rows.loc[1, "size"], rows.loc[2, "size"], rows.loc[3, "size"] = np.inf, -np.inf, 1e300, -5
    rows["count"] = rows["count"].astype(float)
    rows.loc[4, ["count", "int", "size", "flat"]] = np.nan
    rows.loc[5, "flat"] = 3.0
    rows.loc[[4, 5], ["lit", "all true", "shop", "street", "n0"]] = None
    rows.loc[6, ["shop", "street", "n0", ODD_NAME]] = ["Berne", "street", "Ω", "zz"]
    rows.loc[7, "all true"] = False
    rows["grade"] = rows["grade"].cat.add_categories([7])
    rows.loc[8, "grade"], rows.loc[9, "grade"] = 7, np.nan
    for number, day in enumerate(DATES_OF_ROWS):
        rows.loc[number, "day"] = rows.loc[number + 3, "born"] = np.datetime64(day, "us")
    rows.loc[[10, 11], ["day", "born"]] = pd.NaT
    return rows


def labels_of(y):
    return np.array(["low", "middle", "é 'high'"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]


SETTINGS = {"epochs": 2, "hidden_layer_sizes": (8,), "random_state": 0}
MODELS = {
    "three texts": (TabularMLPClassifier(n_members=2, **SETTINGS), labels_of),
    "two numbers": (TabularMLPClassifier(**SETTINGS), lambda y: np.where(y > np.median(y), 7, -3)),
    "one class": (TabularMLPClassifier(n_members=2, **SETTINGS), lambda y: np.zeros(len(y), int)),
    "number": (TabularMLPRegressor(n_members=3, **SETTINGS), lambda y: 1000 * y + 50),
    "one column": (TabularMLPRegressor(**SETTINGS), lambda y: y[:, None]),
    "several": (TabularMLPRegressor(n_folds=2, **SETTINGS), lambda y: np.column_stack([y, -1e4 * y])),
    "quantiles": (TabularMLPRegressor(loss=make_loss("quantile", quantile=[0.1, 0.9]), **SETTINGS), lambda y: 100 * y),
}  # fmt: skip


@cache
def fitted(name):
    frame, y = table(N, 0)
    model, target = MODELS[name]
    with patch.object(
        plan, "variants_of_members", lambda n, *_: VARIANTS[::-1][:n]
    ):  # the first has all kinds of inputs
        model.fit(frame, target(y))
    if isinstance(model, TabularMLPRegressor):  # predictions of some rows are limited
        found = model.predict(new_rows()).reshape(-1, len(model._targets.mean))
        low, high = np.quantile(found, [0.2, 0.8], axis=0)
        model._targets = model._targets._replace(low=low, high=high)
    return model


def columns_of(model):
    return [column for column in model.encoder_.columns_ if column.encoded]


def compared(name, predictions, probabilities=None, tolerance=1e-6):
    model, rows = fitted(name), new_rows()
    expected = model.predict(rows)
    if probabilities is not None:
        assert_allclose(probabilities, model.predict_proba(rows), rtol=tolerance, atol=tolerance)
        assert_array_equal(predictions, expected)
    else:
        assert predictions.shape == expected.shape
        assert_allclose(predictions, expected, rtol=tolerance, atol=tolerance * np.ptp(expected))


def test_the_table_has_every_kind_of_step():
    found = table_predictor(fitted("three texts"))
    assert {step.operator for step in found.steps} == {"scaled", "score", "missing", "flag", "code"}
    assert {step.part for step in found.steps} == {None, *PARTS}
    assert len(found.steps) == len(fitted("three texts").encoder_.encoded)
    assert {type(one).__name__ for one in fitted("three texts").members_[0].inputs} == {
        "Plain", "OneHot", "Embedding", "Periodic", "PiecewiseLinear"
    }  # fmt: skip
    street = next(column for column in columns_of(fitted("number")) if column.name == "street")
    assert street.n_rare
    assert not street.missing_is_value


def test_parts_of_dates():
    dates = np.arange("0001-01-01", "2500-01-01", 29 * 3600 + 1, "datetime64[s]").astype("datetime64[us]")
    found = date_parts(seconds_of(dates), seconds_of(dates[0]))
    assert list(found) == list(PARTS)
    for part in PARTS:
        expected = PARTS[part](dates) - (PARTS[part](dates[0]) if part == "days" else 0)
        assert_allclose(found[part], expected, atol=1e-8, rtol=1e-12, err_msg=part)


def onnx_feed(model, rows):
    feed = {}
    for column in columns_of(model):
        values = rows[column.name]
        if column.kind == TEXTS:
            made = np.array(["" if pd.isna(value) else str(value) for value in values], object)
        elif column.kind == DATES:
            made = seconds_of(values.to_numpy("datetime64[us]"))
        else:
            made = values.to_numpy(bool if column.kind == BOOLEANS and not column.n_missing else float)
        feed[column.name] = made[:, None]
    return feed


def run_onnx(graph, feed):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([out.name for out in session.get_outputs()], session.run(None, feed)))


@pytest.mark.parametrize("name", MODELS)
def test_onnx(name, tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    model = fitted(name)
    graph = to_onnx(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == graph.SerializeToString()
    found = run_onnx(graph, onnx_feed(model, new_rows()))
    compared(name, found.get("labels", found.get("predictions")), found.get("probabilities"))


def test_names_that_onnx_cannot_have():
    pytest.importorskip("onnx", reason="needs the package onnx")
    for name in ("labels", ""):
        frame = pd.DataFrame({name: np.arange(20.0)})
        with pytest.raises(ValueError, match=f"column '{name}' cannot be an input of an ONNX graph"):
            to_onnx(TabularMLPClassifier(**SETTINGS).fit(frame, [0, 1] * 10))


@pytest.mark.parametrize("name", MODELS)
def test_numpy_source(name, tmp_path):
    """The module runs in a process that cannot import fastmlp, and takes rows in any form."""
    model, rows = fitted(name), new_rows()
    to_numpy_source(model, tmp_path / "net.py")
    (tmp_path / "run.py").write_text(
        "import sys, pickle, numpy as np, net\nassert 'fastmlp' not in sys.modules\n"
        "table = pickle.load(open('table', 'rb'))\nnp.save('predictions', net.predict(table))\n"
        "if hasattr(net, 'predict_proba'):\n    np.save('probabilities', net.predict_proba(table))\n"
    )
    rows.to_pickle(tmp_path / "table")
    subprocess.run([sys.executable, "-W", "error", "run.py"], cwd=tmp_path, check=True)
    found = [np.load(tmp_path / f"{what}.npy") if (tmp_path / f"{what}.npy").exists() else None
             for what in ("predictions", "probabilities")]  # fmt: skip
    compared(name, *found)


def test_forms_of_tables_for_numpy_source(tmp_path):
    polars = pytest.importorskip("polars")
    model, rows = fitted("number"), new_rows()
    to_numpy_source(model, tmp_path / "net.py")
    predict = runpy.run_path(tmp_path / "net.py")["predict"]
    grade = rows["grade"].astype(object).where(rows["grade"].notna(), None)
    plain = rows.assign(grade=[None if value is None else str(value) for value in grade])
    arrow = pytest.importorskip("pyarrow").Table.from_pandas(plain)
    forms = {
        "dict": rows.to_dict("list"), "records": rows.to_dict("records"), "array": rows.to_numpy(object),
        "nullable": rows.convert_dtypes(), "polars": polars.from_pandas(plain), "Arrow": arrow,
        "isoformat": rows.assign(day=[None if pd.isna(value) else value.isoformat() for value in rows["day"]]),
    }  # fmt: skip
    for name, form in forms.items():
        assert_allclose(predict(form), model.predict(rows), rtol=1e-6, err_msg=name)


CELLS = {
    "decimals": [Decimal("1.0"), Decimal("2.50"), "x"],
    "float32": [np.float32(1), np.float32(0.1), "x"],
    "fractions": [Fraction(1, 2), 3, "x"],
    "bytes": [b"a", b"bb", "x"],
    "booleans": [True, np.False_, "x"],
    "large": [2**53 + 1, 1e22, "x"],
    "dates": [np.datetime64("2020-01-01"), date(2020, 1, 1), "x"],
    "seconds": np.array([1, 60, 7], "m8[s]"),
    "nanoseconds": np.array([10**9, 6 * 10**10, 7], "m8[ns]"),
    "days": np.array([1, 9, 7], "m8[D]"),
    "Timedelta": list(pd.to_timedelta([1, 60, 7], "s")),
    "timedelta": [timedelta(seconds=1), timedelta(1), timedelta(2)],
    "aware": [datetime(2020, 1, i, 5, tzinfo=timezone(timedelta(hours=-7))) for i in (1, 2, 9)],
    "denormal": [5e-324 * i for i in (1, 5, 9)],
    "huge": [1.7e308, -1.7e308, 0.0],
}  # fmt: skip


@pytest.mark.parametrize("case", CELLS)
@pytest.mark.filterwarnings("ignore:no explicit representation of timezones")
def test_cells_of_any_type_for_numpy_source(case, tmp_path):
    given = CELLS[case]
    cells = given if isinstance(given, np.ndarray) else np.array(given, object)
    table = {"a": np.tile(cells, 20), "b": np.arange(60.0)}
    model = TabularMLPRegressor(**SETTINGS).fit(table, np.arange(60) % 3 * 1.0)
    to_numpy_source(model, tmp_path / "net.py")
    assert_allclose(runpy.run_path(tmp_path / "net.py")["predict"](table), model.predict(table), rtol=1e-6)


@pytest.mark.parametrize("names", [[0, 1], [1, 0], [2010, 2.5], [("a", 1), ("a", 2)], ["x0", "x1"]])
def test_names_of_columns_for_numpy_source(names, tmp_path):
    X = np.random.RandomState(0).randn(60, 2)
    frame = pd.DataFrame(X, columns=pd.MultiIndex.from_tuples(names) if isinstance(names[0], tuple) else names)
    model = TabularMLPRegressor(**SETTINGS).fit(frame, X[:, 0])
    to_numpy_source(model, tmp_path / "net.py")
    predict = runpy.run_path(tmp_path / "net.py")["predict"]
    for given in (frame, frame[frame.columns[::-1]], X):
        assert_allclose(predict(given), model.predict(frame), rtol=1e-6, atol=1e-6)  # targets are about 1
    with pytest.raises(ValueError, match=r"an array must have 2 columns, got the shape \(60, 3\)"):
        predict(np.column_stack([X, X[:, 0]]))


def test_another_kind_of_values_is_refused_by_numpy_source(tmp_path):
    """NumPy would convert these silently."""
    days = np.array(["2020-01-01", "2021-03-05"], "M8[s]")
    table = {"number": [1.0, 2.0] * 20, "day": np.tile(days, 20)}
    model = TabularMLPRegressor(**SETTINGS).fit(table, [0.0, 1.0] * 20)
    to_numpy_source(model, tmp_path / "net.py")
    predict = runpy.run_path(tmp_path / "net.py")["predict"]
    for name, values in {"number": days, "day": [3, 4]}.items():
        with pytest.raises(ValueError, match="date"):
            predict({"number": [1.0, 2.0], "day": days, name: values})


def c_literal(number):
    return {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}.get(repr(float(number)), repr(float(number)))


def c_program(model, rows):
    """A program that prints the outputs and the class of each row, with categories that are looked up."""
    columns, n_outputs = columns_of(model), table_predictor(model).n_outputs
    members, lines = members_of(columns), []
    for _, row in rows.iterrows():
        values = []
        for column in columns:
            value = row[column.name]
            if column.kind == TEXTS:
                octal = "".join(f"\\{byte:03o}" for byte in str(value).encode())
                text = "0" if pd.isna(value) else f'"{octal}"'
                values.append(f"model_lookup_{members[column.name]}({text})")
            elif column.kind == DATES:
                values.append(c_literal(seconds_of(np.datetime64("NaT" if pd.isna(value) else value, "us"))))
            else:
                values.append(c_literal(np.nan if value is None else value))
        lines.append(f"    show((struct model_row){{{', '.join(values)}}});\n")
    chosen = "model_class(&row)" if hasattr(model, "classes_") else "0"
    return (
        '#include "model.c"\n#include <stdio.h>\nstatic void show(struct model_row row)\n{\n'
        f"    float y[{n_outputs}];\n    model_predict(&row, y);\n"
        f'    for (int j = 0; j < {n_outputs}; j++)\n        printf("%.9g ", (double)y[j]);\n'
        f'    printf("%d\\n", {chosen});\n}}\nint main(void)\n{{\n{"".join(lines)}    return 0;\n}}\n'
    )


def compiled(folder, file, *options):
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-overlength-strings"]
    subprocess.run([compiler, *strict, *options, str(folder / file), "-o", str(folder / "run"), "-lm"], check=True)
    return subprocess.run([folder / "run"], capture_output=True, text=True)


@pytest.mark.parametrize("name", MODELS)
def test_c(name, tmp_path):
    model, rows = fitted(name), new_rows()
    text = to_c(model, tmp_path / "model.c", test_inputs=rows)
    assert "malloc" not in text
    done = compiled(tmp_path, "model.c", "-DMODEL_SELF_TEST")
    assert done.returncode == 0, done.stdout
    (tmp_path / "main.c").write_text(c_program(model, rows))
    lines = compiled(tmp_path, "main.c").stdout.splitlines()
    outputs, number = np.split(np.array([line.split() for line in lines], float), [-1], axis=1)
    if hasattr(model, "classes_"):
        compared(name, model.classes_[number[:, 0].astype(int)], outputs)
    else:
        compared(name, outputs[:, 0] if model.predict(rows).ndim == 1 else outputs)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", ["three texts", "number"])
def test_the_self_test_of_c_with_rows_of_its_own(name, int8, tmp_path):
    text = to_c(fitted(name), tmp_path / "model.c", int8=int8)
    assert ("signed char model_m0_W0" in text) == int8
    done = compiled(tmp_path, "model.c", "-DMODEL_SELF_TEST")
    assert done.returncode == 0, done.stdout
    allowed = float(done.stdout.split("allowed ")[1].split(",")[0])
    assert allowed < (0.1 if int8 else 1e-4)
    (tmp_path / "model.c").write_text(text.replace("x[0] =", "x[0] = 0.5f +"))
    assert compiled(tmp_path, "model.c", "-DMODEL_SELF_TEST").returncode == 1


@pytest.mark.parametrize("standard", ["c99", "gnu99", "gnu2x"])
def test_names_in_c_are_different_and_no_keywords_or_macros(standard, tmp_path):
    names = [
        "a b", "a.b", "a_b", "float", "float_", "2", "c_2", "NAN", "é", "true", "bool", "asm", "typeof", "nullptr",
        "M_PI", "FP_NAN", "HUGE_VALF", "SEEK_SET", "errno", "_Bool", "_Atomic", "__func__", "__LINE__", "c__Bool",
        "stdin", "row", "x", "isnan", "static_assert", "/* ??/", "labels\n", "",
    ]  # fmt: skip
    frame = pd.DataFrame(np.random.RandomState(0).randn(40, len(names)), columns=names)
    model = TabularMLPRegressor(**SETTINGS).fit(frame, frame["2"])
    to_c(model, tmp_path / "model.c")
    assert compiled(tmp_path, "model.c", "-DMODEL_SELF_TEST", f"-std={standard}").returncode == 0


def test_texts_that_a_language_cannot_hold():
    """C would take 'a\\0b' for 'a'."""
    for value, exports in {"a\0b": [to_c], "\ud800": [to_c, to_onnx]}.items():
        table = {"t": np.array(["a", value, "b"] * 10, object)}
        model = TabularMLPClassifier(**SETTINGS).fit(table, [0, 1, 1] * 10)
        to_numpy_source(model)
        for export in exports:
            if export is to_onnx:
                pytest.importorskip("onnx", reason="needs the package onnx")
            with pytest.raises(ValueError, match=r"column 't' has the category .* cannot be a string in"):
                export(model)


@pytest.mark.parametrize("factor, offset", [(1, 1e10), (1e-60, 0)])
def test_targets_that_float32_cannot_hold_are_warned_of(factor, offset):
    X = np.random.RandomState(0).randn(60, 2)
    model = TabularMLPRegressor(**SETTINGS).fit(X, factor * X[:, 0] + offset)
    with pytest.warns(UserWarning, match=r"predictions in float32 are off by up to .* standard deviations of y"):
        to_c(model, test_inputs=X)


def test_arrays_have_columns_with_numbers(tmp_path):
    X = np.random.RandomState(0).randn(60, 3)
    model = TabularMLPRegressor(**SETTINGS).fit(X, X[:, 0])
    to_numpy_source(model, tmp_path / "net.py")
    assert_allclose(runpy.run_path(tmp_path / "net.py")["predict"](X), model.predict(X), rtol=1e-5, atol=1e-6)
    to_c(model, tmp_path / "model.c", test_inputs=X)
    assert compiled(tmp_path, "model.c", "-DMODEL_SELF_TEST").returncode == 0
    pytest.importorskip("onnx", reason="needs the package onnx")
    feed = {f"x{i}": X[:, [i]] for i in range(3)}
    assert_allclose(run_onnx(to_onnx(model), feed)["predictions"], model.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("export", [to_onnx, to_c, to_numpy_source])
def test_refusals(export):
    if export is to_onnx:
        pytest.importorskip("onnx", reason="needs the package onnx")
    with pytest.raises(NotFittedError):
        export(TabularMLPRegressor())
    model = TabularMLPClassifier(**SETTINGS).fit(np.arange(20.0)[:, None], [0, 1] * 10)
    model.members_[0].parameters[0] = np.nan
    with pytest.raises(ValueError, match="weights are NaN or infinite"):
        export(model)


def test_test_inputs_of_c():
    with pytest.raises(ValueError, match="X has no column 'size'"):
        to_c(fitted("number"), test_inputs=new_rows().drop(columns="size"))
    text = to_c(fitted("number"), test_inputs=new_rows())
    rows = new_rows().assign(_n0=new_rows()["_n0"].astype(str))
    assert to_c(fitted("number"), test_inputs=rows) == text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="test_inputs must have at least one row"):
            to_c(fitted("number"), test_inputs=new_rows()[:0])
