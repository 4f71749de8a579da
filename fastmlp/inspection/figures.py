"""Figures of a training report, as SVG elements in the text colour of the page."""

import warnings
from io import StringIO
from xml.etree import ElementTree

import numpy as np

from .plots import LAYER_NORMS, colormap, log_scale_if_positive, new_figure, plot_alike, plot_layers

INK = "#101112"  # replaced by the text colour of the page
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
MOST_POINTS = 2000
LONGEST = 36  # characters of a name in a figure
SIZE = 4.6, 3.2
LINES = ["#3b7dd8", "#e07b39", "#3a9d6e", "#b4508f", "#8c7a3d", "#6c6fc9"]


def curves(panel, number):
    """Plot the curves of a Panel against the epoch."""
    with _style():
        figure, axes = _new_picture(panel.title)
        for number_of_name, (name, found) in enumerate(panel.curves.items()):
            epochs = [range(panel.n_epochs - len(each) + 1, panel.n_epochs + 1) for each in found]  # the last ones
            plot_alike(axes, epochs, found, number_of_name, _plain(name))
        if panel.title == "loss":
            log_scale_if_positive(axes, [each for found in panel.curves.values() for each in found])
        if panel.best is not None:
            axes.axvline(panel.best, color=INK, linewidth=1, linestyle=":", label=f"kept: epoch {panel.best}")
        axes.set_xlabel("epoch")
        axes.legend()
        return svg(figure, f"{panel.title} by epoch", f"curves-{number}")


def norms(history):
    """Plot the norms of gradients and of updates of each layer, for a monitored fit: two figures."""
    pictures = []
    for name, label in LAYER_NORMS.items():
        with _style():
            figure, axes = _new_picture(label)
            values = np.array(history[name]).T
            # Neither the darkest nor the lightest colours, because the page may be light or dark.
            plot_layers(axes, values, colormap("turbo")(np.linspace(0.12, 0.85, len(values))))
            axes.set_xlabel("epoch")
            axes.legend()
            pictures.append(svg(figure, f"{label}, by layer and epoch", name))
    return pictures


def residuals(truth, predicted, name, number):
    """Plot predictions against true values, and a histogram of the residuals: two figures."""
    shown = slice(None)
    if len(truth) > MOST_POINTS:
        shown = np.random.RandomState(0).choice(len(truth), MOST_POINTS, replace=False)
    with _style():
        figure, axes = _new_picture(f"{name}, {len(truth[shown]):,} of {len(truth):,} samples")
        axes.scatter(truth[shown], predicted[shown], s=9, alpha=0.5, linewidth=0)
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle=":")
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")
        against = svg(figure, f"{name}: predictions against true values", f"against-{number}")
        figure, axes = _new_picture(f"{name}, predicted - true")
        differences = predicted - truth
        if np.ptp(differences) > 1e-9 * max(np.abs(ends)):  # otherwise they have no bins between them
            axes.hist(differences, bins=min(40, max(5, len(truth) // 5)))
        axes.axvline(0, color=INK, linewidth=1, linestyle=":")
        axes.set_xlabel("predicted - true")
        axes.set_ylabel("samples")
        return [against, svg(figure, f"{name}: residuals", f"differences-{number}")]


def svg(figure, description, prefix):
    """Convert a figure to an SVG element for a page; ``prefix`` makes its ids unique."""
    import matplotlib

    file = StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure.savefig(file, format="svg", transparent=True)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(file.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):  # contains the date
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{prefix}-"))
            elif key in ("style", "clip-path", "fill", "stroke"):
                element.set(key, value.replace("url(#", f"url(#{prefix}-").replace(INK, "currentColor"))
    for size in ("width", "height"):
        del root.attrib[size]  # set by the page
    root.attrib |= {"role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode")


def _new_picture(title):
    figure = new_figure(SIZE)
    axes = figure.subplots()
    axes.set_title(_plain(title))
    return figure, axes


def shortened(text, most=LONGEST):
    """Both ends of a long name: names that begin alike often differ at the end."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 3 :]}"


def _plain(text):
    """Text that is short and that matplotlib takes neither for a formula nor, as a label, for a hidden one."""
    text = shortened(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _style():
    import matplotlib
    from cycler import cycler

    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK
    )
    return matplotlib.rc_context({
        **ink, "axes.prop_cycle": cycler(color=LINES), "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.alpha": 0.2, "grid.color": INK, "font.size": 9, "axes.titlesize": 10,
        "axes.titlelocation": "left", "legend.frameon": False, "lines.linewidth": 1.6, "axes.axisbelow": True,
    })  # fmt: skip
