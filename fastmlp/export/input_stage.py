"""The input stage in each export format: one row per kind of column. kernels/inputs.py defines the kinds."""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.inputs import EMBEDDING, ONE_HOT, PERIODIC, PIECEWISE_LINEAR, PLAIN, InputBlock, column_views


class StageColumn(NamedTuple):
    """Consecutive columns of X without arrays, or a single one of any other kind.

    Attributes
    ----------
    number : int
        The first column of X.
    n_columns : int
    block : InputBlock
        That of the first column.
    arrays : dict of str to ndarray
        Of the column. The table of an embedding has a last row of zeros, for all but codes.
    """

    number: int
    n_columns: int
    block: InputBlock
    arrays: dict[str, np.ndarray]


class StageExpressions(NamedTuple):
    """A kind of column in each format.

    Attributes
    ----------
    numpy : str
        Expression of ``{x}``, of shape (rows, 1), of ``{n}``, and of ``{own}``, the names of the arrays.
    numpy_helper : str
        The function that it calls.
    c : str
        Statements that store the results in ``a0`` from index ``{o}`` on, from the float ``{x}``. Names of arrays
        begin with ``{name}_`` and end with ``{own}``.
    onnx : function
        function(graph, x, column, arrays) -> name of the result, where x is the name of the values (rows, 1).
    """

    numpy: str
    numpy_helper: str
    c: str
    onnx: Callable


def _onnx_one_hot(graph, x, column, arrays):
    return graph("Cast", graph("Equal", x, np.arange(column.n)), to=graph.numbers)


def _onnx_embedding(graph, x, column, arrays):
    within = graph("And", graph("GreaterOrEqual", x, 0), graph("Less", x, column.n))
    is_code = graph("And", within, graph("Equal", x, graph("Floor", x)))
    row = graph("Cast", graph("Where", is_code, x, column.n), to=graph.INT64)
    return graph("Gather", arrays["table"], graph("Squeeze", row, graph.constant([1], np.int64)))


def _onnx_periodic(graph, x, column, arrays):
    turns = graph("Add", graph("Mul", x, arrays["w"]), arrays["p"])
    cosines = graph("Cos", graph("Mul", graph("Sub", turns, graph("Round", turns)), 2 * np.pi))
    return graph("Concat", x, graph("Gemm", cosines, arrays["V"], arrays["b"]), axis=1)


def onnx_places(graph, x, low, width):
    """Add the place of each x, of float64, in each bin, from 0 to 1. Returns a name in float64."""
    low, width, zero, one = (graph.constant(values, np.float64) for values in (low, width, 0, 1))
    return graph("Clip", graph("Div", graph("Sub", x, low), width), zero, one)


def _onnx_piecewise_linear(graph, x, column, arrays):
    places = onnx_places(graph, graph("Cast", x, to=graph.DOUBLE), arrays["low"], arrays["width"])
    return graph("Cast", places, to=graph.numbers)


STAGE = {
    PLAIN: StageExpressions("{x}", "", "    a0[{o}] = {x};\n", lambda graph, x, column, arrays: x),
    ONE_HOT: StageExpressions(
        "one_hot({x}, {n})", """

def one_hot(x, n):
    return (x == np.arange(n)).astype(x.dtype)
""", """\
    for (size_t j = 0; j < {n}; j++)
        a0[{o} + j] = {x} == (float)j ? 1.0f : 0.0f;
""", _onnx_one_hot,
    ),
    EMBEDDING: StageExpressions(
        "embedded({x}, {own})", """

def embedded(x, table):
    n = len(table) - 1  # the last row, of zeros, is for all but codes
    return table[np.where((x >= 0) & (x < n) & (x == np.floor(x)), x, n).astype(int)[:, 0]]
""", """\
    {{
        size_t row = {x} >= 0.0f && {x} < {n}.0f && {x} == floorf({x}) ? (size_t){x} : {n};
        for (size_t j = 0; j < {size}; j++)
            a0[{o} + j] = {name}_table{own}[row * {size} + j];
    }}
""", _onnx_embedding,
    ),
    PERIODIC: StageExpressions(
        "periodic({x}, {own})", """

def periodic(x, w, V, p, b):
    turns = x * w + p
    return np.hstack([x, np.cos(2 * np.pi * (turns - np.rint(turns))) @ V + b])
""", """\
    a0[{o}] = {x};
    for (size_t j = 0; j < {size}; j++)
        a0[{o} + 1 + j] = {name}_b{own}[j];
    for (size_t k = 0; k < {n}; k++) {{
        float turns = {x} * {name}_w{own}[k] + {name}_p{own}[k];
        float cosine = cosf(6.28318531f * (turns - rintf(turns)));
        for (size_t j = 0; j < {size}; j++)
            a0[{o} + 1 + j] += cosine * {name}_V{own}[k * {size} + j];
    }}
""", _onnx_periodic,
    ),
    PIECEWISE_LINEAR: StageExpressions(
        "places({x}, {own})", """

def places(x, low, width):
    return np.clip((x - low) / width, 0, 1).astype(x.dtype)
""", """\
    for (size_t j = 0; j < {n}; j++) {{
        double place = ((double){x} - {name}_low{own}[j]) / {name}_width{own}[j];
        a0[{o} + j] = place < 0 ? 0.0f : place > 1 ? 1.0f : (float)place;
    }}
""", _onnx_piecewise_linear,
    ),
}  # fmt: skip
DOUBLES = {"low": "double", "width": "double"}  # types of arrays in C


