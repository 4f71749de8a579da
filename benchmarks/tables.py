"""Errors and times of estimators with their defaults on real tables, on the same splits.

``python tables.py --rows 4000 --splits 3`` adds to tables.json what it lacks, and renders TABLES.md from it;
``--rows 0`` uses all rows of the training part. FASTMLP_DATA names the folder of the tables. Errors do not depend on
the load of the machine, times do: ``--no-times`` stores none, and a later run without it measures them.
"""

import argparse
import json
import logging
import os
import platform
import sys
import time
import warnings
from itertools import product
from pathlib import Path

import cpuinfo
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from markdown_table import markdown  # noqa: E402

RESULTS, PREDICTION, MACHINE = FOLDER / "tables.json", "prediction", "machine"
ADULT = ["age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship",
         "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "target"]  # fmt: skip
OURS = "fastmlp", "fastmlp, 5 members", "fastmlp, 5 folds"
PYTABKIT = {"LightGBM-TD": "LGBM_TD", "RealMLP-TD-S": "RealMLP_TD_S", "RealMLP-TD": "RealMLP_TD"}


def tables():
    """{name: function that reads the table, with a column 'target'}"""
    data = Path(os.environ["FASTMLP_DATA"])
    found = {
        path.stem: lambda path=path: pd.read_parquet(path) for path in sorted((data / "tabular").glob("*.parquet"))
    }
    if (data / "adult").is_dir():
        found["adult"] = lambda: _adult(data / "adult")
    if (data / "california_housing").is_dir():
        path = data / "california_housing" / "housing.csv"
        found["california"] = lambda: pd.read_csv(path).rename(columns={"median_house_value": "target"})
    return found


def _adult(folder):
    parts = [
        pd.read_csv(folder / f"adult.{part}", names=ADULT, skipinitialspace=True, na_values="?", skiprows=skipped)
        for part, skipped in (("data", 0), ("test", 1))
    ]
    frame = pd.concat(parts, ignore_index=True).dropna(subset="target")
    return frame.assign(target=frame["target"].str.strip(". "))


def split(frame, seed, rows):
    """(X, X_test, y, y_test, whether y are classes); at most ``rows`` rows to train on, if not 0."""
    y = frame.pop("target")
    classes = y.dtype.kind not in "iuf"
    y = y.astype(str).to_numpy() if classes else y.to_numpy(float)
    X, X_test, y, y_test = train_test_split(frame, y, random_state=seed, stratify=_strata(y, classes))
    if rows and len(X) > rows:
        X, _, y, _ = train_test_split(X, y, train_size=rows, random_state=seed, stratify=_strata(y, classes))
    return X, X_test, y, y_test, classes


def _strata(y, classes):
    return y if classes and pd.Series(y).value_counts().min() > 3 else None


def for_peers(X, X_test, imputed):
    """The two tables with texts as categories of pandas, and names without special characters.

    The estimators of pytabkit take no missing numbers: with ``imputed`` they become the median.
    """
    X, X_test = X.copy(), X_test.copy()
    if imputed:
        medians = X.median(numeric_only=True)
        X, X_test = X.fillna(medians), X_test.fillna(medians)
    for name in X.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes]]:
        X[name] = X[name].astype(object).astype("category")
        X_test[name] = pd.Categorical(X_test[name].astype(object), categories=X[name].cat.categories)
    X.columns = X_test.columns = [f"x{number}" for number in range(X.shape[1])]
    return X, X_test


def model(name, classes, seed):
    """An estimator with its defaults."""
    if name in OURS:
        from fastmlp import TabularMLPClassifier, TabularMLPRegressor

        options = {"fastmlp": {}, "fastmlp, 5 members": {"n_members": 5}, "fastmlp, 5 folds": {"n_folds": 5}}[name]
        return (TabularMLPClassifier if classes else TabularMLPRegressor)(random_state=seed, **options)
    if name == "HistGradientBoosting":
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        return kind(categorical_features="from_dtype", random_state=seed)
    if name == "LightGBM":
        import lightgbm

        return (lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor)(random_state=seed, verbose=-1)
    import pytabkit

    kind = getattr(pytabkit, f"{PYTABKIT[name]}_{'Classifier' if classes else 'Regressor'}")
    return kind(device="cpu", random_state=seed, n_cv=1, n_refit=0, verbosity=0)


MODELS = *OURS, "LightGBM", "HistGradientBoosting", *PYTABKIT


def error(found, y_test, classes):
    """Share of wrong classes, or root mean square error over standard deviation."""
    if classes:
        return np.mean(found.astype(str) != y_test)
    return np.sqrt(np.mean((found.ravel() - y_test) ** 2)) / np.std(y_test)


def run(name, frame, seed, rows):
    """{error, fit_s, predict_s} of a model on a split."""
    X, X_test, y, y_test, classes = split(frame.copy(), seed, rows)
    if name not in OURS:
        X, X_test = for_peers(X, X_test, imputed=name in PYTABKIT)
    estimator = model(name, classes, seed)
    begin = time.perf_counter()
    estimator.fit(X, y)
    middle = time.perf_counter()
    found = np.asarray(estimator.predict(X_test))
    end = time.perf_counter()
    return {
        "error": float(f"{error(found, y_test, classes):.5g}"),
        "fit_s": round(middle - begin, 3),
        "predict_s": round(end - middle, 4),
    }


