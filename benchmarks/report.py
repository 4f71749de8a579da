"""Renders REPORT.md, its plots and the README's table from pytest-benchmark's JSON: python benchmarks/report.py
results.json."""

import json
import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from peers import LIMIT, OTHERS  # noqa: E402
from works import WORKS  # noqa: E402

MARKS = "<!-- speed -->", "<!-- end of speed -->"
COLOURS = ["#1b6ca8", "#e07b39", "#4c9a6a", "#b04a5a", "#8c6bb1", "#9a9a9a"]


def read(path):
    """({benchmark: [(parameters, extra information, median seconds)]}, sentence about the machine)."""
    content = json.loads(Path(path).read_text())
    runs = {}
    for run in content["benchmarks"]:
        name = run["name"].split("[")[0]
        runs.setdefault(name, []).append((run["params"] or {}, run["extra_info"], run["stats"]["median"]))
    machine = content["machine_info"]
    cpu = machine["cpu"]
    name = f"{cpu.get('brand_raw', machine['processor'])}, {cpu['count']} cores, Python {machine['python_version']}"
    return runs, f"{name}, {content['datetime'][:10]}"


def training_table(runs):
    """Rows per second of each contestant, and the best of ours against the best of theirs and against the limit."""
    table = pd.DataFrame({parameters["name"]: info["rates"] for parameters, info, _ in runs}).T
    works = [WORKS[name] for name in table.index]
    limit = table.pop(LIMIT)
    others = table[[name for name in OTHERS if name in table]].max(axis=1)
    table["fastmlp / best other"] = table["fastmlp"] / others
    table["wanted"] = [work.over_peers for work in works]
    table["% of limit"] = [100 * rate * work.flops / top for rate, work, top in zip(table["fastmlp"], works, limit)]
    table["wanted %"] = [100 * work.of_limit for work in works]
    table.index.name = "work"
    return table, float(limit.median())


def rates_table(runs, keys):
    """Rows per second of each contestant, and ours over the best other."""
    table = pd.DataFrame({", ".join(parameters[key] for key in keys): info["rates"] for parameters, info, _ in runs}).T
    own = [name for name in ("fastmlp", "compile_predict") if name in table]
    table["best of ours / best other"] = table[own].max(axis=1) / table.drop(columns=own).max(axis=1)
    table.index.name = "network, rows"
    return table


def kernel_table(runs):
    """Microseconds of each backend, and the best compiled one's rate against the machine's."""
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


