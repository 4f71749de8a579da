"""C99 source of the preprocessing of tables: a struct for a row, lookup of categories, and inputs of the networks."""

import re

import numpy as np

from fastmlp.tables.cells import DATES, TEXTS
from fastmlp.tables.dates import PARTS
from fastmlp.tables.numbers import LIMIT

from .c_network import definition, double_literal, in_comment
from .preprocessing import CODE, FLAG, MISSING, SCALED, SCORE, Term, checked_texts, date_parts, earliest_second

# Keywords of C and C++ up to C23, and macros of the headers, which a member of a struct cannot have as its name.
RESERVED = {
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
    "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
    "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "NULL",
    "NAN", "INFINITY", "EOF", "BUFSIZ", "DOMAIN", "SING", "OVERFLOW", "UNDERFLOW", "PLOSS", "TLOSS", "errno", "unix",
    "linux", "asm", "typeof", "typeof_unqual", "bool", "true", "false", "nullptr", "constexpr", "alignas", "alignof",
    "static_assert", "thread_local", "class", "new", "delete", "this", "private", "public", "protected", "operator",
    "template", "typename", "namespace", "using", "virtual", "friend", "explicit", "export", "mutable", "try", "catch",
    "throw", "and", "or", "not", "xor", "wchar_t",
}  # fmt: skip
RESERVED_NAMES = re.compile(r"_[A-Z_].*|(FP|M|MATH|SEEK)_.*|HUGE_VAL.?")
LOOKUP = """
/* The position of a string among n sorted ones, or -1. */
static int {name}_find(const char *const *texts, int n, const char *text)
{{
    int low = 0, high = n - 1;
    while (low <= high) {{
        int middle = low + (high - low) / 2, order = strcmp(text, texts[middle]);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle - 1;
        else
            low = middle + 1;
    }}
    return -1;
}}
"""
LOOKUP_COLUMN = """
int {name}_lookup_{member}(const char *text)
{{
    static const char *const texts[] = {{{texts}0}};
    return text ? {name}_find(texts, {n}, text) : {missing};
}}
"""
SCALED_SOURCE = f"""
static float {{name}}_scaled(double x, double median, double scale)
{{{{
    double z = (x - median) / scale, limit = {double_literal(LIMIT)};
    if (isnan(x))
        return 0.0f;
    z = z > limit ? limit : z < -limit ? -limit : z;
    return (float)(z / sqrt(1.0 + z / 3.0 * (z / 3.0)));
}}}}
"""
SCORE_SOURCE = """
/* Linear interpolation between n ascending numbers. */
static float {name}_score(double x, const double *numbers, const double *scores, size_t n)
{{
    size_t low = 0, high = n - 1;
    if (isnan(x))
        return 0.0f;
    if (x <= numbers[0] || x >= numbers[n - 1])
        return (float)scores[x <= numbers[0] ? 0 : n - 1];
    while (high - low > 1) {{
        size_t middle = low + (high - low) / 2;
        if (numbers[middle] <= x)
            low = middle;
        else
            high = middle;
    }}
    return (float)(scores[low] + (x - numbers[low]) / (numbers[high] - numbers[low]) * (scores[high] - scores[low]));
}}
"""
PARTS_SOURCE = """
/* {parts} */
static void {name}_parts(double seconds, double earliest, double parts[{n}])
{{
{lines}}}
"""
FORMS = {
    SCALED: "{name}_scaled({x}, {own})",
    SCORE: "{name}_score({x}, {name}_numbers{number}, {name}_scores{number}, {n})",
    MISSING: "isnan({x}) ? 1.0f : -1.0f",
    FLAG: "isnan({x}) ? 0.0f : (float)(2.0 * {x} - 1.0)",
    CODE: "(float){x}",
}
SOURCES = {SCALED: SCALED_SOURCE, SCORE: SCORE_SOURCE}


