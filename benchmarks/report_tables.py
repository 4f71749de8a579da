"""The tables of the report: each function gets runs, [[parameters, extra information, median seconds]]."""

from math import inf, nan

import pandas as pd
from peers import LIMIT, OTHERS
from workloads import GOALS
from works import WORKS


def training_table(runs):
    """Samples per second of each contestant; fastmlp against the fastest peer and against the limit of BLAS."""
    table = pd.DataFrame({parameters["name"]: info["rates"] for parameters, info, _ in runs}).T
    works = [WORKS[name] for name in table.index]
    limit = table.pop(LIMIT)
    others = table[[name for name in OTHERS if name in table]].max(axis=1)
    table["fastmlp / best other"] = table["fastmlp"] / others
    table["goal"] = [work.over_peers for work in works]
    table["% of limit"] = [100 * rate * work.flops / top for rate, work, top in zip(table["fastmlp"], works, limit)]
    table["goal, %"] = [100 * work.of_limit for work in works]
    table.index.name = "work"
    return table, float(limit.median())


def rates_table(runs, keys):
    """Samples per second of each contestant, and the faster of ours over the fastest other."""
    table = pd.DataFrame({", ".join(parameters[key] for key in keys): info["rates"] for parameters, info, _ in runs}).T
    own = [name for name in ("fastmlp", "compile_predict") if name in table]
    table["fastmlp / best other"] = table[own].max(axis=1) / table.drop(columns=own).max(axis=1)
    table.index.name = "network, samples"
    return table


def kernel_table(runs):
    """Microseconds on each backend, and the rate of the faster compiled one against the limit of the machine."""
    rows = [{**parameters, **info, "us": seconds * 1e6} for parameters, info, seconds in runs]
    frame, keys = pd.DataFrame(rows), ["kernel", "size", "dtype"]
    table = frame.pivot(index=keys, columns="backend", values="us").loc[
        list(dict.fromkeys(frame[keys].itertuples(index=False, name=None)))
    ]
    best = table[["cython", "numba"]].min(axis=1)
    first = frame.drop_duplicates(keys).set_index(keys)
    table["numpy / best"] = table["numpy"] / best
    for unit in ("GFLOP/s", "GB/s"):
        table[unit] = (first["amount"] / best / 1e3).where(first["unit"] == unit)
    table["% of limit"] = first["amount"] / best * 1e8 / first["limit"]
    return table


def seconds_table(runs):
    rows = {}
    for name, title in (("bench_import", "import after sklearn.base"), ("bench_first_fit", "first fit, batch {batch}"),
                        ("bench_numba_cache", "first fit, batch 32")):  # fmt: skip
        for parameters, info, _ in runs.get(name, []):
            rows.setdefault(title.format(**parameters), {}).update(info["seconds"])
    table = pd.DataFrame(rows).T
    table["scikit-learn / fastmlp"] = table["scikit-learn"] / table["fastmlp"]
    table.index.name = "seconds"
    return table


def steps_table(runs):
    """Microseconds of a step from Python, and how many times as fast as torch and JAX it is."""
    ((_, info, _),) = runs
    table = pd.DataFrame({"us": 1e6 / pd.Series(info["rates"])})
    for title, peer in (("times as fast as torch", "torch"), ("times as fast as JAX", "JAX, jitted")):
        if peer in table.index:
            table[title] = table.loc[peer, "us"] / table["us"]
    table.index.name = "step by"
    return table


def second_order_table(runs):
    """Medians over the seeds of each problem; a dash if Levenberg-Marquardt rarely has the loss of L-BFGS."""
    table = pd.DataFrame({
        parameters["name"]: pd.DataFrame(info["runs"]).fillna(inf).median() for parameters, info, _ in runs
    }).T.replace(inf, nan)  # fmt: skip
    table.insert(3, "times as fast", table["L-BFGS, s"] / table["lm until then, s"])
    table.index.name = "problem"
    return table


def workloads_table(runs):
    """Seconds of each workload."""
    table = 1 / pd.DataFrame({parameters["name"]: info["rates"] for parameters, info, _ in runs}).T
    table["scikit-learn / fastmlp"] = table["scikit-learn"] / table["fastmlp"]
    table["goal"] = pd.Series(GOALS, dtype=float)
    table.index.name = "workload"
    return table


def torch_table(runs):
    """Microseconds of a call with FastMLP and with torch.nn.Sequential, and their ratio."""
    table = pd.DataFrame({parameters["name"]: 1e6 / pd.Series(info["rates"]) for parameters, info, _ in runs}).T
    table["nn.Sequential / FastMLP"] = table["nn.Sequential"] / table["FastMLP"]
    table.index.name = "microseconds"
    return table


def fits_table(runs):
    """Milliseconds of a fit, and how many times as fast as scikit-learn, for each batch size."""
    columns = {}
    for parameters, info, _ in runs:
        rates, size = pd.Series(info["rates"]), f"batches of {parameters['batch_size']}"
        columns[size] = 1e3 / rates
        columns[f"{size}, scikit-learn = 1"] = rates / rates["scikit-learn, joblib"]
    table = pd.DataFrame(columns)
    table.index.name = "ms of a fit"
    return table
