"""The tables of what is calculated from scaling.json."""

from itertools import pairwise

import pandas as pd
from markdown_table import markdown
from scale_model import (
    LINKS,
    MOST_RANKS,
    Step,
    allreduce,
    balanced_rows,
    computing,
    crossover,
    efficiency,
    later_bytes,
    most_hidden,
    step_seconds,
)
from step_parts import PARTS
from works import WORKS

SLOTS = {"sgd": 0, "adam": 2}
MACHINES = 10, 100, 1000
ADDED = 2_097_152  # bytes of the vectors whose sum gives the time of adding
CALCULATED = """## Calculated: up to 1,000 machines

![Efficiency against the number of machines](scaling.png)

Nothing in this section was measured on a network. It is the formula above with the measured times of gradient, update
and rest, {adding:.0f} ps to add up a byte, and the named bandwidths and latencies; a machine has one rank of one
thread. In the plot lines are calculated, squares are measured on one machine, and dots mark where communication takes
as long as computing. The last column of each table is the number of rows of a rank in a batch with which both take as
long on 1,000 machines."""
LOCAL_STEPS = """Efficiency of 100 machines in %, if weights and the state of the optimizer are averaged every k steps
(`local_steps`); k = 1 adds up gradients. Adam has two state arrays, so an average moves three times the bytes of a
gradient: k must be above 3 before it saves anything on large networks."""
OVERLAP = """What an allreduce layer by layer, from the last one back, could take off the step of 100 machines at most,
in %, if it progressed by itself and cost no latency of its own; `later layers`: the share of the gradient that belongs
to layers after the first one, whose own gradient is the last to be ready."""


def steps_of(results):
    """{work: Step} of what was measured."""
    found = {}
    for name in (name for name in WORKS if name in results.get("parts", {})):
        work, parts = WORKS[name], results["parts"][name]
        n_parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(work.sizes))
        found[name] = Step(
            alone=parts["alone"], gradient=parts["gradient"] / work.batch, update=parts["update"],
            rest=max(rest_of(parts), 0.0), rows=work.batch, n_bytes=4 * n_parameters, n_slots=SLOTS[work.solver],
        )  # fmt: skip
    return found


def rest_of(parts):
    """Seconds of a step besides its parts."""
    return parts["step"] - sum(parts[part] for part in PARTS)


def adding_of(results):
    """Seconds to add a byte of a float32 vector to another one."""
    rows = results.get("allreduce", {}).get("2", {}).get("rows", [])
    return next((row["adding"] / row["bytes"] for row in rows if row["bytes"] == ADDED), 0.0)


def frame(rows, index):
    return pd.DataFrame(rows).set_index(index)


def calculated_text(results):
    steps, adding = steps_of(results), adding_of(results)
    links = {name: link.with_adding(adding) for name, link in LINKS.items()}
    text = [CALCULATED.format(adding=1e12 * adding)]
    for name, link in links.items():
        rows = [{
            "work": work, "gradient, KB": step.n_bytes / 1e3, "computing, us": 1e6 * computing(step),
            "allreduce, 1000, us": 1e6 * allreduce(1000, step.n_bytes, link),
            **{f"efficiency, {n}, %": 100 * efficiency(step, n, link) for n in MACHINES},
            "communication = computing": machines(crossover(step, link)),
            "balanced rows": balanced_rows(step, 1000, link),
        } for work, step in steps.items()]  # fmt: skip
        formats = {"gradient, KB": ",.1f", "computing, us": ",.0f", "allreduce, 1000, us": ",.0f",
                   "communication = computing": "", "balanced rows": ",.0f"}  # fmt: skip
        text.append(f"{name}:\n\n{markdown(frame(rows, 'work'), formats)}")
    rows = [
        {"work": work, "network": name.split(",")[0]}
        | {f"k = {k}": 100 * efficiency(step, 100, link, k) for k in (1, 2, 4, 16, 64)}
        | {f"communication = computing, k = {k}": machines(crossover(step, link, k)) for k in (4, 16)}
        for work, step in steps.items() for name, link in links.items()
    ]  # fmt: skip
    table = frame(rows, ["work", "network"])
    formats = {column: "" for column in table if column.startswith("communication")}
    text.append(f"{LOCAL_STEPS}\n\n{markdown(table, formats)}")
    rows = [
        {"work": work, "later layers, %": 100 * later_bytes(WORKS[work].sizes)}
        | {f"{name.split(',')[0]}, %": 100 * most_hidden(WORKS[work].sizes, step, 100, link)
           / step_seconds(step, 100, link) for name, link in links.items()}
        for work, step in steps.items()
    ]  # fmt: skip
    text.append(f"{OVERLAP}\n\n{markdown(frame(rows, 'work'), {})}")
    return "\n\n".join(text)


def machines(n):
    return f"never up to {MOST_RANKS:,}" if n is None else f"{n} machines"
