"""Export of a model as a single C99 file, for machines without Python: no allocation, no library but libm."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
from scipy.sparse import issparse

from fastmlp import __version__
from fastmlp.io.atomic import write_whole
from fastmlp.kernels.reference import contract as numpy_reference
from fastmlp.kernels.rules import ACTIVATIONS
from fastmlp.kernels.spec import layer_views
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import ArrayLike, StrPath
from fastmlp.validation.arrays import as_numbers
from fastmlp.validation.checks import check_flags

from .expressions import expression
from .input_stage import c_stage
from .network import exportable

N_TESTS = 8

HEAD = """\
/* {model}, written by fastmlp {version}.

   void {name}_predict(const float x[{n_inputs}], float outputs[{n_outputs}]);
{more}
   C99 with <math.h>; it allocates nothing and writes only to outputs, so it is thread-safe. Compiled with
   -D{upper}_SELF_TEST it is a program that tests itself and exits with 0 on success.{int8} */
#include <math.h>
#include <stddef.h>

void {name}_predict(const float x[{n_inputs}], float outputs[{n_outputs}]);
"""
ACCUMULATE = """
/* y += x W, with W in row-major order, of {kind}. */
static void {name}_accumulate(const float *x, size_t n_in, const {kind} *W, size_t n_out, float *y)
{{
    for (size_t i = 0; i < n_in; i++)
        for (size_t j = 0; j < n_out; j++)
            y[j] += x[i] * W[i * n_out + j];
}}
"""
CLASS = """
int {name}_class(const float x[{n_inputs}]);
int {name}_class(const float x[{n_inputs}])
{{
    float outputs[{n_outputs}];
    {name}_predict(x, outputs);
{choose}}}
"""
LARGEST = """\
    int best = 0;
    for (int j = 1; j < {n_outputs}; j++)
        best = outputs[j] > outputs[best] ? j : best;
    return best;
"""
SELF_TEST = """
#ifdef {upper}_SELF_TEST
#include <stdio.h>

static const float {name}_inputs[{n_tests}][{n_inputs}] = {inputs};
static const float {name}_expected[{n_tests}][{n_outputs}] = {expected};

int main(void)
{{
    int wrong = 0;
    float largest = 0.0f;
    for (size_t r = 0; r < {n_tests}; r++) {{
        float outputs[{n_outputs}];
        {name}_predict({name}_inputs[r], outputs);
        for (size_t j = 0; j < {n_outputs}; j++) {{
            float target = {name}_expected[r][j];
            float error = fabsf(outputs[j] - target) / (1.0f + fabsf(target));
            largest = error > largest ? error : largest;
            wrong += !(error <= {allowed}); /* NaN is wrong as well */
        }}
    }}
    printf("{name}: largest error %g, allowed %g, %d outputs wrong\\n", (double)largest, (double){allowed}, wrong);
    return wrong != 0;
}}
#endif
"""


def to_c(
    model: HasPredictionNetwork,
    path: StrPath | None = None,
    *,
    name: str = "model",
    int8: bool = False,
    test_inputs: ArrayLike | None = None,
) -> str:
    """Export a model as a single C99 file that computes in float32.

    The function ``name_predict(x, outputs)`` computes the outputs of the last layer. For classifiers, other than
    multilabel ones, ``name_class(x)`` returns the index of the predicted class; a comment lists the class labels.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, or a model of the command line
        A fitted model.
    path : str or Path, default=None
        File to write; None writes none.
    name : str, default='model'
        Prefix of all names in the file: letters, digits and underscores.
    int8 : bool, default=False
        Whether to quantize weights to 8-bit integers with a scale for each unit, a quarter of the size. A comment in
        the file gives the largest error of the outputs on the samples of the self-test, relative to 1 + |output|.
    test_inputs : array-like of shape (n_samples, n_inputs), default=None
        Inputs for the self-test, preferably real data; None draws standard normal numbers.

    Returns
    -------
    str
        The content of the file.

    Raises
    ------
    ValueError
        For a name that is not valid in C, ``test_inputs`` of the wrong shape, numbers too large for float32, and for
        models that cannot be exported (see ``fastmlp.export.network.exportable``).
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
        raise ValueError(f"name must be a name in C (letters, digits and underscores, no digit first), got {name!r}.")
    (int8,) = check_flags(int8=int8)
    exact = exportable(model)
    X = _checked_inputs(test_inputs, model, exact)
    expected, scales, rounded = exact.outputs(X), [None] * len(exact.layers), exact.parameters
    if int8:
        scales, rounded = quantized(exact)
    with np.errstate(over="ignore", invalid="ignore"):
        single, shown = exact.parameters.astype(np.float32), expected.astype(np.float32)
        of_sums = _largest_error(numpy_reference.forward(exact.network, single, X), expected)
        of_bits = _largest_error(exact._replace(parameters=rounded).outputs(X), expected)
    if not (np.isfinite(single).all() and np.isfinite(shown).all() and np.isfinite(of_sums + of_bits)):
        raise ValueError(
            "weights, or outputs for the samples of the self-test, are too large for float32: pass other test_inputs."
        )
    allowed = 1.01 * of_bits + 10 * of_sums + 2e-6 * (1 + len(exact.layers))
    text = _text(exact, scales, name, X, expected, of_bits, allowed)
    if path is not None:
        write_whole(path, text.encode())
    return text


