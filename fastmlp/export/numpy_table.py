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

import base64
{imports}
import numpy as np
'''
IMPORTS = {  # if this occurs in a function
    "math.": "import math",
    "(timedelta": "from datetime import date, timedelta",
    "Decimal": "from decimal import Decimal",
    "Integral": "from numbers import Integral, Real",
}
REGRESSOR = "predict(table) returns the same as the model's predict."
CLASSIFIER = "predict(table) and predict_proba(table) return the same as the model's functions of these names."
IS_MISSING = """

def is_missing(value):
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)
"""
READ = {
    NUMBERS: ("numbers", """

def numbers(values):
    return np.array([np.nan if is_missing(value) else number_of(value) for value in values], np.float64)


def number_of(value):
    if isinstance(value, (date, np.datetime64)):
        raise ValueError(f"{value} is a date, but the column held numbers or booleans")
    return value / np.timedelta64(1, "s") if isinstance(value, (timedelta, np.timedelta64)) else value
"""),
    TEXTS: ("texts", """

def texts(values):
    return [None if is_missing(value) else text_of(value) for value in values]


def text_of(value):
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Integral) or not isinstance(value, (Real, Decimal)):
        return str(value)
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)
"""),
    DATES: ("dates", """

def dates(values):
    values = [None if is_missing(value) else value for value in values]
    if any(isinstance(value, (int, float, np.number)) for value in values):
        raise ValueError("a column of dates has numbers")
    return np.array(values, "datetime64[us]")


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
    found = np.interp(x, numbers, scores)
    steep = ~np.isfinite(found) & ~np.isnan(x)
    low = np.searchsorted(numbers, x[steep], side="right") - 1
    share = (x[steep] - numbers[low]) / (numbers[low + 1] - numbers[low])
    found[steep] = scores[low] + share * np.diff(scores)[low]
    return np.nan_to_num(found)
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


def cells(values):
    return values.to_pylist() if hasattr(values, "to_pylist") else values  # of Arrow


def matrix(table):
    if isinstance(table, list):
        table = {{name: [row[name] for row in table] for name in columns}}
    elif isinstance(table, np.ndarray):
        if table.shape[1:] != ({n_columns},):
            raise ValueError(f"an array must have {n_columns} columns, got the shape {{table.shape}}")
        table = {{name: table[:, number] for name, number in columns.items()}}
    elif hasattr(table, "columns") and not hasattr(table, "column_names"):  # names may be numbers
        table = {{{label}: table[name] for name in table.columns}}
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
        imports="".join(f"{line}\n" for word, line in IMPORTS.items() if word in "".join(helpers)),
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
        read.append(f"    x{i} = {READ[column.kind][0]}(cells(table[{column.name!a}]))\n")
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
    # Columns without names, of arrays and of frames that number them from 0, are called x0, x1 and so on.
    named = hasattr(predictor.encoder, "feature_names_in_")
    label = "str(name)" if named else 'name if str(name).startswith("x") else f"x{name}"'
    return arrays, MATRIX.format(
        columns=ascii(places), read="".join(read), made="".join(made), dtype=dtype, label=label,
        n_columns=predictor.encoder.n_features_in_,
    )  # fmt: skip


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
