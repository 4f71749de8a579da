"""Converters for skl2onnx, which exports whole pipelines of scikit-learn as ONNX graphs."""

import numpy as np
from sklearn.base import ClassifierMixin

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.ensemble import MLPEnsembleClassifier, MLPEnsembleRegressor
from fastmlp.estimators.linear import Adaline, Perceptron
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.estimators.tabular.classifier import TabularMLPClassifier
from fastmlp.estimators.tabular.regressor import TabularMLPRegressor
from fastmlp.extras import from_extra
from fastmlp.tables.cells import TEXTS

from .network import exportables
from .onnx_graph import DOUBLE, Graph, add_networks
from .onnx_table import add_table
from .preprocessing import table_predictor

ESTIMATORS = (
    MLPClassifier, MLPRegressor, MLPEnsembleClassifier, MLPEnsembleRegressor, Perceptron, Adaline,
    TabularMLPClassifier, TabularMLPRegressor,
)  # fmt: skip
# Of classifiers; skl2onnx documents them.
OPTIONS = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}


def register_skl2onnx_converters() -> None:
    """Register the estimators with skl2onnx, so that ``skl2onnx.to_onnx`` converts pipelines that contain them.

    These are ``MLPClassifier``, ``MLPRegressor``, their ensembles, ``Perceptron``, ``Adaline``,
    ``TabularMLPClassifier`` and ``TabularMLPRegressor``. Classifiers have skl2onnx's options ``zipmap``,
    ``output_class_labels`` and ``nocl``. Instead of probabilities, ``Perceptron`` and ``Adaline`` have the scores of
    ``decision_function``, d; for two classes -d and d. Labels are strings or int64. The computation is in float64 for
    inputs of that dtype, otherwise in float32.

    The table estimators take a single matrix with their columns, or an input for each column, as ``skl2onnx.to_onnx``
    makes of a frame: see ``to_onnx`` for the meaning of their values.

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

    allowed = [types.BooleanTensorType, types.DoubleTensorType, types.FloatTensorType, types.Int64TensorType]
    predictor = table_predictor(operator.raw_operator)
    if predictor is None:
        check_input_and_output_numbers(operator, input_count_range=1)
        network = exportables(operator.raw_operator)[0]
    else:
        allowed.append(types.StringTensorType)
        network = predictor.networks[0]
    check_input_and_output_types(operator, allowed)
    n_samples = operator.inputs[0].get_first_dimension()
    numbers = types.DoubleTensorType if _has_doubles(operator) else types.FloatTensorType
    if network.classes is None:
        operator.outputs[0].set_type(numbers([n_samples, network.sizes[-1]]))
        return
    classes = _classes(operator.scope_inst, operator.raw_operator)
    labels = types.Int64TensorType if classes.dtype == np.int64 else types.StringTensorType
    shape = [n_samples, len(classes)]
    operator.outputs[0].set_type(labels(shape if network.kind == "multilabel" else [n_samples]))
    operator.outputs[1].set_type(numbers(shape))


def _has_doubles(operator):
    from skl2onnx.common.data_types import DoubleTensorType

    return any(isinstance(given.type, DoubleTensorType) for given in operator.inputs)


def _convert(scope, operator, container):
    """Add the nodes of an estimator to skl2onnx's graph."""
    from skl2onnx.helpers import add_onnx_graph

    dtype = np.dtype("f8" if _has_doubles(operator) else "f4")
    predictor = table_predictor(operator.raw_operator)
    networks = exportables(operator.raw_operator) if predictor is None else predictor.networks
    if networks[0].classes is not None:
        networks[0] = networks[0]._replace(classes=_classes(scope, operator.raw_operator))
    networks = [network._replace(parameters=network.parameters.astype(dtype)) for network in networks]
    graph, network = Graph(dtype), networks[0]
    given = [f"given{number}" for number in range(len(operator.inputs))]
    names = [graph("Identity", name) for name in given]  # skl2onnx needs a node for each input
    if predictor is None:
        outputs = add_networks(graph, networks, graph("Cast", names[0], to=graph.numbers))
    else:
        tensors = _tensors(graph, predictor, operator, names)
        outputs = add_table(graph, predictor._replace(networks=networks), tensors)
    if network.classes is None:
        shape = graph.constant([-1, network.sizes[-1]], np.int64)  # skl2onnx has a column also for one target
        predictions = graph("Cast", graph("Reshape", "predictions", shape), to=graph.numbers)
        outputs = [(predictions, None, network.sizes[-1])]
    add_onnx_graph(scope, operator, container, graph.model(str(network), [(name, None) for name in given], outputs))


def _tensors(graph, predictor, operator, names):
    """The argument ``tensors`` of ``add_table``, from the inputs of an operator, which are called ``names``."""
    from skl2onnx.common.data_types import StringTensorType

    places, tensors = _places(predictor.encoder, operator.inputs), {}
    for place, column in predictor.columns.items():
        number, axis = places[place]
        given = operator.inputs[number].type
        if isinstance(given, StringTensorType) != (column.kind == TEXTS):
            raise ValueError(
                f"column {column.name!r} held {column.kind} in fit, but is a {type(given).__name__} in the graph: pass "
                "a table like that of fit to skl2onnx."
            )
        tensor = graph("Gather", names[number], graph.constant([axis], np.int64), axis=1)
        tensors[column.name] = tensor if column.kind == TEXTS else graph("Cast", tensor, to=DOUBLE)
    return tensors


def _places(encoder, inputs):
    """(number of an input, column of it) for each column of the table of ``fit``.

    Several inputs are found by name if that table had names; otherwise the order counts.
    """
    if len(inputs) > 1 and hasattr(encoder, "feature_names_in_"):
        by_name = {given.raw_name: (number, 0) for number, given in enumerate(inputs)}
        absent = [column.name for column in encoder.columns_ if column.encoded and column.name not in by_name]
        if absent:
            raise ValueError(f"the graph has no input {absent[0]!r}, a column of the table of fit: add it.")
        return [by_name.get(column.name) for column in encoder.columns_]
    widths = [given.type.shape[1] for given in inputs]
    if widths == [None]:
        widths = [encoder.n_features_in_]
    if sum(widths) != encoder.n_features_in_:
        raise ValueError(f"the graph has {sum(widths)} columns, but the table of fit had {encoder.n_features_in_}.")
    return [(number, axis) for number, width in enumerate(widths) for axis in range(width)]


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
