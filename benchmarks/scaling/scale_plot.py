"""The plot of efficiency against the number of machines."""

import numpy as np
from matplotlib.figure import Figure
from scale_model import LINKS, MOST_RANKS, crossover, efficiency

COLOURS = ["#1b6ca8", "#e07b39", "#4c9a6a", "#b04a5a", "#8c6bb1", "#7a5c3e", "#4a4a4a"]
MACHINES = np.unique(np.geomspace(1, MOST_RANKS, 300).round().astype(int)).tolist()
LOCAL_STEPS = 16


def plot_efficiency(steps, measured, adding, machine, path):
    """Calculated lines with a dot where communication takes as long as computing; squares are measured.

    ``steps``: {name: Step}; ``measured``: {name: efficiency of two ranks on one machine}; ``adding``: seconds a byte.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, local_steps in zip(panels, (1, LOCAL_STEPS)):
        for axes, (title, link) in zip(row, LINKS.items()):
            link = link.with_adding(adding)
            for (name, step), colour in zip(steps.items(), COLOURS):
                line = [100 * efficiency(step, n, link, local_steps) for n in MACHINES]
                axes.plot(MACHINES, line, color=colour, label=name.replace(", SGD", ""))
                n = crossover(step, link, local_steps)
                if n is not None:
                    axes.plot(n, 100 * efficiency(step, n, link, local_steps), "o", color=colour)
                if local_steps == 1 and name in measured:
                    axes.plot(2, 100 * measured[name], "s", color=colour, markerfacecolor="white")
            axes.set(xscale="log", ylim=(0, 110), title=f"{title}, " + (
                "gradients of every step" if local_steps == 1 else f"{local_steps} local steps"
            ))  # fmt: skip
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_formatter("{x:g}")
    for axes in panels[:, 0]:
        axes.set_ylabel("efficiency, %")
    for axes in panels[1]:
        axes.set_xlabel("machines, one rank of one thread each")
    panels[0, 0].plot([], [], "o", color="black", label="communication takes as long as computing")
    panels[0, 0].plot([], [], "s", color="black", markerfacecolor="white", label="measured: 2 ranks on one machine")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Weak scaling, calculated from times measured on\n" + machine, fontsize=10)
    figure.savefig(path, dpi=110)
