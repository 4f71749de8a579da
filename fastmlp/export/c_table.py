"""C99 source of the table estimators: preprocessing, networks, and the self-test."""

import numpy as np

from fastmlp.tables.cells import BOOLEANS, DATES, TEXTS, TIME_UNIT, Cells
from fastmlp.tables.kinds import dates_of, numbers_of

from .c_file import LARGEST, N_TESTS, Interface, file_text
from .c_network import accumulate_source, double_literal, network_source, rounded
from .c_preprocessing import declarations, encode_source, members_of, preprocessing_source
from .preprocessing import seconds_of

NOTES = """   int {name}_lookup_<column>(const char *text);

   Members of the row: numbers; 1 or 0 for booleans; seconds since 1970 in UTC for dates; NAN is missing. Categories are
   codes of the lookup functions, which take UTF-8, or NULL for missing values.
"""
PREDICT = """
void {name}_predict(const struct {name}_row *row, float outputs[{n_outputs}])
{{
    float x[{n_columns}], sum[{n_sum}] = {{0}}, member[{n_sum}];
{encode}{members}{decode}}}
"""
MEMBER = """\
    {name}_m{number}(x, member);
    for (size_t j = 0; j < {n_sum}; j++)
        sum[j] += member[j];
"""
DECODE = """\
    for (size_t j = 0; j < {n_outputs}; j++) {{
        double y = (double)sum[j] / {n_members} * {name}_std[j] + {name}_mean[j];
        outputs[j] = (float)(y < {name}_low[j] ? {name}_low[j] : y > {name}_high[j] ? {name}_high[j] : y);
    }}
"""
PROBABILITIES = """\
    for (size_t j = 0; j < {n_outputs}; j++)
        outputs[j] = sum[j] / {n_members};
"""


def table_text(predictor, name, int8, cells=None):
    """The C file of a TablePredictor; ``cells`` are the (record, Cells) of the rows of the self-test."""
    columns = list(predictor.columns.values())
    members = members_of(columns)
    cells = cells or _sample(columns)
    X = np.column_stack([part for column, own in cells for part in column.encode(own)]).astype(np.float32)
    if not len(X):
        raise ValueError("test_inputs must have at least one row.")
    targets, n_outputs = predictor.targets, predictor.n_outputs
    found = rounded(predictor.networks, X, int8, predictor.decode, None if targets is None else targets.std)
    argument = f"const struct {name}_row *row"
    interface = Interface(name, n_outputs, argument, "row", f"struct {name}_row", "", "&")
    body = [preprocessing_source(predictor, name, members), accumulate_source(name, int8)]
    for number, (network, scales) in enumerate(zip(predictor.networks, found.scales)):
        own = f"{name}_m{number}"
        signature = f"static void {own}(const float x[{X.shape[1]}], float outputs[{network.sizes[-1]}])"
        body.append(network_source(network, scales, own, signature, f"{name}_accumulate"))
    body.append(_predict(predictor, name, members))
    choose = "" if targets is not None else LARGEST if n_outputs > 1 else "    (void)outputs;\n    return 0;\n"
    return file_text(
        interface, predictor, NOTES.format(name=name), declarations(columns, name, members), "".join(body),
        predictor.classes, choose, _rows(cells), found,
    )  # fmt: skip


def _predict(predictor, name, members):
    """The function that predicts a row."""
    names = {
        "name": name, "n_columns": len(predictor.steps), "n_sum": predictor.networks[0].sizes[-1],
        "n_outputs": predictor.n_outputs, "n_members": len(predictor.networks),
    }  # fmt: skip
    several = PROBABILITIES if predictor.n_outputs > 1 else "    outputs[0] = 1.0f;\n"
    decode = several if predictor.targets is None else DECODE
    added = "".join(MEMBER.format(number=number, **names) for number in range(len(predictor.networks)))
    encode = encode_source(predictor, name, members)
    return PREDICT.format(encode=encode, members=added, decode=decode.format(**names), **names)


def _sample(columns):
    """(record, Cells) of random rows; in the last one all values are missing."""
    random_state, n, found = np.random.RandomState(0), N_TESTS, []
    for column in columns:
        if column.kind == TEXTS:
            codes = random_state.randint(-1, len(column.values), n)
            codes[-1] = -1
            cells = Cells(TEXTS, codes, column.values)
        elif column.kind == DATES:
            median, scale = column.scalings.get("days", (0.0, 1.0))
            days = median + scale * random_state.standard_normal(n)
            values = np.datetime64(column.earliest) + (days * 86400e6).astype("timedelta64[us]")
            values[-1] = "NaT"
            cells = Cells(DATES, values.astype(TIME_UNIT))
        else:
            median, scale = getattr(column, "scaling", None) or (0.0, 1.0)
            values = random_state.randint(0, 2, n) if column.kind == BOOLEANS else random_state.standard_normal(n)
            cells = Cells(column.kind, np.append((median + scale * values)[:-1], np.nan))
        found.append((column, cells))
    return found


def _rows(cells):
    """The initializer of an array of structs."""
    columns = []
    for column, own in cells:
        if column.kind == TEXTS:
            columns.append([str(int(code)) for code in next(column.encode(own))])
            continue
        if column.kind == DATES:
            numbers = seconds_of(dates_of(own, column.name))
        else:
            numbers = column.numbers_of(own) if column.kind == BOOLEANS else numbers_of(own, column.name)
        columns.append(list(map(double_literal, numbers)))
    return "{\n" + ",\n".join("{" + ", ".join(row) + "}" for row in zip(*columns)) + "}"
