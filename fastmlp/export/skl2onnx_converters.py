"""Converters for skl2onnx, which exports whole pipelines of scikit-learn as ONNX graphs."""

import numpy as np
from sklearn.base import ClassifierMixin

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.ensemble import MLPEnsembleClassifier, MLPEnsembleRegressor
from fastmlp.estimators.linear import Adaline, Perceptron
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.extras import from_extra

from .network import exportables
from .onnx_graph import Graph, add_networks

ESTIMATORS = MLPClassifier, MLPRegressor, MLPEnsembleClassifier, MLPEnsembleRegressor, Perceptron, Adaline
# Of classifiers; skl2onnx documents them.
OPTIONS = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}


def register_skl2onnx_converters() -> None:
    """Register the estimators with skl2onnx, so that ``skl2onnx.to_onnx`` converts pipelines that contain them.

    These are ``MLPClassifier``, ``MLPRegressor``, their ensembles, ``Perceptron`` and ``Adaline``. Classifiers have
    skl2onnx's options ``zipmap``, ``output_class_labels`` and ``nocl``. Instead of probabilities, ``Perceptron`` and
    ``Adaline`` have the scores of ``decision_function``, d; for two classes -d and d. Labels are strings or int64.
    The computation is in float64 for inputs of that dtype, otherwise in float32.

    Raises
    ------
    ImportError
        If the package skl2onnx is not installed: ``pip install 'fastmlp[skl2onnx]'``.
    """
    with from_extra("skl2onnx", "this needs skl2onnx"):
        from skl2onnx import update_registered_converter
    for kind in ESTIMATORS:
        options = OPTIONS if issubclass(kind, ClassifierMixin) else None
        update_registered_converter(kind, f"Fastmlp{kind.__name__}", _set_types, _convert, options=options)


def _set_types(operator):
    """Set types and shapes of the operator's outputs: skl2onnx's "shape calculator"."""
    from skl2onnx.common import data_types as types
    from skl2onnx.common.utils import check_input_and_output_numbers, check_input_and_output_types

    check_input_and_output_numbers(operator, input_count_range=1)
    check_input_and_output_types(operator, [
        types.BooleanTensorType, types.DoubleTensorType, types.FloatTensorType, types.Int64TensorType
    ])  # fmt: skip
    given = operator.inputs[0]
    n_samples = given.get_first_dimension()
    numbers = types.DoubleTensorType if isinstance(given.type, types.DoubleTensorType) else types.FloatTensorType
    network = exportables(operator.raw_operator)[0]
    if network.classes is None:
        operator.outputs[0].set_type(numbers([n_samples, network.sizes[-1]]))
        return
    classes = _classes(operator.scope_inst, operator.raw_operator)
    labels = types.Int64TensorType if classes.dtype == np.int64 else types.StringTensorType
    shape = [n_samples, len(classes)]
    operator.outputs[0].set_type(labels(shape if network.kind == "multilabel" else [n_samples]))
    operator.outputs[1].set_type(numbers(shape))


def _convert(scope, operator, container):
    """Add the nodes of an estimator to skl2onnx's graph."""
    from skl2onnx.common.data_types import DoubleTensorType
    from skl2onnx.helpers import add_onnx_graph

    dtype = np.dtype("f8" if isinstance(operator.inputs[0].type, DoubleTensorType) else "f4")
    networks = exportables(operator.raw_operator)
    if networks[0].classes is not None:
        networks[0] = networks[0]._replace(classes=_classes(scope, operator.raw_operator))
    networks = [network._replace(parameters=network.parameters.astype(dtype)) for network in networks]
    graph, network = Graph(dtype), networks[0]
    outputs = add_networks(graph, networks, graph("Cast", "given", to=graph.numbers))
    if network.classes is None:
        shape = graph.constant([-1, network.sizes[-1]], np.int64)  # skl2onnx has a column also for one target
        outputs = [(graph("Reshape", "predictions", shape), None, network.sizes[-1])]
    add_onnx_graph(scope, operator, container, graph.model(str(network), [("given", None)], outputs))


def _classes(scope, classifier):
    """The labels, or with the option nocl their numbers, as skl2onnx has them: strings or int64."""
    from skl2onnx.common.utils_classifier import get_label_classes

    classes = get_label_classes(scope, classifier)
    if classes.dtype.kind in "UO":
        return classes
    integers = classes.astype(np.int64)
    if (integers != classes).any():
        raise ValueError(f"skl2onnx needs labels that are int64 or strings, got {classes.tolist()}.")
    return integers
