"""The directive ``rule-table``: tables of all names, with the formulas in the docstrings of the code."""

import inspect

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from fastmlp.kernels.rules import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastmlp.model.initializers import INITIALIZERS, SMALL
from fastmlp.training.schedules import SCHEDULES


def formula(function):
    return " ".join(inspect.getdoc(function).split())


def settings(options):
    return ", ".join(f"{name} = {value:g}" for name, value in options)


def activations():
    yield "name", "output", "derivative"
    for name, row in ACTIVATIONS.items():
        more = "" if row.std is None else f" {formula(row.std)}"
        slope = (
            ""
            if row.trainable is None
            else f" {formula(row.trainable)} One slope for each " + ("layer." if row.shared else "unit.")
        )
        yield name, formula(row.function) + more, formula(row.derivative) + slope


def losses():
    yield "name", "loss of an output", "derivative", "options", "output activation"
    for name, row in LOSSES.items():
        derivative = formula(row.derivative).split(":")[0].rstrip(".") + "."
        yield name, formula(row.function), derivative, settings(row.options), row.link or "any"


def optimizers():
    yield "name", "step", "learning rate", "options"
    for name, row in OPTIMIZERS.items():
        rate = "" if row.rate is None else f" Rate of step t: {formula(row.rate)}"
        options = [*row.options.items(), ("weight_decay", row.weight_decay)]
        yield name, formula(row.update) + rate, f"{row.learning_rate:g}", settings(options)


def schedules():
    yield "name", "factor of the rate after t epochs", "options"
    for name, row in SCHEDULES.items():
        yield name, formula(row.function), settings(row.options.items())


def initializers():
    yield "name", "weights", "biases", "scale"
    for name, row in INITIALIZERS.items():
        yield name, formula(row.function), "the same" if row.biases else "0", f"{SMALL:g}" if row.scaled else ""


TABLES = {table.__name__: table for table in (activations, losses, optimizers, schedules, initializers)}


class RuleTable(SphinxDirective):
    """``rule-table`` with one of TABLES as its argument."""

    required_arguments = 1

    def run(self):
        head, *rows = TABLES[self.arguments[0]]()
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
        group += nodes.thead("", self.row(head))
        group += nodes.tbody("", *(self.row(texts, code=True) for texts in rows))
        return [nodes.table("", group)]

    @staticmethod
    def row(texts, code=False):
        found = nodes.row()
        for number, text in enumerate(texts):
            parts = ["", text] if code and number == 0 else text.split("``")
            inner = [nodes.literal(part, part) if odd % 2 else nodes.Text(part) for odd, part in enumerate(parts)]
            found += nodes.entry("", nodes.paragraph("", "", *inner))
        return found


def setup(app):
    app.add_directive("rule-table", RuleTable)
    return {"parallel_read_safe": True}
