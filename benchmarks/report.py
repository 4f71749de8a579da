"""Renders REPORT.md, speedup.png and the README's table from pytest-benchmark's JSON: python report.py results.json."""

import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
REFERENCE = "numpy"
MARKS = "<!-- speed -->", "<!-- end of speed -->"


def read(path):
    """(frame with a row per measurement, sentence about the machine)."""
    content = json.loads(Path(path).read_text())
    rows = [
        {**run["params"], **run["extra_info"], "function": run["name"].split("[")[0], "median": run["stats"]["median"]}
        for run in content["benchmarks"]
    ]
    machine = content["machine_info"]
    cpu = machine["cpu"]
    name = f"{cpu.get('brand_raw', machine['processor'])}, {cpu['count']} cores, Python {machine['python_version']}"
    return pd.DataFrame(rows), f"{name}, {content['datetime'][:10]}"


def training_table(frame):
    """Rows per second of each peer, and the compiled backends' ratios to the two that are not."""
    rates = (frame.rows / frame["median"]).rename("rate")
    table = pd.concat([frame[["name", "peer"]], rates], axis=1).pivot(index="name", columns="peer", values="rate")
    table = table.loc[frame["name"].unique()]
    best = table[["cython", "numba"]].max(axis=1)
    for other in ("numpy", "scikit-learn"):
        table[f"best / {other}"] = best / table[other]
    return table


def kernel_table(frame):
    """Microseconds of each backend and the ratios to the NumPy reference."""
    keys = ["kernel", "size", "dtype"]
    table = frame.pivot(index=keys, columns="backend", values="median") * 1e6
    table = table.loc[list(dict.fromkeys(frame[keys].itertuples(index=False, name=None)))]
    for name in ("cython", "numba"):
        table[f"numpy / {name}"] = table[REFERENCE] / table[name]
    operations = frame.drop_duplicates(keys).set_index(keys)["operations"]
    table["best GFLOP/s"] = operations / table[["cython", "numba"]].min(axis=1) / 1e3
    return table


def markdown(table, formats):
    """A Markdown table; ``formats`` maps a column to its format, '.1f' otherwise."""
    index = list(table.index.names)
    lines = [
        " | ".join([*map(str, index), *map(str, table.columns)]),
        " | ".join(["---"] * len(index) + ["---:"] * table.shape[1]),
    ]
    for key, row in table.iterrows():
        key = key if isinstance(key, tuple) else (key,)
        lines.append(" | ".join([*map(str, key), *(format(v, formats.get(c, ".1f")) for c, v in row.items())]))
    return "\n".join(f"| {line} |" for line in lines)


def plot(training, path):
    """Speed-up of each peer over the NumPy reference, a group of bars per row of the training table."""
    speedup = training[["cython", "numba", "scikit-learn"]].div(training[REFERENCE], axis=0)
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots()
    speedup.iloc[::-1].plot.barh(ax=axes, logx=True, width=0.75, color=["#1b6ca8", "#e07b39", "#9a9a9a"])
    for bars in axes.containers:
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xlabel="training speed over the NumPy reference (times, logarithmic)", ylabel="")
    axes.margins(x=0.12)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def update_readme(readme, text):
    """Put ``text`` between the README's marks."""
    before, rest = readme.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


def main(path, folder=FOLDER, readme=None):
    """Write the report into ``folder``, and the training table into ``readme`` where one is given."""
    frame, machine = read(path)
    training = training_table(frame[frame.function == "bench_epoch"])
    kernels = kernel_table(frame[frame.function == "bench_kernel"])
    plot(training, folder / "speedup.png")
    speed = markdown(training, dict.fromkeys(["cython", "numba", "numpy", "scikit-learn"], ",.0f"))
    text = f"""# Benchmarks

Measured by `make bench` on {machine}; medians. BLAS uses its own number of threads.

## Training

Rows per second of one epoch through `fit` (float32, Adam unless said), for each backend, the NumPy reference and
scikit-learn; "best" is the faster of `cython` and `numba`.

{speed}

![Speed-up over the NumPy reference](speedup.png)

## Kernels

Microseconds of one call, and how many times faster than the NumPy reference. Sizes are rows x inputs x outputs of a
layer; `update` is Adam over inputs x outputs parameters.

{markdown(kernels, {})}
"""
    (folder / "REPORT.md").write_text(text)
    print(f"wrote {folder / 'REPORT.md'}")
    if readme is not None:
        update_readme(readme, f"{speed}\n\nMedians on {machine}.")


if __name__ == "__main__":
    main(sys.argv[1], readme=FOLDER.parent / "README.md")
