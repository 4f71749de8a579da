"""The plots of the report."""

from math import isnan

from matplotlib.figure import Figure

COLOURS = ["#1b6ca8", "#e07b39", "#4c9a6a", "#b04a5a", "#8c6bb1", "#9a9a9a"]


def draw_ratios(axes, names, columns, colours):
    """A group of bars for each name, from 1 to the ratios of {label: Series}."""
    height = 0.8 / len(columns)
    for number, ((label, ratios), colour) in enumerate(zip(columns.items(), colours)):
        at = [row + (number - (len(columns) - 1) / 2) * height for row in range(len(names))]
        ratios = ratios.reindex(names)
        axes.barh(at, ratios - 1, height, left=1, label=label, color=colour)
        for y, ratio in zip(at, ratios):
            text = "" if isnan(ratio) else f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"
            axes.annotate(text, (max(ratio, 1), y), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)


def plot_speedup(training, precision, unit, machine, path):
    """How many times faster fastmlp trains than each peer, and in each precision than the best peer.

    ``training`` and ``precision`` are tables with a row for each work; ``precision`` may be None. ``unit`` says how
    fastmlp multiplies in medium precision.
    """
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
    widths = [1] if precision is None else [2, 1]
    figure = Figure(figsize=(9 if precision is None else 13, 5), layout="constrained")
    axes, *others = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    draw_ratios(axes, training.index, peers, COLOURS)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="times as fast as the peer (logarithmic); left of the line the peer is faster")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right", frameon=False)
    axes.set_title("Training speed of fastmlp relative to its peers, in float32", loc="left")
    for axes in others:
        ratios = {
            "highest / best float32 peer": precision["highest"] / precision["best float32 peer"],
            "high / best float32 peer": precision["high / best float32 peer"],
            "medium / best peer in any precision": precision["medium / best peer"],
        }
        draw_ratios(axes, training.index, ratios, COLOURS[3:])
        axes.legend(loc="upper right", frameon=False)
        axes.set(xlabel=f"times as fast as the best peer;\n{unit}")
        axes.set_title("By matmul_precision", loc="left")
    figure.text(0.995, -0.03, f"Adam unless noted; medians on {machine}", ha="right", fontsize=8, color="#555555")
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
