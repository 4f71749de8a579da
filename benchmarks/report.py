"""Render REPORT.md and its plots.

``python report.py results.json`` condenses the JSON of pytest-benchmark into medians.json first, where it replaces the
runs of the same benchmarks and of other machines; without an argument the report is rendered from the medians.json that
is there.
"""

import json
import sys
from math import inf, nan
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from many_fits import EPOCHS  # noqa: E402
from markdown_table import markdown  # noqa: E402
from peers import LIMIT, OTHERS  # noqa: E402
from steps import STEPS  # noqa: E402
from workloads import GOALS  # noqa: E402
from works import WORKS  # noqa: E402

COLOURS = ["#1b6ca8", "#e07b39", "#4c9a6a", "#b04a5a", "#8c6bb1", "#9a9a9a"]


def rounded(value):
    """Numbers to six digits, inside lists and dicts too."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def condensed(content):
    """What the report needs of the JSON of pytest-benchmark.

    Returns {"machine": a sentence, "runs": {benchmark: [[parameters, extra information, median seconds]]}}.
    """
    runs = {}
    for run in content["benchmarks"]:
        row = [run["params"] or {}, run["extra_info"], run["stats"]["median"]]
        runs.setdefault(run["name"].split("[")[0], []).append(rounded(row))
    machine = content["machine_info"]
    cpu = machine["cpu"]
    name = f"{cpu.get('brand_raw', machine['processor'])}, {cpu['count']} cores, Python {machine['python_version']}"
    return {"machine": f"{name}, {content['datetime'][:10]}", "runs": runs}


def lines_of(medians):
    """JSON with one line for each run, so that differences can be read."""
    runs = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in medians["runs"].items()
    )
    return f'{{"machine": {json.dumps(medians["machine"])}, "runs": {{\n{runs}\n}}}}\n'


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


def plot_speedup(training, machine, path):
    """How many times faster fastmlp trains than each peer, a group of bars for each row of the training table."""
    columns = {
        "scikit-learn": ["scikit-learn"],
        "torch (eager or compiled, the faster)": ["torch", "torch.compile"],
        "JAX (one compiled scan for the epoch)": ["JAX"],
    }
    peers = {}
    for name, wanted in columns.items():
        measured = [column for column in wanted if column in training]
        if measured:
            peers[name] = training["fastmlp"] / training[measured].max(axis=1)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(peers)
    for number, ((name, ratios), colour) in enumerate(zip(peers.items(), COLOURS)):
        at = [row + (number - (len(peers) - 1) / 2) * height for row in range(len(ratios))]
        axes.barh(at, ratios - 1, height, left=1, label=name, color=colour)
        for y, ratio in zip(at, ratios):
            text = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
            axes.annotate(text, (max(ratio, 1), y), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(training)), training.index)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times as fast as the peer (logarithmic); left of the line the peer is faster")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    axes.set_title("Training speed of fastmlp relative to its peers", loc="left")
    conditions = f"float32, Adam unless noted; medians on {machine}"
    figure.text(0.995, -0.03, conditions, ha="right", fontsize=8, color="#555555")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def plot_curves(runs, training, path):
    """Samples per second against batch size and against width, and speed-up by more threads for each row."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (_, info, _) in zip(panels, runs):
        points = info["points"]
        for name, colour in zip(points[0][2], COLOURS):
            line = [(x, rates[name]) for _, x, rates in points if name in rates]
            axes.loglog(*zip(*line), "o-", label=name, color=colour)
        axes.set(xlabel=points[0][0], ylabel="samples per second")
        axes.legend()
        axes.grid(alpha=0.3)
    names = [name.split(",")[0] + name.partition("batch")[2] for name in training.index]
    panels[2].barh(names[::-1], (training["fastmlp"] / training["1 thread"])[::-1], color=COLOURS[0])
    panels[2].axvline(1, color="black", linewidth=0.8)
    panels[2].set(xlabel="speed with all threads relative to one")
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


