"""C99 source of networks that compute in float32: constants, functions, and the tolerance of their self-test."""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import layer_views

from .expressions import expression
from .input_stage import c_stage

COARSE = 0.01  # standard deviations of the targets by which float32 may round predictions without a warning
ACCUMULATE = """
/* y += x W, with W in row-major order, of {kind}. */
static void {name}_accumulate(const float *x, size_t n_in, const {kind} *W, size_t n_out, float *y)
{{
    for (size_t i = 0; i < n_in; i++)
        for (size_t j = 0; j < n_out; j++)
            y[j] += x[i] * W[i * n_out + j];
}}
"""


class Rounded(NamedTuple):
    """Networks in float32, perhaps with weights of 8 bits, and what their self-test expects.

    Attributes
    ----------
    scales : list
        For each network, the scale of each unit's weights of 8 bits, or None, by layer.
    expected : ndarray
        Exact predictions for the samples of the test.
    error : float
        The largest error of the rounded weights, relative to 1 + |expected|.
    allowed : float
        A bound for the errors of the C program.
    """

    scales: list
    expected: np.ndarray
    error: float
    allowed: float

    @property
    def int8(self):
        """Whether weights have 8 bits."""
        return self.scales[0][0] is not None


def rounded(networks, X, int8, decode=lambda outputs: outputs, std=None):
    """The Rounded networks; ``decode`` makes predictions of mean outputs. ``std`` is that of targets, if it is known.

    There is a warning if predictions in float32 are too coarse for it.

    Raises
    ------
    ValueError
        For numbers too large for float32.
    """
    quantities = [quantized(network) if int8 else ([None] * len(network.layers), network.parameters)
                  for network in networks]  # fmt: skip
    scales, parameters = zip(*quantities)

    def predictions(outputs):
        return decode(np.mean(list(outputs), axis=0))

    expected = predictions(network.outputs(X) for network in networks)
    with np.errstate(over="ignore", invalid="ignore"):
        singles, shown = [network.parameters.astype(np.float32) for network in networks], expected.astype(np.float32)
        of_sums = _largest_error(predictions(
            numpy_reference.forward(network.network, single, X.astype(np.float32))
            for network, single in zip(networks, singles)
        ), expected)  # fmt: skip
        of_bits = _largest_error(predictions(
            network._replace(parameters=own).outputs(X) for network, own in zip(networks, parameters)
        ), expected)  # fmt: skip
    if not (all(np.isfinite(single).all() for single in singles) and np.isfinite(shown).all()
            and np.isfinite(of_sums + of_bits)):  # fmt: skip
        raise ValueError(
            "weights, or outputs for the samples of the self-test, are too large for float32: pass other test_inputs."
        )
    if std is not None and (coarse := np.max(np.abs(shown - expected) / std)) > COARSE:
        warnings.warn(
            f"predictions in float32 are off by up to {coarse:.2g} standard deviations of y, which has too many digits "
            "or is too small: subtract a constant from y, or multiply it by one, and fit again."
        )
    unit = np.max((1.0 if std is None else std) / (1 + np.abs(expected)))
    allowed = 1.01 * of_bits + 10 * of_sums + 2e-6 * (1 + len(networks[0].layers)) * max(1.0, float(unit))
    return Rounded(scales, expected, of_bits, allowed)


def _largest_error(found, expected):
    """Largest error relative to 1 + |expected|."""
    return float(np.max(np.abs(found - expected) / (1 + np.abs(expected))))


def quantized(model):
    """(scales of the units of each layer, parameters with weights rounded to multiples of them)."""
    rounded, scales = model.parameters.astype(np.float64), []
    for W, _ in zip(*layer_views(model.network, rounded)):
        scale = (np.abs(W).max(axis=0) / 127).astype(np.float32)
        scales.append(np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1)))
        W[:] = np.clip(np.rint(W / scales[-1]), -127, 127) * scales[-1]
    return scales, rounded


