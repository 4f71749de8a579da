"""Export of a model as an ONNX graph, which ONNX Runtime and others run without fastmlp.

Pipelines of scikit-learn are exported by skl2onnx: see ``skl2onnx_converters``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp import __version__
from fastmlp.extras import from_extra
from fastmlp.io.atomic import write_whole
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import StrPath

from .expressions import expression
from .input_stage import add_stage
from .network import exportables

if TYPE_CHECKING:
    import onnx

    from fastmlp.estimators.ensemble import MLPEnsemble
    from fastmlp.estimators.linear import OneLayerClassifier

OPSET, IR_VERSION = 18, 9
INT64, STRING, BOOL, DOUBLE = 7, 8, 9, 11  # type numbers of onnx.TensorProto
BY_KIND = {"i": (np.int64, INT64), "u": (np.int64, INT64), "b": (bool, BOOL), "f": (np.float64, DOUBLE)}  # of labels


class Graph:
    """Nodes and constants with generated names; ``T`` is the dtype of constants."""

    INT64, DOUBLE = INT64, DOUBLE

    def __init__(self, T):
        from onnx import helper, numpy_helper

        self.T, self._helper, self._from_array = T, helper, numpy_helper.from_array
        self.numbers = helper.np_dtype_to_tensor_dtype(np.dtype(T))
        self.nodes, self.constants = [], []

    def constant(self, values, dtype=None):
        name = f"c{len(self.constants)}"
        self.constants.append(self._from_array(np.asarray(values, self.T if dtype is None else dtype), name))
        return name

    def __call__(self, operator, *inputs, called=None, **attributes):
        """Add a node; inputs are names, or numbers of dtype T. Returns the name of its output."""
        given = [name if isinstance(name, str) else self.constant(name) for name in inputs]
        out = called or f"n{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(operator, given, [out], out, **attributes))
        return out

    def model(self, title, inputs, outputs, description=None):
        """The ModelProto; ``inputs`` and ``outputs`` list (name, type or None for T, *lengths of further axes)."""
        make_info = self._helper.make_tensor_value_info
        inputs, outputs = (
            [make_info(name, kind or self.numbers, ["rows", *shape]) for name, kind, *shape in ends]
            for ends in (inputs, outputs)
        )
        graph = self._helper.make_graph(self.nodes, title, inputs, outputs, self.constants, doc_string=description)
        return self._helper.make_model(
            graph, opset_imports=[self._helper.make_opsetid("", OPSET)], producer_name="fastmlp",
            producer_version=__version__, ir_version=IR_VERSION,
        )  # fmt: skip


def to_onnx(
    model: HasPredictionNetwork | MLPEnsemble | OneLayerClassifier, path: StrPath | None = None
) -> onnx.ModelProto:
    """Export a model as an ONNX graph (opset 18), in the dtype of its weights.

    The input is ``X`` of shape (n_samples, n_inputs). The outputs depend on the model: ``outputs`` of shape (n_samples,
    n_outputs) for an MLP; ``predictions``, shaped as by ``predict``, for a regressor; ``labels`` and
    ``probabilities``, as returned by ``predict`` and ``predict_proba``, for a classifier; ``labels`` and ``scores`` of
    shape (n_samples, n_classes) for Perceptron and Adaline, where the scores of two classes are -d and d for the
    decision function d.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, an ensemble, Perceptron, Adaline, or a model of the command line
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
        For integer labels of 2^63 or more, and for models that cannot be exported (see
        ``fastmlp.export.network.exportable``).
    """
    with from_extra("onnx", "to_onnx needs onnx"):
        import onnx
    networks = exportables(model)
    first = networks[0]
    graph = Graph(first.parameters.dtype)
    outputs = add_networks(graph, networks, "X")
    onnx_model = graph.model(
        str(first), [("X", None, first.network.n_columns)], outputs,
        None if first.inputs is None else str([name for name, *_ in first.inputs]),
    )  # fmt: skip
    onnx.checker.check_model(onnx_model, full_check=True)
    if path is not None:
        write_whole(path, onnx_model.SerializeToString())
    return onnx_model


def add_networks(graph, networks, X):
    """Add the nodes that predict from X the mean over PredictionNetworks of one kind.

    Returns (name, type or None for the dtype of the graph, *lengths of further axes) of each output.
    """
    if len(networks) == 1:
        return _outputs(graph, networks[0], _network(graph, networks[0], X))
    means = [_confidence(graph, network, _network(graph, network, X)) for network in networks]
    mean = graph("Div", graph("Sum", *means), len(means))
    return _outputs(graph, networks[0]._replace(targets=None), mean)


def _network(graph, model, X):
    """Add all layers; returns the name of the last layer's outputs."""
    names = [add_stage(graph, model, X)]
    for layer in model.layers:
        below = [names[source] for source in layer.sources]
        inputs = below[0] if len(below) == 1 else graph("Concat", *below, axis=1)
        z = graph("Gemm", inputs, layer.W, layer.b)
        if layer.added is not None:
            z = graph("Add", z, names[layer.added])
        names.append(expression(layer.activation, "onnx")(graph, z, layer.slopes))
    return names[-1]


