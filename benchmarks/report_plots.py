"""The plots of the report."""

from matplotlib.figure import Figure

COLOURS = ["#1b6ca8", "#e07b39", "#4c9a6a", "#b04a5a", "#8c6bb1", "#9a9a9a"]


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