class Variable(Term):
    """The name of a double in C, for formulas; ``lines`` are the statements so far."""

    SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}

    def __init__(self, lines, text):
        self.lines, self.text = lines, text

    def of(self, operator, *others):
        name = f"t{len(self.lines)}"
        if operator == "Floor":
            value = f"floor({self.text})"
        else:
            (other,) = others
            other = other.text if isinstance(other, Variable) else double_literal(other)
            value = f"{self.text} {self.SIGNS[operator]} {other}"
        self.lines.append(f"    double {name} = {value};\n")
        return Variable(self.lines, name)


def members_of(columns):
    """A dict of the names in C by the names of the columns."""
    members, taken = {}, set()
    for column in columns:
        name = re.sub(r"\W", "_", column.name, flags=re.ASCII)
        if not name or name[0].isdigit() or RESERVED_NAMES.fullmatch(name):
            name = f"c_{name}"
        elif name in RESERVED:
            name += "_"
        while name in taken:
            name += "_"
        taken.add(name)
        members[column.name] = name
    return members


def declarations(columns, name, members):
    """The struct, and the lookup functions."""
    lines = [
        f"    {'int' if column.kind == TEXTS else 'double'} {members[column.name]}; "
        f"/* {in_comment([column.name])}: {column.kind} */\n"
        for column in columns
    ]
    lookups = [f"int {name}_lookup_{members[column.name]}(const char *text);\n" for column in columns
               if column.kind == TEXTS]  # fmt: skip
    include = "#include <string.h>\n" if lookups else ""
    return f"{include}\nstruct {name}_row {{\n{''.join(lines)}}};\n\n{''.join(lookups)}"


def preprocessing_source(predictor, name, members):
    """Functions and constants that make the inputs of the networks."""
    used = {step.operator for step in predictor.steps}
    parts = [SOURCES[operator].format(name=name) for operator in SOURCES if operator in used]
    if any(step.part for step in predictor.steps):
        lines = []
        found = date_parts(Variable(lines, "seconds"), Variable(lines, "earliest"))
        lines += [f"    parts[{i}] = {found[part].text};\n" for i, part in enumerate(PARTS)]
        parts.append(PARTS_SOURCE.format(parts=", ".join(PARTS), name=name, n=len(PARTS), lines="".join(lines)))
    texts = [step for step in predictor.steps if step.operator == CODE]
    parts += [LOOKUP.format(name=name)] if texts else []
    for step in texts:
        values, missing = checked_texts(step, "C")
        parts.append(LOOKUP_COLUMN.format(
            name=name, member=members[step.column.name], texts="".join(f"{_string(value)}, " for value in values),
            n=len(values), missing=missing,
        ))  # fmt: skip
    for number, step in enumerate(predictor.steps):
        if step.operator == SCORE:
            for what, values in zip(("numbers", "scores"), step.arguments):
                parts.append(definition(name, f"{what}{number}", "double", values))
    if predictor.targets is not None:
        for what, values in zip(("mean", "std", "low", "high"), predictor.targets):
            parts.append(definition(name, what, "double", np.broadcast_to(values, predictor.n_outputs)))
    return "".join(parts)


def _string(text):
    """A string literal; what is not a letter, digit or space is escaped."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.,:;()+*/="
    return '"' + "".join(
        chr(byte) if chr(byte) in plain else f"\\{byte:03o}" for byte in text.encode()
    ) + '"'  # fmt: skip


def encode_source(predictor, name, members):
    """The statements that compute ``x`` from ``row``."""
    lines, place = [], list(PARTS).index
    for column in predictor.columns.values():
        member = members[column.name]
        if column.kind == DATES and column.scalings:
            lines.append(f"    double parts_{member}[{len(PARTS)}];\n")
            earliest = double_literal(earliest_second(column))
            lines.append(f"    {name}_parts(row->{member}, {earliest}, parts_{member});\n")
    for number, (operator, column, part, arguments) in enumerate(predictor.steps):
        member = members[column.name]
        x = f"row->{member}" if part is None else f"parts_{member}[{place(part)}]"
        value = FORMS[operator].format(
            name=name, x=x, number=number, n=len(arguments[0]) if operator == SCORE else 0,
            own=", ".join(map(double_literal, arguments)) if operator == SCALED else "",
        )  # fmt: skip
        lines.append(f"    x[{number}] = {value};\n")
    return "".join(lines)
