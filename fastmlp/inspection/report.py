"""A training report in one HTML file. Needs the extra ``plot``."""

from __future__ import annotations

from collections import Counter
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.tabular.base import BaseTabular
from fastmlp.extras import from_extra
from fastmlp.io.atomic import check_destination, write_whole
from fastmlp.model.activations import name_of
from fastmlp.model.inputs import PiecewiseLinear
from fastmlp.model.mlp import MLP
from fastmlp.training.full_batch import is_full_batch
from fastmlp.training.history import layer_norms
from fastmlp.typing import ArrayLike, StrPath
from fastmlp.validation.arrays import as_labels
from fastmlp.validation.checks import check_real

from . import figures

MOST_CLASSES = 30  # in a confusion matrix; with more, the largest confusions are listed
CONFUSIONS = 20
MOST_COLUMNS = 300  # of a table
MOST_OUTPUTS = 4  # with figures of their own
LARGEST = 1e100  # larger numbers count as infinite: their squares overflow, and they cannot be drawn


class Panel(NamedTuple):
    """Curves for one figure: {name: values of the last epochs of each network}, the number of epochs, and the best."""

    title: str
    curves: dict[str, list[list[float]]]
    n_epochs: int
    best: int | None = None


def training_report(
    path: StrPath,
    model: MLP | BaseMLP | BaseTabular,
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    title: str | None = None,
    seconds: float | None = None,
    speeds: dict[str, float] | None = None,
) -> None:
    """Write an HTML report with learning curves, predictions against true values, layers, and speed.

    The file is self-contained and has no scripts.

    Parameters
    ----------
    path : str or Path
        The HTML file. An existing file is replaced only by a complete one.
    model : MLP, MLPClassifier, MLPRegressor, TabularMLPClassifier or TabularMLPRegressor with weights
        After ``MLP.fit(..., monitor=True)`` the report shows norms of gradients and updates by layer and epoch. Of an
        estimator for tables it shows what was made of the columns, the curves of all members, and the layers of the
        first one.
    truth, predicted : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True and predicted targets of samples not used for training, in original units: labels, 0 and 1 for each of
        several labels, or numbers. The report shows a confusion matrix for classifiers and for an MLP with a
        classification loss, and residuals otherwise.
    title : str, default=None
        Heading; None takes the name of the model's class.
    seconds : float, default=None
        Training time.
    speeds : dict {str: float}, default=None
        Samples per second by backend, or any other rates to compare.

    Raises
    ------
    TypeError, ValueError
        For any other model or one without weights, and if truth and predicted do not match.
    ImportError
        If matplotlib or Jinja2 is not installed.
    OSError
        If the file cannot be written.
    """
    check_destination(path)
    page = template()
    if not isinstance(model, (MLP, BaseMLP, BaseTabular)):
        raise TypeError(
            "model must be an MLP, MLPClassifier, MLPRegressor, TabularMLPClassifier or TabularMLPRegressor, got "
            f"{type(model).__name__}."
        )
    if isinstance(model, BaseTabular):
        check_is_fitted(model)
    if isinstance(model, (MLP, BaseTabular)):
        first = _networks(model)[0]
        network, parameters = first.network, first.parameters
    else:
        check_is_fitted(model)
        network, parameters = model._net.network, model._net.current_parameters()
    truth, predicted = (_column_or_matrix(name, given) for name, given in (("truth", truth), ("predicted", predicted)))
    seconds = None if seconds is None else check_real("seconds", seconds, 0)
    speeds = {} if speeds is None else speeds
    if not isinstance(speeds, dict) or not all(isinstance(rate, Real) for rate in speeds.values()):
        raise TypeError(f"speeds must be a dict of numbers, got {speeds!r}.")
    title = type(model).__name__ if title is None else str(title)
    if truth.shape != predicted.shape or not len(truth):
        raise ValueError(
            f"truth and predicted must have one shape and not be empty, got {truth.shape} and {predicted.shape}."
        )
    decides = model._is_classifier() if isinstance(model, MLP) else is_classifier(model)
    found = _classes(truth, predicted) if decides else _numbers(truth, predicted)
    numbers, facts = _facts(model, network, seconds)
    curves = [figures.curves(panel, number) for number, panel in enumerate(_panels(model))]
    content = page.render(
        title=title, headline=found.pop("headline") + numbers, facts=facts, curves=curves,
        **_columns(model),
        layers=_layers(network, parameters), norms=figures.norms(model.history) if _monitored(model) else [],
        speeds=_speeds(speeds), **found,
    )  # fmt: skip
    write_whole(path, content.encode())


