"""Render REPORT.md and its plots.

``python report.py results.json`` condenses the JSON of pytest-benchmark into medians.json first, where it replaces the
runs of the same benchmarks and of other machines; without an argument the report is rendered from the medians.json that
is there.
"""

import json
import sys
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from many_fits import EPOCHS  # noqa: E402
from markdown_table import markdown  # noqa: E402
from peers import OTHERS  # noqa: E402
from report_plots import plot_curves, plot_speedup  # noqa: E402
from report_precision import precision_table, precision_text  # noqa: E402
from report_tables import (  # noqa: E402
    fits_table,
    kernel_table,
    rates_table,
    second_order_table,
    seconds_table,
    steps_table,
    torch_table,
    training_table,
    workloads_table,
)
from steps import STEPS  # noqa: E402


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


def sections(runs, machine, folder):
    """Write the plots into ``folder`` and return the text of the report."""
    text = [f"# Benchmarks\n\nMeasured by `make bench` on {machine}; medians."]
    if "bench_row" in runs:
        training, limit = training_table(runs["bench_row"])
        formats = dict.fromkeys(training.columns, ",.0f") | {"fastmlp / best other": ".2f", "goal": ".2f"}
        peers = ["fastmlp", *(name for name in OTHERS if name in training), "fastmlp / best other", "% of limit"]
        by_precision = runs.get("bench_precision_training", [])
        units = " and ".join(dict.fromkeys(info["unit"] for _, info, _ in by_precision))
        precision = precision_table(by_precision) if by_precision else None
        plot_speedup(training, precision, units, machine, folder / "speedup.png")
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
    text += precision_text(runs)
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
