"""Conversion of models from and to torch: same weights and predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastmlp.extras import optional
from fastmlp.model.layer import Layer
from fastmlp.model.mlp import MLP
from fastmlp.prediction.network import HasPredictionNetwork
from fastmlp.typing import LossSpec

from .expressions import EXPRESSIONS, expression
from .network import exportable

if TYPE_CHECKING:
    import torch

LOSSES = {"softmax": "categorical_cross_entropy", "logistic": "binary_cross_entropy"}  # by the last activation


def _torch():
    with optional("this needs the package torch", "pip install torch."):
        import torch
    return torch


def to_torch(model: HasPredictionNetwork) -> torch.nn.Sequential:
    """Convert a model to a torch.nn.Sequential of Linear layers and activations, in eval mode.

    The module has the dtype of the weights and computes the outputs of the last layer. torch losses that take logits
    need the module without its last activation, ``module[:-1]``.

    Parameters
    ----------
    model : MLP, MLPClassifier or MLPRegressor
        A fitted model without skip connections and ``inputs``.

    Returns
    -------
    torch.nn.Sequential

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        For skip connections, ``inputs``, and for activations without a torch module.
    """
    torch, model = _torch(), exportable(model)
    if model.network.inputs is not None:
        raise ValueError("a model with inputs or input_scale cannot be exported to torch.")
    modules = []
    for layer in model.layers:
        if len(layer.sources) > 1 or layer.added is not None:
            raise ValueError(
                "models with skip connections cannot be exported to torch: a torch.nn.Sequential has none."
            )
        name, given = expression(layer.activation, "torch")
        linear = torch.nn.Linear(*layer.W.shape)
        linear.weight.data, linear.bias.data = (torch.from_numpy(a.copy()) for a in (layer.W.T, layer.b))
        if layer.slopes.size:
            activation = torch.nn.PReLU(layer.slopes.size)
            activation.weight.data = torch.from_numpy(layer.slopes.copy())
        else:
            activation = getattr(torch.nn, name)(**given)
        modules += [linear, activation]
    return torch.nn.Sequential(*modules).eval()


def from_torch(module: torch.nn.Sequential, loss: LossSpec | None = None, **params: Any) -> MLP:
    """Convert a torch.nn.Sequential to an MLP with the same layers and weights.

    Parameters
    ----------
    module : torch.nn.Sequential
        Linear layers, each optionally followed by an activation and then by Dropout. Flatten may come first, and
        modules may be Sequential themselves. Only torch's own classes without hooks are supported.
    loss : str, default=None
        Loss for further training. None takes the cross-entropy after a final Softmax or Sigmoid, else 'squared_error'.
    **params
        Other parameters of MLP.

    Returns
    -------
    MLP
        In float64 if the module is, else in float32.

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        For any other module; the message names it.
    """
    torch = _torch()
    if type(module) is not torch.nn.Sequential:
        raise ValueError(f"module must be a torch.nn.Sequential, got {type(module).__name__}.")
    layers: list[Any] = []
    for part in _parts(torch, module):
        if type(part) is torch.nn.Linear:
            if layers and part.in_features != layers[-1]["linear"].out_features:
                above = layers[-1]["linear"].out_features
                raise ValueError(
                    f"{part} takes {part.in_features} inputs, but the layer before it has {above} outputs."
                )
            layers.append({"linear": part, "activation": None, "slopes": None, "dropout": 0.0})
        elif type(part) is torch.nn.Flatten and not layers and (part.start_dim, part.end_dim) == (1, -1):
            continue
        elif not layers:
            raise ValueError(f"the first layer must be torch.nn.Linear, got {part}.")
        elif type(part) is torch.nn.Dropout and not layers[-1]["dropout"]:
            layers[-1]["dropout"] = part.p
        elif layers[-1]["activation"] is None and not layers[-1]["dropout"]:
            layers[-1]["activation"], layers[-1]["slopes"] = _activation(torch, part, layers[-1]["linear"])
        else:
            raise ValueError(
                f"{layers[-1]['linear']} cannot be followed by {part}: an MLP supports one activation and then "
                "one Dropout after each Linear."
            )
    if not layers:
        raise ValueError("module must contain at least one torch.nn.Linear.")
    activations = [layer["activation"] or "identity" for layer in layers]
    linears = [layer["linear"] for layer in layers]
    dtype = "float64" if linears[0].weight.dtype == torch.float64 else "float32"
    model = MLP(
        [Layer(linear.out_features, activation, layer["dropout"])
         for linear, activation, layer in zip(linears, activations, layers)],
        LOSSES.get(activations[-1], "squared_error") if loss is None else loss, **{"dtype": dtype} | params,
    ).build(linears[0].in_features)  # fmt: skip
    for W, b, slopes, layer in zip(model.weights, model.biases, model.slopes, layers):
        linear = layer["linear"]
        W[:] = _numbers(linear.weight).T
        b[:] = 0 if linear.bias is None else _numbers(linear.bias)
        if layer["slopes"] is not None:
            slopes[:] = layer["slopes"]
    return model


def _parts(torch, module):
    """Modules in order, with nested Sequential flattened and Identity left out."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(
            f"{module} has hooks, which may change its outputs: remove them (also those of pruning and weight norm)."
        )
    if type(module) is torch.nn.Sequential:
        for part in module:
            yield from _parts(torch, part)
    elif type(module) is not torch.nn.Identity:
        yield module


def _numbers(tensor):
    if not tensor.is_floating_point():
        raise ValueError(f"weights must be real numbers, got {tensor.dtype}.")
    return tensor.detach().cpu().double().numpy()


def _activation(torch, part, linear):
    """(name of the activation, trainable slopes or None) of a module."""
    if type(part) is torch.nn.PReLU:
        slopes = _numbers(part.weight)
        if slopes.size not in (1, linear.out_features):
            raise ValueError(
                f"{part} has slopes for {slopes.size} units, but the layer before it has {linear.out_features}."
            )
        return "shared_prelu" if slopes.size == 1 and linear.out_features > 1 else "prelu", slopes
    known = {name: row.torch for name, row in EXPRESSIONS.items() if row.torch is not None}
    for name, (kind, given) in known.items():
        if type(part) is getattr(torch.nn, kind):
            wrong = {key: getattr(part, key) for key, value in given.items() if getattr(part, key) != value}
            if name == "softmax" and wrong == {"dim": 1}:
                wrong = {}
            if not wrong:
                return name, None
    raise ValueError(f"MLP does not support {part}. Supported: {', '.join(kind for kind, _ in known.values())}.")
