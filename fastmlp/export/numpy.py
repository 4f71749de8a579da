"""Models as a Python file that needs NumPy alone."""

import base64

import numpy as np

from fastmlp import __version__
from fastmlp.io.atomic import write_whole

from .network import exported

# Of a name in ACTIVATIONS: an expression of z, and of ``slope`` where one was learned.
ACTIVATIONS = {
    "identity": "z",
    "step": "np.heaviside(z, 0.5).astype(z.dtype)",
    "sign": "np.sign(z)",
    "piecewise_linear": "np.clip(z + 0.5, 0, 1)",
    "logistic": "np.exp(-np.logaddexp(0, -z))",
    "tanh": "np.tanh(z)",
    "arctan": "np.arctan(z)",
    "relu": "np.maximum(z, 0)",
    "leaky_relu": "np.where(z < 0, 0.01 * z, z)",
    "prelu": "np.where(z < 0, slope * z, z)",
    "shared_prelu": "np.where(z < 0, slope * z, z)",
    "noisy_relu": "np.maximum(z, 0)",
    "elu": "np.where(z < 0, np.expm1(np.minimum(z, 0)), z)",
    "selu": "1.0507009873554805 * np.where(z < 0, 1.6732632423543772 * np.expm1(np.minimum(z, 0)), z)",
    "softplus": "np.logaddexp(0, z)",
    "gelu": "z * normal(z)",
    "silu": "z * np.exp(-np.logaddexp(0, -z))",
    "exp": "np.exp(z)",
    "softmax": "softmax(z)",
}
HELPERS = {
    "softmax": """

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
""",
    "gelu": '''

def normal(z):
    """The normal distribution's share below z."""
    return 0.5 * np.frompyfunc(math.erfc, 1, 1)(-z / math.sqrt(2)).astype(z.dtype)
''',
}
HEAD = '''"""{model}, written by fastmlp {version}. It needs NumPy alone.{inputs}

outputs(X), for X of shape (rows, {n_inputs}), is what the last layer gives, of shape (rows, {n_outputs}); predict(X) is
what predict of the model was.
"""

import base64{math}

import numpy as np


def array(text, *shape):
    return np.frombuffer(base64.b85decode(text), "<{code}").reshape(shape)

'''


def to_numpy_source(model, path=None):
    """A model as the text of a Python module with a function ``outputs(X)``, and ``predict(X)`` like the model's.

    Parameters
    ----------
    model : MLP, MLPClassifier, MLPRegressor, or what ``load`` gives for a model of the command line
        Fitted.
    path : str or Path, default=None
        A file to write to.

    Raises
    ------
    ValueError
        See ``exported.exported``.
    """
    model = exported(model)
    text = _text(model)
    if path is not None:
        write_whole(path, text.encode())
    return text


def _text(model):
    used = {layer.activation for layer in model.layers}
    head = HEAD.format(
        model=model, version=__version__, inputs=_told(model), n_inputs=model.sizes[0], n_outputs=model.sizes[-1],
        code=model.parameters.dtype.str[1:], math="\nimport math" if "gelu" in used else "",
    )  # fmt: skip
    arrays, lines = [], []
    for number, layer in enumerate(model.layers):
        arrays += [f"W{number} = {_packed(layer.W)}\n", f"b{number} = {_packed(layer.b)}\n"]
        below = [f"a{source}" for source in layer.sources]
        given = below[0] if len(below) == 1 else f"np.hstack([{', '.join(below)}])"
        added = "" if layer.added is None else f" + a{layer.added}"
        lines.append(f"    z = {given} @ W{number} + b{number}{added}\n")
        if layer.slopes.size:
            arrays.append(f"slope{number} = {_packed(layer.slopes)}\n")
            lines.append(f"    slope = slope{number}\n")
        lines.append(f"    a{number + 1} = {ACTIVATIONS[layer.activation]}\n")
    outputs = (
        f"\n\ndef outputs(X):\n    a0 = np.asarray(X, W0.dtype)\n{''.join(lines)}    return a{len(model.layers)}\n"
    )
    helpers = [text for name, text in HELPERS.items() if name in used]
    return "".join([head, *arrays, *helpers, outputs, _predict(model)])


def _told(model):
    """The names of a table's columns."""
    if model.inputs is None:
        return ""
    names = ", ".join(ascii(name) for name, *_ in model.inputs)
    return "\n\nInputs: " + names.replace(chr(92), "/").replace('"', "'") + "."


def _predict(model):
    if model.kind in ("outputs", "numbers"):
        made = "outputs(X)[:, 0]" if model.kind == "numbers" and model.sizes[-1] == 1 else "outputs(X)"
        return f"\n\ndef predict(X):\n    return {made}\n"
    low, high = model.targets or (0, 1)
    threshold = (low + high) / 2
    if model.kind == "multilabel":
        return f"\n\ndef predict(X):\n    return (outputs(X) > {threshold!r}).astype(int)\n"
    number = (
        "outputs(X).argmax(axis=1)" if model.kind == "multiclass" else f"(outputs(X)[:, 0] > {threshold!r}).astype(int)"
    )
    labels = np.resize(model.classes, max(len(model.classes), 2))  # there may be but one
    kind = "object" if labels.dtype.kind == "O" else labels.dtype.str
    classes = f"np.array({labels.tolist()!r}, {kind!r})"
    return f"\n\nclasses = {classes}\n\n\ndef predict(X):\n    return classes[{number}]\n"


def _packed(values):
    """The call that makes the array again."""
    raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return f"array({base64.b85encode(raw).decode()!r}, {', '.join(map(str, values.shape))})"
