"""Plots of models and their training. They need matplotlib (extra ``plot``).

Each function returns the matplotlib Figure, a new one or that of the given ``axes``, and saves it if ``path`` is given.
"""

import io
import os
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np

from fastmlp.estimators.base import BaseMLP
from fastmlp.extras import from_extra
from fastmlp.io.atomic import path_text, write_whole
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.model.activations import check_activation
from fastmlp.model.mlp import MLP
from fastmlp.training.history import curves
from fastmlp.validation.arrays import as_labels, as_numbers, is_listing
from fastmlp.validation.sklearn_compat import get_feature_names

LAYER_NORMS = {"gradient_norm": "norm of the gradient", "update_norm": "norm of an epoch's change"}
MANY = 8  # lines in a legend; image columns of hidden units
GRID = 300  # points along each side of a decision region
REACH = 4.0  # activations are drawn from -REACH to REACH
SLOPE = 0.25  # initial value of trainable slopes


def plot_history(history, path=None):
    """Plot the loss curves of an MLP's ``history``, and the norms of each layer if it was fitted with ``monitor=True``.

    Parameters
    ----------
    history : dict of lists, or list of these
        ``MLP.history`` of at least one epoch. Of several, such as those of the ``members_`` of an estimator, only the
        loss curves are plotted, in one colour for all training losses and one for all validation losses.
    path : str or Path, default=None
        File to save the figure to.

    Returns
    -------
    matplotlib.figure.Figure
    """
    histories = list(history) if is_listing(history) else [history]
    for each in histories:
        if not isinstance(each, dict):
            raise TypeError(
                f"history must be a dict of lists like MLP.history, or a list of these, got {type(each).__name__}."
            )
    losses = {}
    for each in histories:
        for name, curve in curves(each).items():
            losses.setdefault(name, []).append(curve)
    if not losses:
        raise ValueError("history has no epochs yet: call fit first.")
    norms = [name for name in LAYER_NORMS if len(histories) == 1 and histories[0].get(name)]
    figure = new_figure((7 if not norms else 4.5 * (1 + len(norms)), 4.5))
    loss_axes, *norm_axes = figure.subplots(1, 1 + len(norms), squeeze=False)[0]
    for number, (name, found) in enumerate(losses.items()):
        plot_alike(loss_axes, [range(1, len(curve) + 1) for curve in found], found, number, name.replace("_", " "))
    loss_axes.set_ylabel("loss")
    log_scale_if_positive(loss_axes, [curve for found in losses.values() for curve in found])
    for axes, name in zip(norm_axes, norms):
        by_layer = np.array(histories[0][name]).T
        plot_layers(axes, by_layer, colormap("viridis")(np.linspace(0, 0.9, len(by_layer))))
        axes.set_ylabel(LAYER_NORMS[name])
    for axes in (loss_axes, *norm_axes):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return _saved(figure, path)


def plot_alike(axes, epochs, curves, number, label):
    """Plot curves of several networks in one colour, the one with this number in the cycle; one entry in the legend."""
    style = {"color": f"C{number}", **({"alpha": 0.6, "linewidth": 1} if len(curves) > 1 else {})}
    for x, curve in zip(epochs, curves):
        axes.plot(x, curve, label=label, marker="o" if len(curve) == 1 else "", **style)
        label = None


def plot_layers(axes, norms, colours):
    """Plot a line for each layer. If there are many, the legend names only the first and the last."""
    for layer, (curve, colour) in enumerate(zip(norms, colours), 1):
        named = len(norms) <= MANY or layer in (1, len(norms))
        axes.plot(range(1, len(curve) + 1), curve, color=colour, label=f"layer {layer}" if named else None)
    log_scale_if_positive(axes, norms)


