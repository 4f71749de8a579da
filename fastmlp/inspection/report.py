"""A page about a training, all in one HTML file. Needs the extra ``plot``."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import BaseMLP
from fastmlp.extras import from_extra
from fastmlp.io.atomic import check_destination, write_whole
from fastmlp.model.activations import name_of
from fastmlp.model.mlp import MLP
from fastmlp.training.history import layer_norms
from fastmlp.typing import ArrayLike, StrPath
from fastmlp.validation.checks import check_real

from . import figures

MOST_CLASSES = 30  # of a matrix that can be read; of more the largest confusions are listed
CONFUSIONS = 20
MOST_OUTPUTS = 4  # with pictures of their own
LARGEST = 1e100  # larger numbers count as infinite: their squares are, and there is no picture of them


class Panel(NamedTuple):
    """Curves that belong together: {name: values of the last of n_epochs}; the epoch that was kept, or None."""

    title: str
    curves: dict[str, list[float]]
    n_epochs: int
    best: int | None = None


def training_report(
    path: StrPath,
    model: MLP | BaseMLP,
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    title: str | None = None,
    seconds: float | None = None,
    speeds: dict[str, float] | None = None,
) -> None:
    """Write a page with curves, what was predicted beside what is true, the layers, and speed.

    It asks for nothing else when it is opened, and runs no code.

    Parameters
    ----------
    path : str or path
        The HTML file. An old one stays until the new one is complete.
    model : MLP, MLPClassifier or MLPRegressor with weights
        After ``MLP.fit(..., monitor=True)`` the page has norms of gradients and updates by layer and epoch.
    truth, predicted : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Rows that were not learned from, in their own terms: labels, 0 and 1 for each of several labels, or numbers.
        For a classifier, or an MLP with a loss of classes, the page counts confusions; otherwise it draws residuals.
    title : str, default=None
    seconds : float, default=None
        How long the training took.
    speeds : dict {str: float}, default=None
        Rows per second of backends, or whatever else is to be compared.

    Raises
    ------
    TypeError, ValueError
        For another kind of model, one without weights, and arrays that do not belong together.
    ImportError
        Without matplotlib and Jinja2.
    OSError
        If the file cannot be written.
    """
    check_destination(path)
    page = template()
    if not isinstance(model, (MLP, BaseMLP)):
        raise TypeError(f"model must be an MLP, MLPClassifier or MLPRegressor, got {type(model).__name__}.")
    if isinstance(model, MLP):
        network, parameters = model.network, model.parameters
    else:
        check_is_fitted(model)
        network, parameters = model._net.network, model._net.current_parameters()
    truth, predicted = (_column_or_matrix(name, given) for name, given in (("truth", truth), ("predicted", predicted)))
    seconds = None if seconds is None else check_real("seconds", seconds, 0)
    speeds = {} if speeds is None else speeds
    if not isinstance(speeds, dict) or not all(isinstance(rate, Real) for rate in speeds.values()):
        raise TypeError(f"speeds must be a dict of numbers, got {speeds!r}.")
    title = type(model).__name__ if title is None else str(title)
    check_consistent_length(truth, predicted)
    if truth.shape != predicted.shape or not len(truth):
        raise ValueError(f"truth and predicted must be rows of one shape, got {truth.shape} and {predicted.shape}.")
    decides = model._is_classifier() if isinstance(model, MLP) else is_classifier(model)
    found = _classes(truth, predicted) if decides else _numbers(truth, predicted)
    numbers, facts = _facts(model, network, seconds)
    curves = [figures.curves(panel, number) for number, panel in enumerate(_panels(model))]
    content = page.render(
        title=title, headline=found.pop("headline") + numbers, facts=facts, curves=curves,
        layers=_layers(network, parameters), norms=figures.norms(model.history) if _monitored(model) else [],
        speeds=_speeds(speeds), **found,
    )  # fmt: skip
    write_whole(path, content.encode())


def template():
    """The page's; ImportError without Jinja2, or matplotlib."""
    with from_extra("plot", "reports need Jinja2 and matplotlib"):
        import matplotlib  # noqa: F401 - for the figures
        from jinja2 import Environment, PackageLoader
    environment = Environment(loader=PackageLoader("fastmlp", "inspection"), autoescape=True, trim_blocks=True)
    environment.filters |= {"number": _number, "short": figures.shortened}
    return environment.get_template("report.html")


def _number(value):
    """For people: a few digits, thousands apart."""
    if isinstance(value, float) and not np.isfinite(value):
        return "-"
    if isinstance(value, (int, np.integer)) or 1e4 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _column_or_matrix(name, given):
    array = given.toarray() if issparse(given) else np.asarray(given)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have one or two dimensions, its shape is {array.shape}.")
    return array


def _monitored(model):
    return isinstance(model, MLP) and bool(model.history.get("update_norm"))


def _facts(model, network, seconds):
    """(name, text) of numbers for the head of the page, and of how the model was trained."""
    if isinstance(model, MLP):
        optimizer = model.optimizer if model.optimizer == "lbfgs" else model.optimizer.name
        epochs, backend, reason = model.epoch, model.backend, model.backend_reason_
        more = [("loss", name_of(model.loss)), ("optimizer", optimizer)]
        if model.optimizer != "lbfgs":
            more.append(("learning rate", _number(model.optimizer.learning_rate)))
        more += [("interrupted by Ctrl-C", "yes")] if model.interrupted else []
    else:
        epochs, backend, reason = model.n_iter_, model.backend_, model.backend_reason_
        more = [("loss", name_of(network.loss)), ("parameters that were set", " ".join(repr(model).split()))]
    by_lbfgs = (model.optimizer if isinstance(model, MLP) else model.solver) == "lbfgs"
    numbers = [("iterations" if by_lbfgs else "epochs", epochs), ("weights and biases", network.n_parameters)]
    numbers += [] if seconds is None else [("seconds of training", seconds)]
    return [(name, _number(value)) for name, value in numbers], [*more, ("backend", f"{backend}: {reason}")]


