"""ONNX graphs of the table estimators, with an input for each column of the table."""

from itertools import groupby

import numpy as np

from fastmlp.tables.cells import BOOLEANS, DATES, TEXTS
from fastmlp.tables.numbers import LIMIT

from .input_stage import onnx_places
from .onnx_graph import BOOL, DOUBLE, STRING, Graph, add_networks, add_outputs, mean_outputs
from .preprocessing import CODE, FLAG, MISSING, SCALED, SCORE, Term, checked_texts, date_parts, earliest_second


def table_graph(predictor):
    """The ModelProto of a TablePredictor."""
    names = [column.name for column in predictor.columns.values()]
    graph = Graph(predictor.networks[0].parameters.dtype, names)
    tensors = {
        column.name: graph("Cast", column.name, to=DOUBLE) if _type(column) == BOOL else column.name
        for column in predictor.columns.values()
    }
    outputs = add_table(graph, predictor, tensors)
    wrong = [name for name in names if not name or name in [output for output, *_ in outputs]]
    if wrong:
        raise ValueError(
            f"column {wrong[0]!r} cannot be an input of an ONNX graph: its name is empty or that of an output. Rename "
            "the column and fit again."
        )
    inputs = [(column.name, _type(column), 1) for column in predictor.columns.values()]
    return graph.model(str(predictor), inputs, outputs)


def _type(column):
    if column.kind == TEXTS:
        return STRING
    return BOOL if column.kind == BOOLEANS and not column.n_missing else DOUBLE


def add_table(graph, predictor, tensors):
    """Add the preprocessing, the networks and what ``predict`` makes of their mean.

    Parameters
    ----------
    graph : Graph
    predictor : TablePredictor
    tensors : dict of str to str
        For the name of each column, the name of a tensor of shape (rows, 1): float64, or strings for a column of these.

    Returns
    -------
    list
        As of ``add_networks``.
    """
    networks, targets = predictor.networks, predictor.targets
    matrix = _matrix(graph, predictor, tensors)
    if targets is None and predictor.n_outputs > 1:
        return add_networks(graph, networks, matrix)
    network, mean = mean_outputs(graph, networks, matrix)
    if targets is None:
        first = graph("Gather", mean, graph.constant([0], np.int64), axis=1)
        return add_outputs(graph, network._replace(kind="binary"), first)
    y = Value(graph, graph("Cast", mean, to=DOUBLE)) * targets.std + targets.mean
    y = y.of("Max", targets.low).of("Min", targets.high)
    if targets.one_dimensional and predictor.n_outputs == 1:
        graph("Squeeze", y.name, graph.constant([1], np.int64), called="predictions")
        return [("predictions", DOUBLE)]
    graph("Identity", y.name, called="predictions")
    return [("predictions", DOUBLE, predictor.n_outputs)]


class Value(Term):
    """The name of a tensor of float64, for formulas."""

    def __init__(self, graph, name):
        self.graph, self.name = graph, name

    def of(self, operator, *others, **attributes):
        given = [other.name if isinstance(other, Value) else _double(self.graph, other) for other in others]
        return Value(self.graph, self.graph(operator, self.name, *given, **attributes))


def _double(graph, values):
    return graph.constant(values, np.float64)


def _values(graph, column, tensor):
    """{part or None: the Value of the column}; empty for strings."""
    if column.kind == TEXTS:
        return {}
    value = Value(graph, tensor)
    if column.kind == DATES:
        return {None: value} | date_parts(value, earliest_second(column))
    return {None: value}


def _matrix(graph, predictor, tensors):
    """Add the preprocessing: all steps with the same operator at once, if they have no arrays."""
    values = {column.name: _values(graph, column, tensors[column.name]) for column in predictor.columns.values()}
    steps = predictor.steps
    order = sorted(range(len(steps)), key=lambda i: steps[i].operator)
    made = []
    for operator, numbers in groupby(order, key=lambda i: steps[i].operator):
        own = [steps[i] for i in numbers]
        if operator == CODE:
            made += [_codes(graph, step, tensors[step.column.name]) for step in own]
            continue
        given = [values[step.column.name][step.part] for step in own]
        if operator == SCORE:
            made += [_scores(graph, x, *step.arguments) for x, step in zip(given, own)]
        else:
            x = given[0] if len(own) == 1 else given[0].of("Concat", *given[1:], axis=1)
            made.append(TOGETHER[operator](graph, x, own))
    made = [graph("Cast", name, to=graph.numbers) for name in made]
    matrix = made[0] if len(made) == 1 else graph("Concat", *made, axis=1)
    return graph("Gather", matrix, graph.constant(np.argsort(order), np.int64), axis=1)


def _where_present(graph, x, result, otherwise=0.0):
    return graph("Where", graph("IsNaN", x.name), _double(graph, otherwise), result)


def _scaled(graph, x, steps):
    medians, scales = np.array([step.arguments for step in steps]).T
    z = ((x - medians) / scales).of("Clip", -LIMIT, LIMIT)
    root = ((z / 3) * (z / 3) + 1).of("Sqrt")
    return _where_present(graph, x, (z / root).name)


def _missing(graph, x, steps):
    return _where_present(graph, x, _double(graph, -1), 1.0)


def _flags(graph, x, steps):
    return _where_present(graph, x, (x * 2 - 1).name)


TOGETHER = {SCALED: _scaled, MISSING: _missing, FLAG: _flags}


def _scores(graph, x, numbers, scores):
    """The first score, and the difference of each two times the place of x between their numbers."""
    places = onnx_places(graph, x.name, np.array(numbers[:-1]), np.diff(numbers))
    rises = graph("MatMul", places, _double(graph, np.diff(scores)[:, None]))
    return _where_present(graph, x, graph("Add", rises, _double(graph, scores[0])))


def _codes(graph, step, tensor):
    """The code of each string. The empty one is missing, unless it was a category in fit."""
    values, of_missing = checked_texts(step, "ONNX")
    codes = {"": of_missing} | {value: code for code, value in enumerate(values)}
    return graph(
        "LabelEncoder", tensor, domain="ai.onnx.ml", keys_strings=list(codes), default_float=-1.0,
        values_floats=[float(code) for code in codes.values()],
    )  # fmt: skip