def _outputs(graph, model, last):
    """Add the nodes after the last layer; returns what ``add_networks`` returns."""
    n_outputs = model.sizes[-1]
    if model.kind == "outputs":
        graph("Identity", last, called="outputs")
        return [("outputs", None, n_outputs)]
    if model.kind == "numbers" and n_outputs == 1:
        graph("Squeeze", last, graph.constant([1], np.int64), called="predictions")
        return [("predictions", None)]
    if model.kind == "numbers":
        graph("Identity", last, called="predictions")
        return [("predictions", None, n_outputs)]
    if model.kind == "scores":  # one number of two classes is that of the second one
        scores = graph("Concat", graph("Neg", last), last, axis=1) if n_outputs == 1 else last
        graph("Identity", scores, called="scores")
        return [
            _labels(graph, model, graph("ArgMax", scores, axis=1, keepdims=1)), ("scores", None, len(model.classes))
        ]  # fmt: skip
    confidence = _confidence(graph, model, last)
    if model.kind == "binary":
        if len(model.classes) == 1:
            graph("Clip", confidence, 1, 1, called="probabilities")
        else:
            graph("Concat", graph("Sub", 1, confidence), confidence, axis=1, called="probabilities")
        return [_labels(graph, model, _is_likely(graph, confidence)), ("probabilities", None, len(model.classes))]
    graph("Identity", confidence, called="probabilities")
    if model.kind == "multilabel":
        graph("Identity", _is_likely(graph, confidence), called="labels")
        return [("labels", INT64, n_outputs), ("probabilities", None, n_outputs)]
    number = graph("ArgMax", last, axis=1, keepdims=1)
    return [_labels(graph, model, number), ("probabilities", None, n_outputs)]


def _is_likely(graph, confidence):
    return graph("Cast", graph("Greater", confidence, 0.5), to=INT64)


def _labels(graph, model, numbers):
    """Add the labels of class indices of shape (n_samples, 1)."""
    classes = np.resize(model.classes, max(len(model.classes), 2))  # there may be only one
    kind = classes.dtype.kind
    if kind == "u" and classes.max() > np.iinfo(np.int64).max:
        raise ValueError(f"ONNX has no labels as large as {classes.max()}: use integers below 2^63, or strings.")
    dtype, tensor = BY_KIND.get(kind, (object, STRING))
    graph(
        "Gather", graph.constant(classes, dtype), graph("Squeeze", numbers, graph.constant([1], np.int64)),
        called="labels",
    )  # fmt: skip
    return "labels", tensor


def _confidence(graph, model, last):
    """Add the probabilities, whatever loss the outputs belong to."""
    if model.targets is None:
        return last
    low, high = model.targets
    share = graph("Clip", graph("Div", graph("Sub", last, low), high - low), 0, 1)
    if model.kind != "multiclass":
        return share
    total = graph("ReduceSum", share, graph.constant([1], np.int64), keepdims=1)
    some = graph("Greater", total, 0)
    return graph("Where", some, graph("Div", share, graph("Where", some, total, 1)), 1 / model.sizes[-1])