def template():
    """The template of the page; ImportError if Jinja2 or matplotlib is not installed."""
    with from_extra("plot", "reports need Jinja2 and matplotlib"):
        import matplotlib  # noqa: F401 - for the figures
        from jinja2 import Environment, PackageLoader
    environment = Environment(loader=PackageLoader("fastmlp", "inspection"), autoescape=True, trim_blocks=True)
    environment.filters |= {"number": _number, "short": figures.shortened}
    return environment.get_template("report.html")


def _number(value):
    """A number for display: a few digits, with thousands separators."""
    if isinstance(value, float) and not np.isfinite(value):
        return "-"
    if isinstance(value, (int, np.integer)) or 1e4 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _column_or_matrix(name, given):
    given = as_labels(given, name)
    try:
        array = given.toarray() if issparse(given) else np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length.") from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must have one or two dimensions, got the shape {array.shape}.")
    return array


def _monitored(model):
    return isinstance(model, MLP) and bool(model.history.get("update_norm"))


def _networks(model):
    """The trained MLPs of an MLP or of an estimator for tables."""
    return model.members_ if isinstance(model, BaseTabular) else [model]


def _facts(model, network, seconds):
    """Pairs (name, text): the numbers at the top of the page, and the facts about the training."""
    if isinstance(model, BaseMLP):
        epochs, backend, reason = model.n_iter_, model.backend_, model.backend_reason_
        more, full_batch = [("loss", name_of(network.loss))], is_full_batch(model.solver)
    else:
        trained = _networks(model)
        first, epochs = trained[0], max(each.epoch for each in trained)
        full_batch, backend, reason = is_full_batch(first.optimizer), first.backend, first.backend_reason_
        more = [("loss", name_of(first.loss)), ("optimizer", first.optimizer if full_batch else first.optimizer.name)]
        if not full_batch:
            more.append(("learning rate", _number(first.optimizer.learning_rate)))
        more += [("interrupted by Ctrl-C", "yes")] if any(each.interrupted for each in trained) else []
    if not isinstance(model, MLP):
        more.append(("estimator", " ".join(repr(model).split())))
    numbers = [("iterations" if full_batch else "epochs", epochs), ("weights and biases", network.n_parameters)]
    if isinstance(model, BaseTabular):
        numbers = [("members", len(model.members_)), *numbers]
        more.append(("variants of the recipe", _variants(model.members_)))
        if hasattr(model, "score_"):
            more.append(("out-of-fold score", _number(model.score_)))
    numbers += [] if seconds is None else [("training seconds", seconds)]
    return [(name, _number(value)) for name, value in numbers], [*more, ("backend", f"{backend}: {reason}")]


def _variants(members):
    """How the members of a table estimator differ, and the number of each kind."""
    counts = Counter()
    for member in members:
        coded = any(isinstance(one, PiecewiseLinear) for one in member.inputs)
        numbers = "piecewise-linear codes of numbers" if coded else "scaled numbers"
        counts[f"{numbers} with dropout {_number(member.layers[0].dropout)}"] += 1
    return ", ".join(f"{count} x {text}" for text, count in counts.items())


def _columns(model):
    """What was made of the columns of a table, and how many more there are than the page shows."""
    columns = model.encoder_.describe() if isinstance(model, BaseTabular) else []
    return {"columns": columns[:MOST_COLUMNS], "more_columns": len(columns[MOST_COLUMNS:])}


def _layers(network, parameters):
    """A dict for each layer of weights."""
    norms = layer_norms(network, parameters)
    sizes = [(block.fan_in + 1) * block.fan_out + block.n_slopes for block in network.blocks]
    return [
        {"units": units, "activation": name_of(activation), "parameters": size, "norm": norm}
        for units, activation, size, norm in zip(network.sizes[1:], network.activations, sizes, norms)
    ]


