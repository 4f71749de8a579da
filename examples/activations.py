"""Plot all activations with their derivatives."""

from matplotlib.figure import Figure

from fastmlp.inspection.plots import plot_activation
from fastmlp.kernels.rules import ACTIVATIONS

COLUMNS = 5


def main(out, quick=False):
    """Plot all activations of one variable and return their number. ``quick`` has no effect."""
    names = [name for name, row in ACTIVATIONS.items() if not row.rowwise]
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.1 * rows), layout="constrained")
    places = figure.subplots(rows, COLUMNS, sharex=True).ravel()
    for axes, name in zip(places, names):
        plot_activation(name, axes=axes)
        axes.get_legend().remove()
        axes.set(title=name, xlabel="")
    for axes in places[len(names) - COLUMNS : len(names)]:
        axes.tick_params(labelbottom=True)
    for axes in places[len(names) :]:
        axes.set_axis_off()
    figure.suptitle("activations (solid) and their derivatives (dashed)")
    figure.savefig(out / "activations.png", dpi=75)
    return {"activations": len(names)}


if __name__ == "__main__":
    from command_line import run

    run(main)