def markdown(table, formats):
    """A Markdown table; ``formats`` maps a column to its format, '.1f' otherwise; what is missing is a dash."""
    index = list(table.index.names)
    lines = [
        " | ".join([*map(str, index), *map(str, table.columns)]),
        " | ".join(["---"] * len(index) + ["---:"] * table.shape[1]),
    ]
    for key, row in table.iterrows():
        key = key if isinstance(key, tuple) else (key,)
        cells = ("-" if pd.isna(v) else format(v, formats.get(c, ".1f")) for c, v in row.items())
        lines.append(" | ".join([*map(str, key), *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def plot_speedup(training, path):
    """Speed-up of fastmlp over each peer, a group of bars per row of the training table."""
    others = [name for name in OTHERS if name in training]
    ratios = training[others].rdiv(training["fastmlp"], axis=0)
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.subplots()
    ratios.iloc[::-1].plot.barh(ax=axes, logx=True, width=0.8, color=COLOURS)
    for bars in axes.containers:
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xlabel="training speed of fastmlp over the peer's (times, logarithmic)", ylabel="")
    axes.margins(x=0.12)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def plot_curves(runs, training, path):
    """Rows per second against batch size, against width, and speed-up by the second thread for each row."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (_, info, _) in zip(panels, runs):
        points = info["points"]
        for name, colour in zip(points[0][2], COLOURS):
            line = [(x, rates[name]) for _, x, rates in points if name in rates]
            axes.loglog(*zip(*line), "o-", label=name, color=colour)
        axes.set(xlabel=points[0][0], ylabel="rows per second")
        axes.legend()
        axes.grid(alpha=0.3)
    names = [name.split(",")[0] + name.partition("batch")[2] for name in training.index]
    panels[2].barh(names[::-1], (training["fastmlp"] / training["1 thread"])[::-1], color=COLOURS[0])
    panels[2].axvline(1, color="black", linewidth=0.8)
    panels[2].set(xlabel="all threads over one (times)")
    figure.savefig(path, dpi=110)


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


def update_readme(readme, text):
    """Put ``text`` between the README's marks."""
    before, rest = readme.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    readme.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


def sections(runs, machine, folder):
    """(the report's text, the README's table), from what was measured."""
    text = [f"# Benchmarks\n\nMeasured by `make bench` on {machine}; medians."]
    speed = ""
    if "bench_row" in runs:
        training, limit = training_table(runs["bench_row"])
        whole = dict.fromkeys(training.columns, ",.0f") | {
            "fastmlp / best other": ".2f",
            "wanted": ".2f",
            "% of limit": ".0f",
        }
        speed = markdown(training, whole)
        plot_speedup(training, folder / "speedup.png")
        text.append(f"""## Training

Rows per second of an epoch, in turn, each contestant in its own process; float32, Adam unless said, all threads.
`fastmlp` is `backend="auto"`; `cython`, `numba` and `1 thread` are the same with that choice, and `float64` in that
precision. The limit is the BLAS rate on products of 2048 x 2048 matrices in the same turns: {limit / 1e9:.0f} GFLOP/s.

{speed}

![Speed-up over the peers](speedup.png)""")
        if "bench_curve" in runs:
            plot_curves(runs["bench_curve"], training, folder / "curves.png")
            text.append("![Speed against batch size, width and threads](curves.png)")
        columns = ["fastmlp", *(name for name in OTHERS if name in training), "fastmlp / best other", "% of limit"]
        speed = markdown(training[columns], whole)
    if "bench_predict" in runs:
        table = rates_table(runs["bench_predict"], ("name", "rows"))
        formats = dict.fromkeys(table.columns[:-1], ",.0f")
        text.append(f"## Prediction\n\nRows per second, in turn.\n\n{markdown(table, formats)}")
    if "bench_import" in runs:
        text.append(f"""## Start-up

Seconds: importing, and the first fit of a fresh process (Iris, 150 rows, 4-16-3, 200 epochs).

{markdown(seconds_table(runs), dict.fromkeys(["fastmlp", "scikit-learn", "numba, cold", "numba, warm"], ".3f"))}""")
    if "bench_fit" in runs:
        table = pd.DataFrame({parameters["name"]: info["MiB"] for parameters, info, _ in runs["bench_fit"]}).T
        table.index.name = "MiB"
        text.append(f"""## Memory

By how much the peak of a process grows in a fit, beside its data. The formula is parameters x (2 + slots of the
optimizer), and for each thread a gradient and the activations of one batch.

{markdown(table, {})}""")
    if "bench_fashion_mnist" in runs:
        lines = [
            f"- {parameters['learner']}: {', '.join(f'{score:.2%}' for score in info['scores'])}"
            for parameters, info, _ in runs["bench_fashion_mnist"]
        ]
        text.append(
            "## Accuracy\n\nFashion-MNIST, 784-128-10, 10 epochs, batch 128; test accuracy for three seeds.\n\n"
            + "\n".join(lines)
        )
    if "bench_kernel" in runs:
        text.append(f"""## Kernels

Microseconds of one pass of a hot loop, in one thread. Sizes are rows x inputs x outputs of a layer; `tanh` and its
derivative are of its outputs, `update` is Adam over inputs x outputs parameters. The limit of a product is the BLAS
rate on 1024 x 1024 matrices in that dtype, that of the others the bytes that numpy.add moves in arrays of the same
size: a loop that was not vectorised would be at a few percent.

{markdown(kernel_table(runs["bench_kernel"]), {})}""")
    notes = FOLDER / "NOTES.md"
    if notes.exists():
        text.append(notes.read_text().rstrip())
    return "\n\n".join(text) + "\n", speed


def main(path, folder=FOLDER, readme=None):
    """Write the report into ``folder``, and the training table into ``readme`` where one is given."""
    runs, machine = read(path)
    text, speed = sections(runs, machine, folder)
    (folder / "REPORT.md").write_text(text)
    print(f"wrote {folder / 'REPORT.md'}")
    if readme is not None and speed:
        update_readme(readme, f"{speed}\n\nMedians on {machine}.")


if __name__ == "__main__":
    main(sys.argv[1], readme=FOLDER.parent / "README.md")