def sections(runs, machine, folder):
    """Write the plots into ``folder`` and return the text of the report."""
    text = [f"# Benchmarks\n\nMeasured by `make bench` on {machine}; medians."]
    if "bench_row" in runs:
        training, limit = training_table(runs["bench_row"])
        formats = dict.fromkeys(training.columns, ",.0f") | {"fastmlp / best other": ".2f", "goal": ".2f"}
        peers = ["fastmlp", *(name for name in OTHERS if name in training), "fastmlp / best other", "% of limit"]
        plot_speedup(training, machine, folder / "speedup.png")
        text.append(f"""## Training

![Training speed relative to scikit-learn, torch and JAX](speedup.png)

Samples per second of whole epochs, in float32 with Adam unless noted, on all threads. The libraries are timed in turn,
each in a process of its own. `% of limit` compares the FLOP rate with that of BLAS on 2048 x 2048 matrices, measured in
the same turns: {limit / 1e9:.0f} GFLOP/s.

{markdown(training[peers], formats)}

fastmlp by backend, with one thread and in float64 (`fastmlp` is `backend="auto"`), and the project's goals for the last
two columns of the table above:

{markdown(training.drop(columns=peers[1:]), formats)}""")
        if "bench_curve" in runs:
            plot_curves(runs["bench_curve"], training, folder / "curves.png")
            text.append("![Speed against batch size, width and threads](curves.png)")
    if "bench_predict" in runs:
        table = rates_table(runs["bench_predict"], ("name", "rows"))
        formats = dict.fromkeys(table.columns[:-1], ",.0f")
        text.append(f"## Prediction\n\nSamples per second, in turn.\n\n{markdown(table, formats)}")
    if "bench_step" in runs:
        formats = dict.fromkeys(["fastmlp", "scikit-learn"], ".3f") | {"goal": "g"}
        text.append(f"""## Short calls

Microseconds of one training step called from Python: 8-64-64-1, 32 samples, Adam, float32, in turn; fastmlp and torch
in one thread, JAX and scikit-learn with their defaults. `step.many` makes {STEPS} steps in a call.

{markdown(steps_table(runs["bench_step"]), {"times as fast as torch": ".1f", "times as fast as JAX": ".1f"})}

Seconds of typical scikit-learn programs in which only the import differs (benchmarks/workloads.py):

{markdown(workloads_table(runs["bench_workload"]), formats)}""")
    if "bench_torch" in runs:
        text.append(f"""## In torch programs

`fastmlp.torch.FastMLP` beside the same `torch.nn.Sequential`, in turn, in one thread: forward, backward and a step of
torch.optim.Adam, and the outputs alone.

{markdown(torch_table(runs["bench_torch"]), {"nn.Sequential / FastMLP": ".2f"})}""")
    if "bench_fits" in runs:
        table = fits_table(runs["bench_fits"])
        formats = {column: ".1f" if "=" in column else ".2f" for column in table}
        text.append(f"""## Many fits

Milliseconds of one of a thousand fits on Iris (4-16-3, {EPOCHS} epochs, Adam, float32), all on the same cores, in turn:
`fit_many` beside a loop of `fit`, scikit-learn in the processes of joblib, and one JAX program for all networks (which
leaves out the samples that fill no batch).

{markdown(table, formats)}""")
    if "bench_import" in runs:
        text.append(f"""## Start-up

Seconds for the import, and for the first fit in a new process (Iris, 150 samples, 4-16-3, 200 epochs).

{markdown(seconds_table(runs), dict.fromkeys(["fastmlp", "scikit-learn", "numba, cold", "numba, warm"], ".3f"))}""")
    if "bench_fit" in runs:
        table = pd.DataFrame({parameters["name"]: info["MiB"] for parameters, info, _ in runs["bench_fit"]}).T
        table.index.name = "MiB"
        text.append(f"""## Memory

Growth of the peak memory of a process during a fit, without the data. The formula counts parameters x (2 + state arrays
of the optimizer), and for each thread a gradient and the activations of one batch.

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
    if "bench_second_order" in runs:
        table = second_order_table(runs["bench_second_order"])
        formats = {name: ".5f" if name.startswith("loss") else ".3f" for name in table} | {"times as fast": ".1f"}
        text.append(f"""## Levenberg-Marquardt

Seconds of L-BFGS until it stops, of Levenberg-Marquardt until it has the same loss, and of 200 of its iterations, with
the losses at the end; medians of three seeds. One hidden layer of 10 (sine), 20 or 30 (kin8nm) tanh units, float64.

{markdown(table, formats)}""")
        for _, info, seconds in runs.get("bench_pyrenn", []):
            text.append(
                f"On sine, with the first seed, fastmlp has that loss after {info['fastmlp, s']:.3f} s; pyrenn has the "
                f"loss {info['pyrenn, loss']:.5f} after {seconds:.1f} s."
            )
    if "bench_kernel" in runs:
        text.append(f"""## Kernels

Microseconds for one pass of a hot loop in one thread. Sizes are samples x inputs x outputs of a layer; `tanh` and its
derivative work on its outputs, `update` is Adam on inputs x outputs parameters. The limit of a product is the BLAS rate
on 1024 x 1024 matrices in the same dtype; for the other loops it is the memory rate of numpy.add on arrays of the same
size. A loop that is not vectorised would reach a few percent.

{markdown(kernel_table(runs["bench_kernel"]), {})}""")
    notes = FOLDER / "NOTES.md"
    if notes.exists():
        text.append(notes.read_text().rstrip())
    return "\n\n".join(text) + "\n"


def main(results=None, folder=FOLDER):
    """Write medians.json from ``results``, if given, and the report with its plots, all into ``folder``."""
    path = folder / "medians.json"
    if results is not None:
        new = condensed(json.loads(Path(results).read_text()))
        old = json.loads(path.read_text()) if path.exists() else {"machine": "", "runs": {}}
        machine, _, days = old["machine"].rpartition(", ")
        new_machine, _, day = new["machine"].rpartition(", ")
        if machine == new_machine:
            days = days if day in days else f"{days} and {day}"
            new = {"machine": f"{machine}, {days}", "runs": old["runs"] | new["runs"]}
        path.write_text(lines_of(new))
    medians = json.loads(path.read_text())
    (folder / "REPORT.md").write_text(sections(medians["runs"], medians["machine"], folder))
    print(f"wrote {folder / 'REPORT.md'}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