def array(values, kind="float"):
    """A C initializer for an array of any number of dimensions."""
    if np.ndim(values) > 1:
        return "{\n" + ",\n".join(array(row, kind) for row in values) + "}"
    literal = {"float": float_literal, "double": double_literal}.get(kind, lambda value: str(int(value)))
    return "{" + ", ".join(map(literal, values)) + "}"


def definition(name, what, kind, values):
    """The definition of a constant array."""
    return f"static const {kind} {name}_{what}[{np.size(values)}] = {array(np.ravel(values), kind)};\n"


def double_literal(value):
    """A literal of a double, also of one that is not finite."""
    text = repr(float(value))
    return {"nan": "NAN", "inf": "INFINITY", "-inf": "-INFINITY"}.get(text, text)


def float_literal(value):
    """A float32 literal with all significant digits."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def in_comment(labels):
    """Labels for a comment, which must not contain its end, a trigraph or a line continuation."""
    text = ", ".join(map(ascii, labels))
    for risky in ("*/", "/*", "??"):
        text = text.replace(risky, " ".join(risky))
    return text


def accumulate_source(name, int8):
    """The function that multiplies by a matrix."""
    return ACCUMULATE.format(kind="signed char" if int8 else "float", name=name)


def network_source(model, scales, name, signature, accumulate):
    """Constants and the function that predicts, with a ``signature`` of ``x`` and ``outputs``.

    ``name`` is the prefix of the constants, ``accumulate`` the name of the function of ``accumulate_source``.
    """
    int8 = scales[0] is not None
    of_stage, encode = c_stage(model, partial(definition, name), name)
    layers = enumerate(zip(model.layers, scales))
    return "".join([
        of_stage, *(_constants(layer, scale, name, number) for number, (layer, scale) in layers),
        _function(model, int8, encode, name, signature, accumulate),
    ])  # fmt: skip


def _constants(layer, scale, name, number):
    """Definitions of W, b, scales and slopes of a layer."""
    found = [("b", "float", layer.b)]
    if scale is None:
        found.insert(0, ("W", "float", layer.W))
    else:
        found[:0] = [("W", "signed char", np.rint(layer.W / scale)), ("scale", "float", scale)]
    if layer.slopes.size:
        found.append(("slope", "float", layer.slopes))
    return "\n" + "".join(definition(name, f"{what}{number}", kind, values) for what, kind, values in found)


def _function(model, int8, encode, name, signature, accumulate):
    """The function that predicts; ``encode`` are the statements of the input stage, if any."""
    lines = [encode]
    outputs = ["a0" if encode else "x"]
    for number, layer in enumerate(model.layers):
        width, last = len(layer.b), number == len(model.layers) - 1
        z = "outputs" if last else f"z{number}"
        if not last:
            lines.append(f"    float z{number}[{width}];\n")
        start = "0.0f" if int8 else f"{name}_b{number}[j]"
        lines.append(f"    for (size_t j = 0; j < {width}; j++)\n        {z}[j] = {start};\n")
        row = 0
        for source in layer.sources:
            given = model.sizes[source]
            W = f"{name}_W{number}" + (f" + {row * width}" if row else "")
            lines.append(f"    {accumulate}({outputs[source]}, {given}, {W}, {width}, {z});\n")
            row += given
        value = f"{z}[j] * {name}_scale{number}[j] + {name}_b{number}[j]" if int8 else f"{z}[j]"
        if layer.added is not None:
            value += f" + {outputs[layer.added]}[j]"
        formula, rowwise = expression(layer.activation, "c"), ACTIVATIONS[layer.activation].rowwise
        lines.append(f"    for (size_t j = 0; j < {width}; j++) {{\n        float z = {value};\n")
        if layer.slopes.size:
            lines.append(f"        float slope = {name}_slope{number}[{'j' if layer.slopes.size > 1 else '0'}];\n")
        lines.append(f"        {z}[j] = {'z' if rowwise else formula};\n    }}\n")
        if rowwise:
            lines.append(formula.format(z=z, width=width))
        outputs.append(z)
    return f"\n{signature}\n{{\n{''.join(lines)}}}\n"