def stage_columns(model):
    """(list of StageColumn, the factors of all inputs or None) of a PredictionNetwork; (None, None) without a stage."""
    inputs = model.network.inputs
    if inputs is None:
        return None, None
    views, factors = column_views(inputs, model.parameters)
    columns, number = [], 0
    for kind, run in groupby(zip(inputs.blocks, views), key=lambda pair: pair[0].column.kind):
        run = list(run)
        if kind == PLAIN:
            columns.append(StageColumn(number, len(run), run[0][0], {}))
        else:
            columns += [StageColumn(number + i, 1, block, _arrays(block, own)) for i, (block, own) in enumerate(run)]
        number += len(run)
    return columns, factors


def _arrays(block, own):
    if block.column.kind == EMBEDDING:
        return {"table": np.vstack([own["table"], np.zeros_like(own["table"][:1])])}
    if block.column.kind == PIECEWISE_LINEAR:
        edges = np.array(block.column.edges)
        return {"low": edges[:-1], "width": np.diff(edges)}
    return own


def add_stage(graph, model, X):
    """Add the input stage to an ONNX graph; returns the name of the inputs of the first layer."""
    columns, factors = stage_columns(model)
    if columns is None:
        return X
    made = []
    for number, n_columns, block, arrays in columns:
        x = graph("Gather", X, graph.constant(np.arange(number, number + n_columns), np.int64), axis=1)
        made.append(STAGE[block.column.kind].onnx(graph, x, block.column, arrays))
    inputs = made[0] if len(made) == 1 else graph("Concat", *made, axis=1)
    return inputs if factors is None else graph("Mul", inputs, factors)


def numpy_stage(model, packed, prefix):
    """(definitions of arrays, helper functions, the statement ``a0 = ...``) of a NumPy module.

    ``packed(array)`` is the source of an array, ``prefix`` that of the arrays' names.
    """
    columns, factors = stage_columns(model)
    if columns is None:
        return [], [], ""
    definitions, helpers, made = [], [], []
    for number, n_columns, block, arrays in columns:
        row, names = STAGE[block.column.kind], [f"{prefix}{key}_x{number}" for key in arrays]
        definitions += [f"{name} = {packed(values)}\n" for name, values in zip(names, arrays.values())]
        helpers.append(row.numpy_helper)
        x = f"a0[:, {number}:{number + n_columns}]"
        made.append(row.numpy.format(x=x, n=block.column.n, own=", ".join(names)))
    statement = f"    a0 = np.hstack([{', '.join(made)}])\n"
    if factors is not None:
        definitions.append(f"{prefix}factors = {packed(factors)}\n")
        statement = statement[:-1] + f" * {prefix}factors\n"
    return definitions, helpers, statement


def c_stage(model, define, name):
    """(definitions of arrays, statements that compute ``a0`` from ``x``) of a C file, both empty without a stage.

    ``define(what, kind, values)`` is the definition of an array of the type ``kind``; ``name`` is the prefix of names.
    """
    columns, factors = stage_columns(model)
    if columns is None:
        return "", ""
    definitions, statements = [], [f"    float a0[{model.sizes[0]}];\n"]
    for number, n_columns, (column, _, output), arrays in columns:
        definitions += [define(f"{key}_x{number}", DOUBLES.get(key, "float"), values) for key, values in arrays.items()]
        for i in range(n_columns):
            text = STAGE[column.kind].c
            statements.append(text.format(
                x=f"x[{number + i}]", name=name, o=output + i, n=column.n, size=column.size, own=f"_x{number}"
            ))  # fmt: skip
    if factors is not None:
        definitions.append(define("factors", "float", factors))
        statements.append(f"    for (size_t j = 0; j < {model.sizes[0]}; j++)\n        a0[j] *= {name}_factors[j];\n")
    return "".join(definitions), "".join(statements)