def _largest_error(found, expected):
    """Largest error relative to 1 + |expected|."""
    return float(np.max(np.abs(found - expected) / (1 + np.abs(expected))))


def _checked_inputs(X, model, exact):
    """The inputs for the self-test in float32."""
    n_inputs = exact.network.n_columns
    if X is None:
        X = exact.sample(N_TESTS)
    else:
        model.check_feature_names(X)
        X = as_numbers(X, "test_inputs")
    X = np.asarray(X.toarray() if issparse(X) else X, np.float32)
    if X.ndim != 2 or X.shape[1] != n_inputs or not len(X) or not np.isfinite(X).all():
        raise ValueError(
            f"test_inputs must be finite numbers of shape (n_samples, {n_inputs}), got an array of {X.shape}."
        )
    return X


def quantized(model):
    """(scales of the units of each layer, parameters with weights rounded to multiples of them)."""
    rounded, scales = model.parameters.astype(np.float64), []
    for W, _ in zip(*layer_views(model.network, rounded)):
        scale = (np.abs(W).max(axis=0) / 127).astype(np.float32)
        scales.append(np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1)))
        W[:] = np.clip(np.rint(W / scales[-1]), -127, 127) * scales[-1]
    return scales, rounded


def _array(values, kind="float"):
    """A C initializer for an array of any number of dimensions."""
    if np.ndim(values) > 1:
        return "{\n" + ",\n".join(_array(row, kind) for row in values) + "}"
    literal = {"float": _number, "double": lambda value: repr(float(value))}.get(kind, lambda value: str(int(value)))
    return "{" + ", ".join(map(literal, values)) + "}"


def _definition(name, what, kind, values):
    """The definition of a constant array."""
    return f"static const {kind} {name}_{what}[{np.size(values)}] = {_array(np.ravel(values), kind)};\n"


def _number(value):
    """A float32 literal with all significant digits."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def _text(model, scales, name, X, expected, error, allowed):
    n_inputs, n_outputs, int8 = model.network.n_columns, model.sizes[-1], scales[0] is not None
    names = {"name": name, "upper": name.upper(), "n_inputs": n_inputs, "n_outputs": n_outputs}
    one_label = model.kind in ("binary", "multiclass")
    more = ""
    if model.inputs is not None:
        more = f"   Inputs: {_in_comment([name for name, *_ in model.inputs])}.\n"
    if one_label:
        more += f"   int {name}_class(const float x[{n_inputs}]);\n"
        more += f"   Classes, from 0 on: {_in_comment(model.classes.tolist())}.\n"
    quantization = "\n\n   Weights are rounded to 8 bits. On the samples of the self-test outputs are off by up to"
    quantization = f"{quantization} {error:.2g} of 1 + |output|." if int8 else ""
    kind = "signed char" if int8 else "float"
    of_stage, encode = c_stage(model, partial(_definition, name), name)
    parts = [
        HEAD.format(model=model, version=__version__, more=more, int8=quantization, **names),
        of_stage,
        *(_constants(layer, scale, name, number) for number, (layer, scale) in enumerate(zip(model.layers, scales))),
        ACCUMULATE.format(kind=kind, **names),
        _predict(model, int8, encode, names),
    ]
    if one_label:
        choose = LARGEST if model.kind == "multiclass" else f"    return outputs[0] > {_number(_threshold(model))};\n"
        choose = choose if len(model.classes) > 1 else "    return 0;\n"
        parts.append(CLASS.format(choose=choose.format(**names), **names))
    parts.append(SELF_TEST.format(
        n_tests=len(X), inputs=_array(X), expected=_array(expected), allowed=_number(allowed), **names
    ))  # fmt: skip
    return "".join(parts)


def _in_comment(labels):
    """Labels for a comment, which must not contain its end, a trigraph or a line continuation."""
    text = ", ".join(map(ascii, labels))
    for risky in ("*/", "/*", "??"):
        text = text.replace(risky, " ".join(risky))
    return text


def _threshold(model):
    low, high = model.targets or (0, 1)
    return (low + high) / 2


def _constants(layer, scale, name, number):
    """Definitions of W, b, scales and slopes of a layer."""
    found = [("b", "float", layer.b)]
    if scale is None:
        found.insert(0, ("W", "float", layer.W))
    else:
        found[:0] = [("W", "signed char", np.rint(layer.W / scale)), ("scale", "float", scale)]
    if layer.slopes.size:
        found.append(("slope", "float", layer.slopes))
    return "\n" + "".join(_definition(name, f"{what}{number}", kind, values) for what, kind, values in found)


def _predict(model, int8, encode, names):
    """The function that predicts; ``encode`` are the statements of the input stage, if any."""
    name, lines = names["name"], [encode]
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
            lines.append(f"    {name}_accumulate({outputs[source]}, {given}, {W}, {width}, {z});\n")
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
    head = "\nvoid {name}_predict(const float x[{n_inputs}], float outputs[{n_outputs}])\n{{\n".format(**names)
    return head + "".join(lines) + "}\n"
