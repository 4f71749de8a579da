"""One row per activation with its expression in each export format."""

from collections.abc import Callable
from typing import NamedTuple

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class Expressions(NamedTuple):
    """An activation in each format; None where it cannot be exported to that format.

    Attributes
    ----------
    numpy : str or None
        Expression of z, an array of shape (rows, units), and of ``slope`` for trainable slopes.
    c : str or None
        Expression of the float z and of ``slope``; for an activation of whole rows, statements that change the array
        ``{z}`` of ``{width}`` floats in place.
    onnx : function or None
        function(graph, z, slopes) -> name of the result, where z is the name of the pre-activation.
    torch : (str, dict) or None
        Name and arguments of a class in torch.nn.
    numpy_helper : str
        A function that the NumPy expression calls.
    """

    numpy: str | None = None
    c: str | None = None
    onnx: Callable | None = None
    torch: tuple[str, dict] | None = None
    numpy_helper: str = ""


def _operator(name, **attributes):
    return lambda graph, z, slopes: graph(name, z, **attributes)


def _onnx_step(graph, z, slopes):
    return graph("Mul", graph("Add", graph("Sign", z), 1), 0.5)


def _onnx_piecewise_linear(graph, z, slopes):
    return graph("Clip", graph("Add", z, 0.5), 0, 1)


def _onnx_prelu(graph, z, slopes):
    return graph("PRelu", z, slopes)


def _onnx_gelu(graph, z, slopes):
    tail = graph("Add", graph("Erf", graph("Mul", z, 0.5**0.5)), 1)
    return graph("Mul", graph("Mul", z, 0.5), tail)


def _onnx_silu(graph, z, slopes):
    return graph("Mul", z, graph("Sigmoid", z))


def _onnx_mish(graph, z, slopes):
    return graph("Mul", z, graph("Tanh", graph("Softplus", z)))


C_SOFTMAX = """\
    {{
        float largest = {z}[0], total = 0.0f;
        for (size_t j = 1; j < {width}; j++)
            largest = {z}[j] > largest ? {z}[j] : largest;
        for (size_t j = 0; j < {width}; j++)
            total += {z}[j] = expf({z}[j] - largest);
        for (size_t j = 0; j < {width}; j++)
            {z}[j] /= total;
    }}
"""
NUMPY_SOFTMAX = """

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
"""
NUMPY_NORMAL = '''

def normal(z):
    """Cumulative distribution function of the standard normal distribution."""
    return 0.5 * np.frompyfunc(math.erfc, 1, 1)(-z / math.sqrt(2)).astype(z.dtype)
'''

EXPRESSIONS = {
    "identity": Expressions("z", "z", _operator("Identity"), ("Identity", {})),
    "step": Expressions(
        "np.heaviside(z, 0.5).astype(z.dtype)", "z > 0 ? 1.0f : z < 0 ? 0.0f : z + 0.5f", _onnx_step
    ),
    "sign": Expressions("np.sign(z)", "z > 0 ? 1.0f : z < 0 ? -1.0f : z", _operator("Sign")),
    "piecewise_linear": Expressions(
        "np.clip(z + 0.5, 0, 1)", "z < -0.5f ? 0.0f : z > 0.5f ? 1.0f : z + 0.5f", _onnx_piecewise_linear
    ),
    "logistic": Expressions(
        "np.exp(-np.logaddexp(0, -z))", "1.0f / (1.0f + expf(-z))", _operator("Sigmoid"), ("Sigmoid", {})
    ),
    "tanh": Expressions("np.tanh(z)", "tanhf(z)", _operator("Tanh"), ("Tanh", {})),
    "arctan": Expressions("np.arctan(z)", "atanf(z)", _operator("Atan")),
    "relu": Expressions("np.maximum(z, 0)", "z < 0 ? 0.0f : z", _operator("Relu"), ("ReLU", {})),
    "leaky_relu": Expressions(
        "np.where(z < 0, 0.01 * z, z)", "z < 0 ? 0.01f * z : z", _operator("LeakyRelu", alpha=0.01),
        ("LeakyReLU", {"negative_slope": 0.01}),
    ),
    "prelu": Expressions("np.where(z < 0, slope * z, z)", "z < 0 ? slope * z : z", _onnx_prelu, ("PReLU", {})),
    "shared_prelu": Expressions("np.where(z < 0, slope * z, z)", "z < 0 ? slope * z : z", _onnx_prelu, ("PReLU", {})),
    "noisy_relu": Expressions("np.maximum(z, 0)", "z < 0 ? 0.0f : z", _operator("Relu")),
    "elu": Expressions(
        "np.where(z < 0, np.expm1(np.minimum(z, 0)), z)", "z < 0 ? expm1f(z) : z", _operator("Elu", alpha=1.0),
        ("ELU", {"alpha": 1.0}),
    ),
    "selu": Expressions(
        f"{SELU_SCALE} * np.where(z < 0, {SELU_ALPHA} * np.expm1(np.minimum(z, 0)), z)",
        "1.05070099f * (z < 0 ? 1.67326324f * expm1f(z) : z)", _operator("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
        ("SELU", {}),
    ),
    "softplus": Expressions(
        "np.logaddexp(0, z)", "(z > 0 ? z : 0.0f) + log1pf(expf(-fabsf(z)))", _operator("Softplus"),
        ("Softplus", {"beta": 1, "threshold": 20}),
    ),
    "gelu": Expressions(
        "z * normal(z)", "0.5f * z * erfcf(-0.707106781f * z)", _onnx_gelu, ("GELU", {"approximate": "none"}),
        NUMPY_NORMAL,
    ),
    "silu": Expressions(
        "z * np.exp(-np.logaddexp(0, -z))", "z / (1.0f + expf(-z))", _onnx_silu, ("SiLU", {})
    ),
    "mish": Expressions(
        "z * np.tanh(np.logaddexp(0, z))", "z * tanhf((z > 0 ? z : 0.0f) + log1pf(expf(-fabsf(z))))", _onnx_mish,
        ("Mish", {}),
    ),
    "exp": Expressions("np.exp(z)", "expf(z)", _operator("Exp")),
    "softmax": Expressions("softmax(z)", C_SOFTMAX, _operator("Softmax", axis=-1), ("Softmax", {"dim": -1}),
                           NUMPY_SOFTMAX),
}  # fmt: skip
FORMATS = {"numpy": "NumPy", "c": "C", "onnx": "ONNX", "torch": "torch"}


def expression(activation, kind):
    """The field ``kind`` of an activation's row; ValueError if it cannot be exported to that format."""
    found = getattr(EXPRESSIONS.get(activation, Expressions()), kind)
    if found is None:
        possible = ", ".join(name for name, row in EXPRESSIONS.items() if getattr(row, kind) is not None)
        raise ValueError(
            f"activation {activation!r} cannot be exported to {FORMATS[kind]}. Those that can: {possible}."
        )
    return found


def numpy_helper(activation):
    """Source of the function that an activation's NumPy expression calls, or ''."""
    return EXPRESSIONS.get(activation, Expressions()).numpy_helper
