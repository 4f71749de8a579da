"""Export of a model as a Python module that needs only NumPy."""

from __future__ import annotations

import base64

import numpy as np

from fastmlp import __version__
from fastmlp.io.atomic import write_whole
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import StrPath

from .expressions import expression, numpy_helper
from .input_stage import numpy_stage
from .network import exportable

HEAD = '''"""{model}, written by fastmlp {version}. It needs only NumPy.{inputs}

outputs(X) returns the outputs of the last layer, of shape (n_samples, {n_outputs}), for X of shape (n_samples,
{n_inputs}); predict(X) returns the same as the model's predict.
"""

import base64{math}

import numpy as np


def array(text, code, *shape):
    return np.frombuffer(base64.b85decode(text), code).reshape(shape)

'''


def to_numpy_source(model: HasPredictionNetwork, path: StrPath | None = None) -> str:
    """Export a model as a Python module with the functions ``outputs(X)`` and ``predict(X)``.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, or a model of the command line
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
    model = exportable(model)
    text = _text(model)
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
    return "".join([head, *arrays, *helpers, outputs, _predict(model)])


def network_source(model, prefix=""):
    """(definitions of arrays, helper functions, statements that return the outputs from ``a0``).

    The names of arrays begin with ``prefix``.
    """
    arrays, helpers, stage = numpy_stage(model, packed, prefix)
    lines = [stage]
    for number, layer in enumerate(model.layers):
        helpers.append(numpy_helper(layer.activation))
        W, b, slope = (f"{prefix}{what}{number}" for what in ("W", "b", "slope"))
        arrays += [f"{W} = {packed(layer.W)}\n", f"{b} = {packed(layer.b)}\n"]
        below = [f"a{source}" for source in layer.sources]
        given = below[0] if len(below) == 1 else f"np.hstack([{', '.join(below)}])"
        added = "" if layer.added is None else f" + a{layer.added}"
        lines.append(f"    z = {given} @ {W} + {b}{added}\n")
        if layer.slopes.size:
            arrays.append(f"{slope} = {packed(layer.slopes)}\n")
            lines.append(f"    slope = {slope}\n")
        lines.append(f"    a{number + 1} = {expression(layer.activation, 'numpy')}\n")
    lines.append(f"    return a{len(model.layers)}\n")
    return arrays, list(dict.fromkeys(helpers)), "".join(lines)


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
    labels = np.resize(model.classes, max(len(model.classes), 2))  # there may be only one
    kind = "object" if labels.dtype.kind == "O" else labels.dtype.str
    classes = f"np.array({labels.tolist()!r}, {kind!r})"
    return f"\n\nclasses = {classes}\n\n\ndef predict(X):\n    return classes[{number}]\n"


def packed(values):
    """The call that decodes the array."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    shape = ", ".join(map(str, values.shape))
    return f"array({base64.b85encode(values.tobytes()).decode()!r}, '<{values.dtype.str[1:]}', {shape})"