def plot_decision_boundary(model, X, y, path=None, axes=None):
    """Plot the decision regions of a classifier of two inputs, with the samples as points.

    Parameters
    ----------
    model : MLP, or any classifier with a ``predict`` that gives labels
        For an MLP with one output, the predicted class is the label nearest to the output.
    X : array-like of shape (n_samples, 2)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels; for an MLP, targets as for its ``fit``.
    path : str or Path, default=None
        File to save the figure to.
    axes : matplotlib Axes, default=None

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not hasattr(model, "predict"):
        raise TypeError(f"model must be an MLP or another classifier, got {type(model).__name__}.")
    given, names = X, get_feature_names(X)
    X, y = np.asarray(as_numbers(X, "X"), dtype=float), np.asarray(as_labels(y, "y"))
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(
            f"X must have the shape (n_samples, 2), because the plot shows the plane of two inputs; got {X.shape}."
        )
    if y.ndim == 0 or len(y) != len(X):
        raise ValueError(f"X has {len(X)} samples, y has {len(y) if y.ndim else 'none'}.")
    y = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()
    axes = _axes_or_new(axes)
    margin = 0.1 * np.ptp(X, axis=0) + 1e-9
    (left, bottom), (right, top) = X.min(axis=0) - margin, X.max(axis=0) + margin
    columns = np.meshgrid(np.linspace(left, right, GRID), np.linspace(bottom, top, GRID))
    columns = [column.ravel() for column in columns]
    grid = np.column_stack(columns)
    if names is not None:  # the model checks them
        library = nw.from_native(given).implementation
        grid = nw.from_dict(dict(zip(names, columns)), backend=library).to_native()
    seen = _labels(model, grid, y)
    labels, numbers = np.unique(np.concatenate([seen, y]), return_inverse=True)
    colours = _class_colours(len(labels))
    regions = colours[numbers[: len(seen)]].reshape(GRID, GRID, -1)
    axes.imshow(regions, extent=(left, right, bottom, top), origin="lower", aspect="auto", alpha=0.35)
    for label, colour in zip(labels, colours):
        chosen = y == label
        axes.scatter(*X[chosen].T, s=18, color=colour, edgecolor="black", linewidth=0.4, label=str(label))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1)
    return _saved(axes.figure, path)


def _labels(model, X, y):
    """Predicted labels, among those in y for an MLP with one output."""
    outputs = model.predict(X)
    if not isinstance(model, MLP):
        return outputs
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    labels = np.unique(y)
    return labels[abs(outputs - labels).argmin(axis=1)]


def plot_hidden_weights(model, image_shape, path=None, axes=None):
    """Plot the weights of each unit of the first layer as an image, for inputs that are images; red is positive.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor with weights
    image_shape : (height, width)
        Shape of the input images; height x width must be the number of inputs.
    path : str or Path, default=None
        File to save the figure to.
    axes : sequence of matplotlib Axes, default=None
        One for each unit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not isinstance(model, (MLP, BaseMLP)):
        raise TypeError(f"model must be an MLP, MLPClassifier or MLPRegressor, got {type(model).__name__}.")
    weights = np.asarray(model.weights[0] if isinstance(model, MLP) else model.coefs_[0])
    n_inputs, n_units = weights.shape
    if (
        not is_listing(image_shape)
        or not all(isinstance(n, Integral) for n in image_shape)
        or len(image_shape) != 2
        or np.prod(image_shape) != n_inputs
    ):
        raise ValueError(
            f"image_shape must be (height, width) with height x width = {n_inputs}, the number of inputs, "
            f"got {image_shape}."
        )
    if axes is None:
        columns = min(n_units, MANY)
        rows = -(-n_units // columns)
        axes = new_figure((1.5 * columns, 1.6 * rows)).subplots(rows, columns, squeeze=False).ravel()
    if not is_listing(axes) or not all(hasattr(each, "imshow") for each in axes):
        raise TypeError(f"axes must be a list of matplotlib Axes, got {axes!r}.")
    if len(axes) < n_units:
        raise ValueError(f"axes must hold one for each of {n_units} units, got {len(axes)}.")
    largest = abs(weights).max() or 1.0
    for unit, image in enumerate(weights.T):
        axes[unit].imshow(image.reshape(image_shape), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes[unit].set_title(f"unit {unit + 1}", fontsize="small")
    for each in axes:
        each.set_axis_off()
    return _saved(axes[0].figure, path)


def plot_activation(activation, path=None, axes=None):
    """Plot an activation and its derivative.

    Parameters
    ----------
    activation : str or (function, derivative)
        A name of the table ACTIVATIONS other than 'softmax', or a custom pair of functions of z, a number. A trainable
        slope is drawn with its initial value, 1/4.
    path : str or Path, default=None
        File to save the figure to.
    axes : matplotlib Axes, default=None

    Returns
    -------
    matplotlib.figure.Figure
    """
    chosen = check_activation(activation)
    name, row = (chosen, ACTIVATIONS[chosen]) if isinstance(chosen, str) else (chosen.function.__name__, chosen)
    if row.rowwise:
        raise ValueError(f"{name!r} is a function of all units, not of one z: it has no curve.")
    slope = (SLOPE,) if row.trainable else ()
    z = np.linspace(-REACH, REACH, 401)
    outputs = [row.function(float(at), *slope) for at in z]
    derivatives = [row.derivative(float(at), *slope) for at in (z if row.of_input else outputs)]
    axes = _axes_or_new(axes)
    axes.plot(z, outputs, label=name)
    axes.plot(z, derivatives, "--", label="derivative")
    seen = np.clip([outputs, derivatives], -REACH, REACH)  # so that 'exp' does not hide the rest
    axes.set_ylim(seen.min() - 0.2, seen.max() + 0.2)
    axes.set_xlabel("z")
    axes.grid(alpha=0.3)
    axes.legend()
    return _saved(axes.figure, path)


def new_figure(size):
    with from_extra("plot", "plots need matplotlib"):
        from matplotlib.figure import Figure
    return Figure(figsize=size, layout="constrained")  # not pyplot: no window, nothing to close


def _axes_or_new(axes):
    if axes is None:
        return new_figure((5.5, 4)).subplots()
    if not hasattr(axes, "imshow"):
        raise TypeError(f"axes must be matplotlib Axes, got {type(axes).__name__}.")
    return axes


def _saved(figure, path):
    """Save a figure, if there is a path or an open file. The name of a file without a suffix gets one."""
    if hasattr(path, "write"):
        figure.savefig(path, dpi=120)
    elif path is not None:
        path, content = path_text(path), io.BytesIO()
        kind = os.path.splitext(path)[1][1:] or figure.canvas.get_default_filetype()
        figure.savefig(content, format=kind, dpi=120)
        write_whole(path if path.endswith(f".{kind}") else f"{path.rstrip('.')}.{kind}", content.getvalue())
    return figure


def colormap(name):
    from matplotlib import colormaps

    return colormaps[name]


def _class_colours(n):
    """Colours of n classes: ten that are easy to tell apart, or else hues."""
    return colormap("tab10")(np.arange(n)) if n <= 10 else colormap("hsv")(np.linspace(0, 0.95, n))


def log_scale_if_positive(axes, lines):
    if all(np.nanmin(line) > 0 for line in lines):
        axes.set_yscale("log")
