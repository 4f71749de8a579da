"""Source of networks, arrays and labels in a module that needs only NumPy."""

import base64

import numpy as np

from .expressions import expression, numpy_helper
from .input_stage import numpy_stage

ARRAY = """

def array(text, code, *shape):
    return np.frombuffer(base64.b85decode(text), code).reshape(shape)

"""


def network_source(model, prefix=""):
    """(definitions of arrays, helper functions, statements that return the outputs from ``a0``).

    The names of arrays begin with ``prefix``.
    """
    arrays, helpers, stage = numpy_stage(model, packed, prefix)
    lines = [stage]
    for number, layer in enumerate(model.layers):
        helpers.append(numpy_helper(layer.activation))
        W, b, slope = (f"{prefix}{what}{number}" for what in ("W", "b", "slope"))
        arrays += [f"{W} = {packed(layer.W)}\n", f"{b} = {packed(layer.b)}\n"]
        below = [f"a{source}" for source in layer.sources]
        given = below[0] if len(below) == 1 else f"np.hstack([{', '.join(below)}])"
        added = "" if layer.added is None else f" + a{layer.added}"
        lines.append(f"    z = {given} @ {W} + {b}{added}\n")
        if layer.slopes.size:
            arrays.append(f"{slope} = {packed(layer.slopes)}\n")
            lines.append(f"    slope = {slope}\n")
        lines.append(f"    a{number + 1} = {expression(layer.activation, 'numpy')}\n")
    lines.append(f"    return a{len(model.layers)}\n")
    return arrays, list(dict.fromkeys(helpers)), "".join(lines)


def packed(values):
    """The call that decodes the array."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    shape = ", ".join(map(str, values.shape))
    return f"array({base64.b85encode(values.tobytes()).decode()!r}, '<{values.dtype.str[1:]}', {shape})"


def labels_source(classes):
    """The array of class labels, at least two."""
    labels = np.resize(classes, max(len(classes), 2))
    kind = "object" if labels.dtype.kind == "O" else labels.dtype.str
    return f"np.array({labels.tolist()!r}, {kind!r})"
