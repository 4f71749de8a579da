"""Export of a model as a single C99 file, for machines without Python: no allocation, no library but libm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import issparse

from fastmlp.io.atomic import write_whole
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import ArrayLike, StrPath
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import check_flags

from .c_file import LARGEST, N_TESTS, Interface, file_text
from .c_network import accumulate_source, array, float_literal, in_comment, network_source, rounded
from .c_table import table_text
from .network import exportable
from .preprocessing import table_predictor

if TYPE_CHECKING:
    from fastmlp.estimators.tabular.base import BaseTabular


def to_c(
    model: HasPredictionNetwork | BaseTabular,
    path: StrPath | None = None,
    *,
    name: str = "model",
    int8: bool = False,
    test_inputs: ArrayLike | None = None,
) -> str:
    """Export a model as a single C99 file that computes in float32.

    The function ``name_predict(x, outputs)`` computes the outputs of the last layer. For classifiers, other than
    multilabel ones, ``name_class(x)`` returns the index of the predicted class; a comment lists the class labels.

    For TabularMLPClassifier and TabularMLPRegressor these are ``name_predict(row, outputs)`` and ``name_class(row)``,
    where the row is a struct with a member for each column that is used: double for numbers (of durations, seconds),
    booleans (1 or 0) and dates (seconds since 1970-01-01 in UTC), where NAN is missing; int for strings and categories,
    whose codes ``name_lookup_<column>(text)`` returns, also for NULL, a missing one. The outputs are class
    probabilities, or predictions in the units of y.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, a table estimator, or a model of the command line
        A fitted model.
    path : str or Path, default=None
        File to write; None writes none.
    name : str, default='model'
        Prefix of all names in the file: letters, digits and underscores.
    int8 : bool, default=False
        Whether to quantize weights to 8-bit integers with a scale for each unit, a quarter of the size. A comment in
        the file gives the largest error of the outputs on the samples of the self-test, relative to 1 + |output|.
    test_inputs : array-like of shape (n_samples, n_inputs), or a table, default=None
        Inputs for the self-test, preferably real data; None draws random ones.

    Returns
    -------
    str
        The content of the file.

    Raises
    ------
    ValueError
        For a name that is not valid in C, ``test_inputs`` of the wrong shape, numbers too large for float32, and for
        models that cannot be exported (see ``fastmlp.export.network.exportable``).
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
        raise ValueError(f"name must be a name in C (letters, digits and underscores, no digit first), got {name!r}.")
    (int8,) = check_flags(int8=int8)
    predictor = table_predictor(model)
    if predictor is None:
        text = _text(exportable(model), model, name, int8, test_inputs)
    else:
        cells = None if test_inputs is None else predictor.encoder.cells_of(test_inputs)
        text = table_text(predictor, name, int8, cells)
    if path is not None:
        write_whole(path, text.encode())
    return text


def _checked_inputs(X, model, exact):
    """The inputs for the self-test in float32."""
    n_inputs = exact.network.n_columns
    if X is None:
        X = exact.sample(N_TESTS)
    else:
        model.check_feature_names(X)
        X = as_numbers(X, "test_inputs")
    X = np.asarray(X.toarray() if issparse(X) else X, np.float32)
    if X.ndim != 2 or X.shape[1] != n_inputs or not len(X) or not np.isfinite(X).all():
        raise ValueError(
            f"test_inputs must be finite numbers of shape (n_samples, {n_inputs}), got an array of {X.shape}."
        )
    return X


def _text(exact, model, name, int8, test_inputs):
    X = _checked_inputs(test_inputs, model, exact)
    found = rounded([exact], X, int8)
    n_inputs = exact.network.n_columns
    argument = f"const float x[{n_inputs}]"
    interface = Interface(name, exact.sizes[-1], argument, "x", "float", f"[{n_inputs}]", "")
    signature = f"void {name}_predict({argument}, float outputs[{interface.n_outputs}])"
    notes = "" if exact.inputs is None else f"   Inputs: {in_comment([column for column, *_ in exact.inputs])}.\n"
    body = accumulate_source(name, int8) + network_source(exact, found.scales[0], name, signature, f"{name}_accumulate")
    return file_text(interface, exact, notes, "", body, exact.classes, _choice(exact), array(X), found)


def _choice(model):
    """Statements that return the number of the class, or '' for models without one."""
    if model.kind not in ("binary", "multiclass"):
        return ""
    if len(model.classes) == 1:
        return "    return 0;\n"
    low, high = model.targets or (0, 1)
    return LARGEST if model.kind == "multiclass" else f"    return outputs[0] > {float_literal((low + high) / 2)};\n"
