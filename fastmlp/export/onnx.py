"""Export of a model as an ONNX graph, which ONNX Runtime and others run without fastmlp.

Pipelines of scikit-learn are exported by skl2onnx: see ``skl2onnx_converters``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmlp.extras import from_extra
from fastmlp.io.atomic import write_whole
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import StrPath

from .network import exportables
from .onnx_graph import Graph, add_networks
from .onnx_table import table_graph
from .preprocessing import table_predictor

if TYPE_CHECKING:
    import onnx

    from fastmlp.estimators.ensemble import MLPEnsemble
    from fastmlp.estimators.linear import OneLayerClassifier
    from fastmlp.estimators.tabular.base import BaseTabular


def to_onnx(
    model: HasPredictionNetwork | MLPEnsemble | OneLayerClassifier | BaseTabular, path: StrPath | None = None
) -> onnx.ModelProto:
    """Export a model as an ONNX graph (opset 18), in the dtype of its weights.

    The input is ``X`` of shape (n_samples, n_inputs). The outputs depend on the model: ``outputs`` of shape (n_samples,
    n_outputs) for an MLP; ``predictions``, shaped as by ``predict``, for a regressor; ``labels`` and
    ``probabilities``, as returned by ``predict`` and ``predict_proba``, for a classifier; ``labels`` and ``scores`` of
    shape (n_samples, n_classes) for Perceptron and Adaline, where the scores of two classes are -d and d for the
    decision function d.

    The graph of TabularMLPClassifier and TabularMLPRegressor has an input of shape (n_samples, 1) for each column that
    is used, with the name of the column:

    - numbers (of durations and times of day, seconds): double; NaN is missing;
    - booleans: bool; double with 1, 0 and NaN if some were missing in ``fit``;
    - strings and categories: string. The empty string is missing, unless it was a category in ``fit``;
    - dates: double, the seconds since 1970-01-01 in UTC; NaN is missing.

    Parameters
    ----------
    model : MLP, an estimator, an ensemble, or a model of the command line
        A fitted model. ONNX Runtime does not support 'arctan' and 'gelu' in float64: fit on float32 data for these.
    path : str or Path, default=None
        File to write; None writes none.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ImportError
        If the package onnx is not installed: ``pip install 'fastmlp[onnx]'``.
    ValueError
        For integer labels of 2^63 or more, columns of a table that are named like an output, and for models that
        cannot be exported (see ``fastmlp.export.network.exportable``).
    """
    with from_extra("onnx", "to_onnx needs onnx"):
        import onnx
    predictor = table_predictor(model)
    onnx_model = _graph(exportables(model)) if predictor is None else table_graph(predictor)
    onnx.checker.check_model(onnx_model, full_check=True)
    if path is not None:
        write_whole(path, onnx_model.SerializeToString())
    return onnx_model


def _graph(networks):
    first = networks[0]
    graph = Graph(first.parameters.dtype)
    outputs = add_networks(graph, networks, "X")
    return graph.model(
        str(first), [("X", None, first.network.n_columns)], outputs,
        None if first.inputs is None else str([name for name, *_ in first.inputs]),
    )  # fmt: skip