def prediction():
    """Seconds of ``predict`` for a frame of 10,000 rows with columns of all kinds, and of a plain network."""
    from fastmlp import MLP, TabularMLPRegressor

    rng, n = np.random.RandomState(0), 10_000
    frame = pd.DataFrame(
        {f"number {i}": rng.lognormal(0, 1, n) for i in range(13)}
        | {f"{size} values": rng.choice([f"value {value}" for value in range(size)], n) for size in (3, 10, 100, 1000)}
        | {"yes": rng.rand(n) < 0.5, "no": rng.rand(n) < 0.1}
        | {"day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.randint(0, 1000, n), "D")}
    )
    model = TabularMLPRegressor(epochs=2, random_state=0).fit(frame, frame["number 0"])
    matrix = model.encoder_.transform(frame)
    plain = MLP([(128, "silu")] * 3 + [(1, "identity")], random_state=0)
    plain.build(matrix.shape[1])
    works = {"frame": (model, frame), "network": (model.members_[0], matrix), "plain network": (plain, matrix)}
    times = {name: [] for name in works}
    for _ in range(21):
        for name, (predictor, X) in works.items():
            begin = time.perf_counter()
            predictor.predict(X)
            times[name].append(time.perf_counter() - begin)
    return {name: round(float(np.median(found)), 5) for name, found in times.items()}


INTRODUCTION = """# Real tables

Defaults of each estimator, on the same splits of each table, in turn, by `make bench-tables`{on_machine}. The error is
1 - accuracy for classes; for numbers it is the root mean square error divided by the standard deviation of the test
targets; both are means over the splits. `worst` is the largest ratio of a table's error to that of the best other
library. Means are over the tables that all have; times are of the splits that were measured on a quiet machine.
LightGBM-TD is LightGBM with the tuned defaults of the package pytabkit, from which RealMLP comes too; both take no
missing numbers, and get the median in their place. Tables without 4,000 rows to train on are the same in both parts."""


def summary_of(part, errors):
    """Means over the tables that every model has."""
    complete = errors.dropna().clip(lower=1e-4)
    others = errors.drop(columns=[name for name in OURS if name in errors]).min(axis=1)
    seconds = part.groupby("model")[["fit, s", "predict, s"]].median().loc[errors.columns]
    summary = pd.DataFrame({
        "geometric mean error": np.exp(np.log(complete).mean()), "mean rank": complete.rank(axis=1).mean(),
        "worst": errors.div(others, axis=0).max(), "median fit, s": seconds["fit, s"],
        "median predict, s": seconds["predict, s"],
    }).loc[errors.columns]  # fmt: skip
    summary.index.name = f"{len(complete)} tables"
    return summary


def report(results):
    """The text of TABLES.md."""
    of_frame, machine = results.get(PREDICTION), results.get(MACHINE)
    rows = [[*key.split(" | "), *found.values()] for key, found in results.items() if " | " in key]
    frame = pd.DataFrame(rows, columns=["rows", "table", "split", "model", "error", "fit, s", "predict, s"])
    text = [INTRODUCTION.format(on_machine=f" on {machine}" if machine else "")]
    for size, part in frame.groupby("rows"):
        names = [name for name in MODELS if name in set(part["model"])]
        errors = part.pivot_table(index="table", columns="model", values="error")[names]
        formats = {"geometric mean error": ".4f", "median predict, s": ".3f"}
        text += [
            f"## {size}, {part['split'].nunique()} splits".replace(" 1 splits", " one split"),
            markdown(summary_of(part, errors), dict.fromkeys(["mean rank", "worst", "median fit, s"], ".2f") | formats),
            markdown(errors, dict.fromkeys(names, ".4f")),
        ]
    if of_frame:
        ms = {name: f"{1e3 * seconds:.1f} ms" for name, seconds in of_frame.items()}
        text.append(
            f"## Prediction\n\nA frame of 10,000 rows and 20 columns of all kinds: {ms['frame']}. Its network alone: "
            f"{ms['network']}. A plain network of three layers of 128 units: {ms['plain network']}."
        )
    return "\n\n".join(text) + "\n"


def store(results):
    """Write tables.json."""
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=0) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS, metavar="MODEL")
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--again", action="store_true", help="measure what tables.json has, too")
    parser.add_argument("--no-times", action="store_true", help="do not store times: the machine does other work too")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for table, read in tables().items():
        if given.tables and table not in given.tables:
            continue
        frame = read()
        for seed, name in product(range(given.splits), given.models):
            key = f"{given.rows or 'all'} rows | {table} | {seed} | {name}"
            if key in results and not given.again and (given.no_times or results[key]["fit_s"]):
                continue
            found = run(name, frame, seed, given.rows)
            print(f"{key}: error {found['error']:.4f}, fit {found['fit_s']:.2f} s", flush=True)
            results[key] = found | ({"fit_s": None, "predict_s": None} if given.no_times else {})
            store(results)
    if not given.no_times:
        brand = cpuinfo.get_cpu_info()["brand_raw"]
        results[MACHINE] = f"{brand}, {os.cpu_count()} cores, Python {platform.python_version()}"
        results[PREDICTION] = prediction()
        store(results)
    (FOLDER / "TABLES.md").write_text(report(results))


if __name__ == "__main__":
    main()