def _layers(network, parameters):
    """A dict for each layer of weights."""
    norms = layer_norms(network, parameters)
    sizes = [(block.fan_in + 1) * block.fan_out + block.n_slopes for block in network.blocks]
    return [
        {"units": units, "activation": name_of(activation), "parameters": size, "norm": norm}
        for units, activation, size, norm in zip(network.sizes[1:], network.activations, sizes, norms)
    ]


def _panels(model):
    """The Panels of what a fit left behind, none where there are no epochs."""
    if isinstance(model, MLP):
        history = {name: values for name, values in model.history.items() if name.startswith("validation_")}
        losses = {"training": model.history["loss"], "validation": history.pop("validation_loss", [])}
        others = {name.removeprefix("validation_"): {"validation": values} for name, values in history.items()}
        n_epochs, best = len(losses["training"]), model.best_epoch
        for curve in (losses, *others.values()):  # the last epochs may have been without
            if curve.get("validation"):
                curve["validation"] = curve["validation"] + [np.nan] * (n_epochs - len(curve["validation"]))
    else:
        losses, others = {"training": getattr(model, "loss_curve_", [])}, {}
        for name, scores in getattr(model, "evals_result_", {}).items():
            for metric, values in scores.items():
                others.setdefault(metric, {})[name] = values
        watched = getattr(model, "validation_scores_", None) or []
        if watched and not others:
            others["validation score"] = {"rows held out": watched}
        elif watched:
            watched = watched[-model.n_iter_ :]  # earlier fits may have watched something else
        n_epochs, best = len(losses["training"]), None
        if watched and np.isfinite(watched).any():
            best = n_epochs - len(watched) + int(np.nanargmax(watched)) + 1
    groups = {"loss": losses, **others}
    kept = {title: {name: values for name, values in curves.items() if values} for title, curves in groups.items()}
    return [Panel(title, curves, n_epochs, best) for title, curves in kept.items() if curves]


def _classes(truth, predicted):
    """What the page says of labels."""
    if truth.ndim == 2:
        names = [f"label {number}" for number in range(truth.shape[1])]
        scores = metrics.precision_recall_fscore_support(truth, predicted, average=None, zero_division=np.nan)
        headline = [("rows with all labels right", _number(metrics.accuracy_score(truth, predicted)))]
        return {"headline": headline, "scores": _scores(names, *scores)}
    labels = unique_labels(truth, predicted)
    counts = metrics.confusion_matrix(truth, predicted, labels=labels)
    names = [str(label) for label in labels]
    found = {
        "headline": [("accuracy", _number(metrics.accuracy_score(truth, predicted)))],
        "scores": _scores(
            names, *metrics.precision_recall_fscore_support(
                truth, predicted, labels=labels, average=None, zero_division=np.nan
            )
        ),
    }  # fmt: skip
    if len(labels) <= MOST_CLASSES:
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        found["matrix"] = {"names": names, "rows": [list(zip(*row)) for row in zip(counts.tolist(), shares.tolist())]}
    else:
        wrong = counts - np.diag(np.diag(counts))
        places = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
        pairs = zip(*np.unravel_index(places, wrong.shape))
        found["confusions"] = [(names[i], names[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
    return found


def _scores(names, precision, recall, f1, support):
    rows = zip(names, zip(*(column.tolist() for column in (precision, recall, f1, support))))
    return {"head": ["", "precision", "recall", "F1", "rows"], "rows": list(rows)}


def _numbers(truth, predicted):
    """What the page says of quantities."""
    for name, array in (("truth", truth), ("predicted", predicted)):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be numbers, as the model predicts numbers, got {array.dtype}.")
    truth, predicted = (array.reshape(len(array), -1).astype(float) for array in (truth, predicted))
    rows, pictures = [], []
    for output, (t, p) in enumerate(zip(truth.T, predicted.T)):
        name = f"output {output}" if truth.shape[1] > 1 else "all rows"
        finite = (np.abs(t) < LARGEST) & (np.abs(p) < LARGEST)
        t, p, lost = t[finite], p[finite], int((~finite).sum())
        r2 = metrics.r2_score(t, p) if len(t) > 1 else np.nan
        errors = (metrics.root_mean_squared_error(t, p), metrics.mean_absolute_error(t, p)) if len(t) else [np.nan] * 2
        rows.append((name, [float(r2), *map(float, errors), len(t), lost]))
        if output < MOST_OUTPUTS and len(t):
            pictures += figures.residuals(t, p, name, output)
    scores = {"head": ["", "r²", "root of the mean square", "mean absolute", "rows", "not finite"], "rows": rows}
    r2 = np.mean([values[0] for _, values in rows])
    return {"headline": [("r²", _number(float(r2)))], "scores": scores, "pictures": pictures}


def _speeds(speeds):
    """(name, rows per second, share of the largest) of each."""
    known = {name: rate for name, rate in speeds.items() if np.isfinite(rate) and rate > 0}
    return [(name, rate, rate / max(known.values())) for name, rate in known.items()]
