"""ONNX graphs: nodes with generated names, and the networks of models."""

import numpy as np

from fastmlp import __version__

from .expressions import expression
from .input_stage import add_stage

OPSET, ML_OPSET, IR_VERSION = 18, 3, 9
INT64, STRING, BOOL, DOUBLE = 7, 8, 9, 11  # type numbers of onnx.TensorProto
BY_KIND = {"i": (np.int64, INT64), "u": (np.int64, INT64), "b": (bool, BOOL), "f": (np.float64, DOUBLE)}  # of labels


class Graph:
    """Nodes and constants with generated names, other than ``inputs``; ``T`` is the dtype of constants."""

    INT64, DOUBLE = INT64, DOUBLE

    def __init__(self, T, inputs=("X",)):
        from onnx import helper, numpy_helper

        self.T, self._helper, self._from_array = T, helper, numpy_helper.from_array
        self.numbers = helper.np_dtype_to_tensor_dtype(np.dtype(T))
        self.nodes, self.constants = [], []
        self._prefix = "_" * (1 + max(len(name) - len(name.lstrip("_")) for name in inputs))

    def constant(self, values, dtype=None):
        name = f"{self._prefix}c{len(self.constants)}"
        self.constants.append(self._from_array(np.asarray(values, self.T if dtype is None else dtype), name))
        return name

    def __call__(self, operator, *inputs, called=None, **attributes):
        """Add a node; inputs are names, or numbers of dtype T. Returns the name of its output."""
        given = [name if isinstance(name, str) else self.constant(name) for name in inputs]
        out = called or f"{self._prefix}n{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(operator, given, [out], out, **attributes))
        return out

    def model(self, title, inputs, outputs, description=None):
        """The ModelProto; ``inputs`` and ``outputs`` list (name, type or None for T, *lengths of further axes)."""
        make_info = self._helper.make_tensor_value_info
        inputs, outputs = (
            [make_info(name, kind or self.numbers, ["rows", *shape]) for name, kind, *shape in ends]
            for ends in (inputs, outputs)
        )
        opsets = [self._helper.make_opsetid("", OPSET)]
        if any(node.domain for node in self.nodes):
            opsets.append(self._helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        graph = self._helper.make_graph(self.nodes, title, inputs, outputs, self.constants, doc_string=description)
        return self._helper.make_model(
            graph, opset_imports=opsets, producer_name="fastmlp", producer_version=__version__, ir_version=IR_VERSION
        )


def add_networks(graph, networks, X):
    """Add the nodes that predict from X the mean over PredictionNetworks of one kind.

    Returns (name, type or None for the dtype of the graph, *lengths of further axes) of each output.
    """
    return add_outputs(graph, *mean_outputs(graph, networks, X))


def mean_outputs(graph, networks, X):
    """Add PredictionNetworks of one kind; returns one that describes their mean output, and the name of that."""
    if len(networks) == 1:
        return networks[0], _network(graph, networks[0], X)
    means = [_confidence(graph, network, _network(graph, network, X)) for network in networks]
    return networks[0]._replace(targets=None), graph("Div", graph("Sum", *means), len(means))


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


def add_outputs(graph, model, last):
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