def _panels(model):
    """The Panels of a fitted model; none if it has no epochs."""
    if isinstance(model, BaseMLP):
        groups, n_epochs, best = _curves_of_estimator(model)
    else:
        groups, n_epochs, best = _curves_of_networks(_networks(model))
    kept = {
        title: {name: found for name, all_found in curves.items() if (found := [each for each in all_found if each])}
        for title, curves in groups.items()
    }
    return [Panel(title, curves, n_epochs, best) for title, curves in kept.items() if curves]


def _curves_of_networks(networks):
    """({title: {name: curves of all networks}}, number of epochs, best epoch of a single network)."""
    groups, n_epochs = {"loss": {"training": []}}, max(len(each.history["loss"]) for each in networks)
    for each in networks:
        history = each.history
        n_own = len(history["loss"])
        # As long as the longest: a network may have been trained for fewer epochs, the last without validation data.
        groups["loss"]["training"].append(history["loss"] + [np.nan] * (n_epochs - n_own) if n_own else [])
        for name, values in history.items():
            if name.startswith("validation_") and values:
                curves = groups.setdefault(name.removeprefix("validation_"), {})
                curves.setdefault("validation", []).append(values + [np.nan] * (n_epochs - len(values)))
    return groups, n_epochs, networks[0].best_epoch if len(networks) == 1 else None


def _curves_of_estimator(model):
    """The same for an MLPClassifier or MLPRegressor."""
    losses, others = {"training": [getattr(model, "loss_curve_", [])]}, {}
    for name, scores in getattr(model, "evals_result_", {}).items():
        for metric, values in scores.items():
            others.setdefault(metric, {})[name] = [values]
    watched = getattr(model, "validation_scores_", None) or []
    if watched and not others:
        others["validation score"] = {"validation": [watched]}
    elif watched:
        watched = watched[-model.n_iter_ :]  # earlier fits may have used another score
    n_epochs, best = len(losses["training"][0]), None
    if watched and np.isfinite(watched).any():
        best = n_epochs - len(watched) + int(np.nanargmax(watched)) + 1
    return {"loss": losses, **others}, n_epochs, best


def _classes(truth, predicted):
    """Content of the page for labels. Raises ValueError if those of truth and predicted are of different kinds."""
    try:
        labels = unique_labels(truth, predicted)
    except ValueError as error:
        raise ValueError(f"truth and predicted must be labels of the same kind: {error}") from error
    if truth.ndim == 2:
        names = [f"label {number}" for number in range(truth.shape[1])]
        scores = metrics.precision_recall_fscore_support(truth, predicted, average=None, zero_division=np.nan)
        headline = [("samples with all labels correct", _number(metrics.accuracy_score(truth, predicted)))]
        return {"headline": headline, "scores": _scores(names, *scores)}
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
    return {"head": ["", "precision", "recall", "F1", "samples"], "rows": list(rows)}


def _numbers(truth, predicted):
    """Content of the page for numbers."""
    for name, array in (("truth", truth), ("predicted", predicted)):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be numbers for a model that predicts numbers, got {array.dtype}.")
    truth, predicted = (array.reshape(len(array), -1).astype(float) for array in (truth, predicted))
    rows, pictures = [], []
    for output, (t, p) in enumerate(zip(truth.T, predicted.T)):
        name = f"output {output}" if truth.shape[1] > 1 else "all samples"
        finite = (np.abs(t) < LARGEST) & (np.abs(p) < LARGEST)
        t, p, lost = t[finite], p[finite], int((~finite).sum())
        r2 = metrics.r2_score(t, p) if len(t) > 1 else np.nan
        errors = (metrics.root_mean_squared_error(t, p), metrics.mean_absolute_error(t, p)) if len(t) else [np.nan] * 2
        rows.append((name, [float(r2), *map(float, errors), len(t), lost]))
        if output < MOST_OUTPUTS and len(t):
            pictures += figures.residuals(t, p, name, output)
    scores = {"head": ["", "r²", "RMSE", "MAE", "samples", "not finite"], "rows": rows}
    r2 = np.mean([values[0] for _, values in rows])
    return {"headline": [("r²", _number(float(r2)))], "scores": scores, "pictures": pictures}


def _speeds(speeds):
    """(name, samples per second, fraction of the largest) of each."""
    known = {name: rate for name, rate in speeds.items() if np.isfinite(rate) and rate > 0}
    return [(name, rate, rate / max(known.values())) for name, rate in known.items()]
