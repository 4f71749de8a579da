"""Source of the table estimators as modules that need only NumPy."""

import numpy as np

from fastmlp import __version__
from fastmlp.tables.cells import BOOLEANS, DATES, NUMBERS, TEXTS
from fastmlp.tables.numbers import LIMIT

from .numpy_network import ARRAY, labels_source, network_source, packed
from .preprocessing import CODE, FLAG, MISSING, SCALED, SCORE

HEAD = '''"""{model}, written by fastmlp {version}. It needs only NumPy.

{functions}

The table is a dict of columns, a frame, a list of rows that are dicts, or an array with the columns of the fit. Missing
values are None or NaN. Columns:

{columns}
"""

import base64{math}

import numpy as np
'''
REGRESSOR = "predict(table) returns the same as the model's predict."
CLASSIFIER = "predict(table) and predict_proba(table) return the same as the model's functions of these names."
IS_MISSING = """

def is_missing(value):
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)
"""
READ = {
    NUMBERS: ("numbers", """

def numbers(values):
    return np.array([np.nan if is_missing(value) else value for value in values], np.float64)
"""),
    TEXTS: ("texts", """

def texts(values):
    values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return [None if is_missing(value) else str(value) for value in values]
"""),
    DATES: ("dates", """

def dates(values):
    return np.array([None if is_missing(value) else value for value in values], "datetime64[us]")


def parts_of(x, earliest):
    days = x.astype("datetime64[D]")
    parts = {
        "year": x.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": x.astype("datetime64[M]").astype(np.int64) % 12 + 1,
        "day of week": (days.astype(np.int64) + 3) % 7,
        "hour": (x - days) / np.timedelta64(1, "h"),
        "days": (x - np.datetime64(earliest)) / np.timedelta64(1, "D"),
    }
    return {name: np.where(np.isnat(x), np.nan, part) for name, part in parts.items()}
"""),
}  # fmt: skip
READ[BOOLEANS] = READ[NUMBERS]
HELPERS = {
    SCALED: f"""

def scaled(x, median, scale):
    with np.errstate(over="ignore"):
        z = np.clip((x - median) / scale, {-LIMIT}, {LIMIT})
    return np.nan_to_num(z / np.sqrt(1 + np.square(z / 3)))
""",
    SCORE: """

def score(x, numbers, scores):
    return np.nan_to_num(np.interp(x, numbers, scores))
""",
    MISSING: """

def missing(x):
    return np.where(x != x, 1.0, -1.0)
""",
    FLAG: """

def flag(x):
    return np.nan_to_num(2 * x - 1)
""",
    CODE: """

def code(values, categories, of_missing):
    known = {category: number for number, category in enumerate(categories)} | {None: of_missing}
    return np.array([known.get(value, -1) for value in values])
""",
}
MATRIX = """

columns = {columns}


def matrix(table):
    if isinstance(table, list):
        table = {{name: [row[name] for row in table] for name in columns}}
    elif isinstance(table, np.ndarray):
        table = {{name: table[:, number] for name, number in columns.items()}}
{read}    return np.column_stack([
{made}    ]).astype({dtype!r})
"""


def table_source(predictor):
    """The module of a TablePredictor."""
    arrays, helpers, functions = [], [IS_MISSING], []
    for number, network in enumerate(predictor.networks):
        own, helpers_of_network, statements = network_source(network, f"member{number}_")
        arrays += own
        helpers += helpers_of_network
        functions.append(f"\n\ndef member{number}(a0):\n{statements}")
    members = ", ".join(f"member{number}(X)" for number in range(len(predictor.networks)))
    functions.append(f"\n\ndef outputs(table):\n    X = matrix(table)\n    return np.mean([{members}], axis=0)\n")
    knots, matrix = _matrix(predictor)
    columns = predictor.columns.values()
    helpers += [READ[column.kind][1] for column in columns] + [HELPERS[step.operator] for step in predictor.steps]
    head = HEAD.format(
        model=predictor, version=__version__, columns="\n".join(map(_described, columns)),
        functions=REGRESSOR if predictor.classes is None else CLASSIFIER,
        math="\nimport math" if "math." in "".join(helpers) else "",
    )  # fmt: skip
    return "".join([
        head, ARRAY, *arrays, *knots, *dict.fromkeys(helpers), matrix, *functions, _predict(predictor)
    ])  # fmt: skip


def _described(column):
    name = ascii(column.name).replace(chr(92), "/").replace('"', "'")
    return f"- {name}: {column.kind}"


def _matrix(predictor):
    """(definitions of arrays, the function that makes the matrix)."""
    places = {column.name: i for i, column in predictor.columns.items()}
    read, arrays, made = [], [], []
    for i, column in predictor.columns.items():
        read.append(f"    x{i} = {READ[column.kind][0]}(table[{column.name!a}])\n")
        if column.kind == DATES:
            read.append(f"    parts{i} = parts_of(x{i}, {column.earliest!r})\n")
    for number, (operator, column, part, arguments) in enumerate(predictor.steps):
        x = f"x{places[column.name]}" if part is None else f"parts{places[column.name]}[{part!r}]"
        if operator == SCORE:
            names = [f"numbers{number}", f"scores{number}"]
            arrays += [f"{name} = {packed(values)}\n" for name, values in zip(names, map(np.asarray, arguments))]
        else:
            names = [ascii(list(value) if isinstance(value, tuple) else value) for value in arguments]
        made.append(f"        {operator}({', '.join([x, *names])}),\n")
    dtype = predictor.networks[0].parameters.dtype.str
    return arrays, MATRIX.format(columns=ascii(places), read="".join(read), made="".join(made), dtype=dtype)


def _predict(predictor):
    if predictor.classes is not None:
        probabilities = "outputs(table)" if predictor.n_outputs > 1 else "np.ones_like(outputs(table)[:, :1])"
        return (
            f"\n\ndef predict_proba(table):\n    return {probabilities}\n\n\nclasses = "
            f"{labels_source(predictor.classes)}\n\n\n"
            "def predict(table):\n    return classes[outputs(table).argmax(axis=1)]\n"
        )
    mean, std, low, high = (values.tolist() for values in predictor.targets[:4])
    flat = ".ravel()" if predictor.targets.one_dimensional and predictor.n_outputs == 1 else ""
    return (
        f"\n\ndef predict(table):\n    y = outputs(table).astype(np.float64) * {std} + {mean}\n"
        f"    return np.clip(y, {low}, {high}){flat}\n"
    )
