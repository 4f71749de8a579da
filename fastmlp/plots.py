"""Pictures of training. Needs matplotlib (extra ``plot``)."""


def plot_history(history, path):
    """Draw the loss curves of an MLP's ``history`` over epochs into an image file."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'fastmlp[plot]'") from error

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, curve in history.items():
        axes.plot(range(1, len(curve) + 1), curve, label=name.replace("_", " "))
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
