"""Export of a model as a Python module that needs only NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmlp import __version__
from fastmlp.io.atomic import write_whole
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import StrPath

from .network import exportable
from .numpy_network import ARRAY, labels_source, network_source
from .numpy_table import table_source
from .preprocessing import table_predictor

if TYPE_CHECKING:
    from fastmlp.estimators.tabular.base import BaseTabular

HEAD = '''"""{model}, written by fastmlp {version}. It needs only NumPy.{inputs}

outputs(X) returns the outputs of the last layer, of shape (n_samples, {n_outputs}), for X of shape (n_samples,
{n_inputs}); predict(X) returns the same as the model's predict.
"""

import base64{math}

import numpy as np
'''


def to_numpy_source(model: HasPredictionNetwork | BaseTabular, path: StrPath | None = None) -> str:
    """Export a model as a Python module with the functions ``outputs(X)`` and ``predict(X)``.

    The module of TabularMLPClassifier or TabularMLPRegressor has ``predict(table)``, and ``predict_proba(table)`` of a
    classifier. The table is a dict of columns, a frame, a list of rows that are dicts, or an array with the columns of
    ``fit``. Values are numbers (of durations, seconds), booleans, strings, and dates that NumPy converts to datetime64,
    in UTC. Missing values are None or NaN.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, a table estimator, or a model of the command line
        A fitted model.
    path : str or Path, default=None
        File to write; None writes none.

    Returns
    -------
    str
        The source of the module.

    Raises
    ------
    ValueError
        For models that cannot be exported (see ``fastmlp.export.network.exportable``).
    """
    predictor = table_predictor(model)
    text = _text(exportable(model)) if predictor is None else table_source(predictor)
    if path is not None:
        write_whole(path, text.encode())
    return text


def _text(model):
    arrays, helpers, lines = network_source(model)
    head = HEAD.format(
        model=model, version=__version__, inputs=_column_names(model), n_inputs=model.network.n_columns,
        n_outputs=model.sizes[-1], math="\nimport math" if "math." in "".join(helpers) else "",
    )  # fmt: skip
    outputs = f"\n\ndef outputs(X):\n    a0 = np.asarray(X, W0.dtype)\n{lines}"
    return "".join([head, ARRAY, *arrays, *helpers, outputs, _predict(model)])


def _column_names(model):
    """A sentence for the docstring with the names of a table's columns, or ''."""
    if model.inputs is None:
        return ""
    names = ", ".join(ascii(name) for name, *_ in model.inputs)
    return "\n\nInputs: " + names.replace(chr(92), "/").replace('"', "'") + "."


def _predict(model):
    if model.kind in ("outputs", "numbers"):
        made = "outputs(X)[:, 0]" if model.kind == "numbers" and model.sizes[-1] == 1 else "outputs(X)"
        return f"\n\ndef predict(X):\n    return {made}\n"
    low, high = model.targets or (0, 1)
    threshold = (low + high) / 2
    if model.kind == "multilabel":
        return f"\n\ndef predict(X):\n    return (outputs(X) > {threshold!r}).astype(int)\n"
    number = (
        "outputs(X).argmax(axis=1)" if model.kind == "multiclass" else f"(outputs(X)[:, 0] > {threshold!r}).astype(int)"
    )
    return f"\n\nclasses = {labels_source(model.classes)}\n\n\ndef predict(X):\n    return classes[{number}]\n"
