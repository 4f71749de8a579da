"""Render SCALING.md and scaling.png from scaling.json: python scale_page.py."""

import json
import statistics
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from markdown_table import markdown  # noqa: E402
from scale_plot import plot_efficiency  # noqa: E402
from scale_tables import adding_of, calculated_text, frame, rest_of, steps_of  # noqa: E402
from step_parts import PARTS  # noqa: E402
from works import WORKS  # noqa: E402

ALLREDUCE = """## Measured: allreduce

Medians, with mpi4py, through the memory of the machine. Beside the blocking call the table has 1 ms of computing (small
products of matrices), both one after the other, an Iallreduce that is waited for after the computing, and the same with
ten calls of Test within the computing. A transfer that went on by itself would take the longer of the two times, not
their sum."""
SCORES = """## Measured: local steps and compression

Test scores with the same initial weights, batches and epochs: mean ± standard deviation over the seeds. Speed is rows
per second relative to one process, each of one thread, in turn. `gradients` adds up those of every step. Fashion-MNIST
and letter recognition: accuracy; California housing: R^2. Four ranks share the cores of the machine."""


def rates_text(results):
    rows = []
    for name in (name for name in WORKS if name in results["steps"]):
        rates = results["steps"][name]
        alone, both, ranks = (rates[one] for one in ("1 process", "2 processes, each alone", "2 ranks"))
        torch, torch_ranks = rates["torch, 1 process"], rates["torch, 2 ranks"]
        rows.append({
            "work": name, "1 process": alone, "2 ranks": ranks, "efficiency, %": 50 * ranks / alone,
            "of 2 processes alone, %": 100 * ranks / both, "4 ranks": rates["4 ranks"], "torch, 1 process": torch,
            "torch, 2 ranks": torch_ranks, "torch's efficiency, %": 50 * torch_ranks / torch,
            "ours / torch, 1": alone / torch, "ours / torch, 2": ranks / torch_ranks,
        })  # fmt: skip
    table = frame(rows, "work")
    formats = {name: ",.0f" for name in table if "%" not in name and "/" not in name}
    formats |= {name: ".2f" for name in table if "/" in name}
    return f"""## Measured: steps of one and of two ranks

Rows per second of whole epochs, in turn, medians; each process has one thread, rows of its own, and a batch of the size
that the name gives: weak scaling. The efficiency compares two ranks with twice the rate of one process, which has the
machine for itself; `of 2 processes alone` compares them with two fits that run at the same time and do not communicate,
and so share the memory and the clock rate of the machine as the two ranks do. torch's ranks are DistributedDataParallel
with gloo. Four ranks share the machine's cores ({results["machines"]["steps"].split(", ")[1]}).

{markdown(table, formats)}"""


def parts_text(results):
    rows = []
    for name in (name for name in WORKS if name in results["parts"]):
        parts = results["parts"][name]
        times = {**{part: parts[part] for part in PARTS}, "rest": rest_of(parts), "step": parts["step"]}
        times |= {"step alone": parts["alone"], "bare wait": parts["bare wait"]}
        rows.append({"work": name} | {part: 1e6 * seconds for part, seconds in times.items()})
    return f"""## Measured: the parts of a step

Microseconds of each of two ranks: means over the steps, medians of rounds. `wait` is a barrier after the gradient: how
long a rank waits for the other one; `apply` adds the gradients up and updates the parameters, each rank its part in
memory that the ranks share, if the network is not too large for that; `rest` is what a step of a fit takes besides
these parts; `step alone` is a step of a fit without MPI, while the other rank makes one too. `bare wait` is the barrier
in steps of ranks that exchange nothing: it shows how unevenly the cores run.

{markdown(frame(rows, "work"), {})}"""


def allreduce_text(results):
    text = [ALLREDUCE]
    for n, found in results["allreduce"].items():
        rows = [
            {"bytes": f"{row['bytes']:,}", "us": 1e6 * row["blocking"], "MB/s": row["bytes"] / row["blocking"] / 1e6,
             "computing, us": 1e6 * row["computing"], "in sequence, us": 1e6 * row["in sequence"],
             "non-blocking, us": 1e6 * row["non-blocking"], "with tests, us": 1e6 * row["non-blocking, tested"]}
            for row in found["rows"]
        ]  # fmt: skip
        text.append(f"{n} ranks, {found['library']}:\n\n{markdown(frame(rows, 'bytes'), {'MB/s': ',.0f'})}")
    return "\n\n".join(text)


def scores_text(results):
    text = [SCORES]
    for name, found in results["scores"].items():
        plain, rows = found["1 process"], {}
        for label, one in found.items():
            variant, _, ranks = label.partition(", ")
            row = rows.setdefault(variant, {"fit": variant})
            row[ranks or "2 ranks"], row[f"speed, {ranks}" if ranks else "speed, 2 ranks"] = (
                scores_of(one["scores"]), one["rate"] / plain["rate"],
            )  # fmt: skip
        table = frame(list(rows.values()), "fit")
        formats = {column: ".2f" if "speed" in column else "" for column in table}
        text.append(f"{name}, {len(plain['scores'])} seeds:\n\n{markdown(table, formats)}")
    return "\n\n".join(text)


def scores_of(scores):
    spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread}"


def page(results, folder):
    """Write the plot into ``folder``, and return the text."""
    if not results:
        return "Nothing has been measured yet.\n"
    where = {}
    for part, machine in results["machines"].items():
        where.setdefault(machine, []).append(part)
    places = "; ".join(f"{', '.join(measured)} on {machine}" for machine, measured in where.items())
    text = [f"Measured by `make bench-scaling`: {places}."]
    parts = {"steps": rates_text, "parts": parts_text, "allreduce": allreduce_text, "scores": scores_text}
    text += [render(results) for part, render in parts.items() if part in results]
    if steps := steps_of(results):
        rates = results.get("steps", {})
        measured = {name: found["2 ranks"] / (2 * found["1 process"]) for name, found in rates.items()}
        machines = dict.fromkeys(results["machines"][part] for part in ("parts", "steps") if part in results)
        plot_efficiency(steps, measured, adding_of(results), "; ".join(machines), folder / "scaling.png")
        text.append(calculated_text(results))
    return "\n\n".join(text) + "\n"


def main(folder=FOLDER):
    """Render the page of the scaling.json in ``folder`` there."""
    path = folder / "scaling.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    (folder / "SCALING.md").write_text(page(results, folder))
    print(f"wrote {folder / 'SCALING.md'}")


if __name__ == "__main__":
    main()
