"""FastMLP: a multilayer perceptron as a torch module, computed by the kernels of fastmlp on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fastmlp.backends import registry
from fastmlp.extras import from_extra
from fastmlp.kernels.cpu import thread_pool
from fastmlp.model.differentiable_network import SHARED_ROWS, rows_to_reserve
from fastmlp.model.mlp import MLP
from fastmlp.training.problem import noise_for
from fastmlp.typing import Backend, InitSpec, LayerSpec, LossSpec, OptimizerSpec

with from_extra("torch", "fastmlp.torch needs torch"):
    import torch

DTYPES = {torch.float32: "float32", torch.float64: "float64"}


class FastMLP(torch.nn.Module):
    """Multilayer perceptron that replaces a torch.nn.Sequential of Linear layers and activations on the CPU.

    All weights are one parameter, ``flat``, in the order W1 b1 W2 b2 ... (each W of shape (inputs, outputs), the
    transpose of torch's; trainable slopes follow the biases of their layer). Optimizers, ``state_dict``, ``deepcopy``
    and gradient clipping work as with any module. An optimizer option such as weight decay applies to biases too.

    Only first derivatives are available: double backward and torch.func transforms raise an error. Dropout is applied
    in training mode (``train()``), with numbers drawn from torch's generator. At most ``torch.get_num_threads()``
    threads are used.

    Parameters
    ----------
    n_inputs : int
        Number of input columns.
    layers : sequence of Layer or (units, activation)
        Hidden layers followed by the output layer, as in ``fastmlp.MLP``.
    init : as in ``fastmlp.MLP``, default='glorot_uniform'
        Initial weights. ``torch.manual_seed`` makes them reproducible.
    dtype : torch.float32, torch.float64 or None, default=None
        Data type; None is torch's default.
    backend : {'auto', 'cython', 'numba', 'numpy'}, default='auto'
        Compute backend.

    Attributes
    ----------
    flat : torch.nn.Parameter of shape (n_parameters,)
        All weights.
    weights, biases : list of tensors
        Views into ``flat``, for initialization and inspection: in-place changes change the module.

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import torch
    >>> from fastmlp.torch import FastMLP
    >>> module = FastMLP(8, [(64, "tanh"), (64, "tanh"), (1, "identity")])
    >>> optimizer = torch.optim.Adam(module.parameters())
    >>> loss = (module(torch.zeros(32, 8)) - 1).square().mean()
    >>> loss.backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        n_inputs: int,
        layers: Sequence[LayerSpec],
        *,
        init: InitSpec = "glorot_uniform",
        dtype: torch.dtype | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}.")
        if backend == registry.GPU:
            raise ValueError(
                f"FastMLP runs on the CPU: backend must be 'auto', 'cython', 'numba' or 'numpy', got {backend!r}."
            )
        seed = int(torch.randint(2**31 - 1, ()))
        model = MLP(layers, init=init, dtype=DTYPES[dtype], backend=backend, random_state=seed).build(n_inputs)
        self.layers, self.network, self.backend = model.layers, model.network, model.backend
        self._is_noisy = self._noise(0) is not None
        self._set_kernels()
        self.flat = torch.nn.Parameter(torch.from_numpy(model.parameters))

    @classmethod
    def from_model(cls, model: MLP) -> Self:
        """Convert a model to a module with the same layers and a copy of its weights.

        Parameters
        ----------
        model : MLP
            A model with weights. Its ``matmul_precision`` is left out: a module computes in full precision.

        Returns
        -------
        FastMLP

        Raises
        ------
        ValueError
            If the model has ``inputs`` or ``input_scale``, or no weights.
        """
        if model.network.inputs is not None:
            raise ValueError("a model with inputs or input_scale cannot be a torch module.")
        dtype = {name: dtype for dtype, name in DTYPES.items()}[model.parameters.dtype.name]
        module = cls(model.network.sizes[0], model.layers, dtype=dtype)
        module.flat.data.copy_(torch.from_numpy(model.parameters.copy()))
        return module

    def to_model(self, loss: LossSpec = "squared_error", optimizer: OptimizerSpec = "adam", **params: Any) -> MLP:
        """Convert the module to a model with the same layers and a copy of its weights.

        Parameters
        ----------
        loss, optimizer, **params
            Parameters of ``fastmlp.MLP``.

        Returns
        -------
        MLP
        """
        params = {"dtype": DTYPES[self.flat.dtype]} | params
        model = MLP(self.layers, loss, optimizer, **params).build(self.network.sizes[0])
        model.parameters[...] = self.flat.detach().numpy()
        return model

    @property
    def weights(self) -> list[torch.Tensor]:
        flat = self.flat.detach()
        return [
            flat[start : start + fan_in * fan_out].view(fan_in, fan_out)
            for start, fan_in, fan_out, _ in self.network.blocks
        ]

    @property
    def biases(self) -> list[torch.Tensor]:
        flat = self.flat.detach()
        ends = [start + fan_in * fan_out for start, fan_in, fan_out, _ in self.network.blocks]
        return [flat[end : end + block.fan_out] for end, block in zip(ends, self.network.blocks)]

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Compute the outputs of the network.

        Parameters
        ----------
        X : torch.Tensor of shape (..., n_inputs)
            On the CPU, in the dtype of the module.

        Returns
        -------
        torch.Tensor of shape (..., n_outputs)

        Raises
        ------
        ValueError
            If X has another dtype, device or last dimension, or the module was moved from the CPU.
        """
        flat, sizes = self.flat, self.network.sizes
        if not (
            isinstance(X, torch.Tensor) and X.dtype == flat.dtype and flat.dtype in DTYPES and X.is_cpu and flat.is_cpu
            and X.dim() > 0 and X.shape[-1] == sizes[0] and X.layout is torch.strided
        ):  # fmt: skip
            self._refuse(X, flat)
        if X.dim() != 2:
            return self.forward(X.reshape(-1, sizes[0])).reshape(*X.shape[:-1], sizes[-1])  # without hooks
        noise = self._noise(int(torch.randint(2**62, ()))) if self._is_noisy and self.training else None
        if torch.is_grad_enabled() and (flat.requires_grad or X.requires_grad):
            return _Pass.apply(X, flat, self, noise)
        if X.shape[0] > SHARED_ROWS:  # in blocks, without a workspace for all rows
            with thread_pool.limited_to(torch.get_num_threads):
                return torch.from_numpy(
                    self._kernels.forward(self.network, self._array_of_weights(flat), _array(X), noise=noise)
                )
        passes, outputs = self._pass(X, flat, noise)
        self._give_back(passes, X.shape[0], outputs.dtype, noise)
        return torch.from_numpy(outputs)

    def _noise(self, seed):
        """The Noise of a pass in training mode, or None."""
        return noise_for(self.network.activations, seed, dropout=[layer.dropout for layer in self.layers])

    def _pass(self, X, flat, noise):
        """(passes, outputs): the result of ``prepare_gradient``, which only the caller has until it gives it back."""
        parameters, X = self._array_of_weights(flat), _array(X)
        n_rows, dtype = rows_to_reserve(len(X)), parameters.dtype
        passes = self._idle.pop((n_rows, dtype), None) if noise is None else None  # atomic
        if passes is None:
            passes = self._kernels.prepare_gradient(self.network, dtype, n_rows, noise)
        return passes, _run(passes, len(X), passes.forward, parameters, X)

    def _give_back(self, passes, n_rows, dtype, noise):
        if noise is None and n_rows <= SHARED_ROWS:
            self._idle[rows_to_reserve(n_rows), dtype] = passes

    def _array_of_weights(self, flat):
        """The weights as a NumPy array that shares memory with ``flat``."""
        key, (seen, parameters) = (flat.data_ptr(), flat.dtype, flat.numel(), flat.is_contiguous()), self._view
        if key != seen:
            if flat.shape != (self.network.n_parameters,) or not flat.is_contiguous():
                raise ValueError(
                    f"flat must be a contiguous tensor of shape ({self.network.n_parameters},), got shape "
                    f"{tuple(flat.shape)}."
                )
            parameters = flat.detach().numpy()
            self._view = key, parameters
        return parameters

    def _refuse(self, X, flat):
        if flat.device.type != "cpu" or flat.dtype not in DTYPES:
            raise ValueError(
                f"FastMLP computes on the CPU in float32 or float64, but the module is {flat.dtype} on {flat.device}: "
                "call module.cpu().float() or module.cpu().double()."
            )
        got = type(X).__name__
        if isinstance(X, torch.Tensor):
            got = f"{X.dtype} of shape {tuple(X.shape)} on {X.device}"
        raise ValueError(
            f"X must be a dense {flat.dtype} tensor of shape (..., {self.network.sizes[0]}) on the CPU, got {got}."
        )

    def extra_repr(self) -> str:
        """Describe the layers."""
        layers = ", ".join(f"{units} {name}" for units, name in zip(self.network.sizes[1:], self.network.activations))
        return f"{self.network.sizes[0]} inputs, {layers}, backend={self.backend!r}"

    def _set_kernels(self):
        """Set the attributes that copies and pickles leave out: kernels, idle buffers, and the array of the weights."""
        self._kernels, self._idle, self._view = registry.choose(self.backend).kernels, {}, (None, None)

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name not in ("_kernels", "_idle", "_view")}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._set_kernels()


class _Pass(torch.autograd.Function):
    """A pass through a FastMLP. No other call uses its buffers until the backward pass is done."""

    @staticmethod
    def forward(ctx, X, flat, module, noise):
        ctx.save_for_backward(X, flat)  # which notices changes in place
        ctx.module, ctx.noise = module, noise
        ctx.passes, outputs = module._pass(X, flat, noise)
        return torch.from_numpy(outputs)

    @staticmethod
    def backward(ctx, output_gradient):
        X, flat = ctx.saved_tensors
        gradients = _backward(ctx, output_gradient, X, flat)
        if torch.is_grad_enabled():  # create_graph=True
            sources = output_gradient, X, flat
            gradients = [None if one is None else _Once.apply(one, *sources) for one in gradients]
        return *gradients, None, None


class _Once(torch.autograd.Function):
    """A gradient, which has no derivatives with respect to what it depends on.

    torch's once_differentiable would only notice those with respect to the gradient of the outputs.
    """

    @staticmethod
    def forward(ctx, gradient, *sources):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, *of_gradient):
        raise RuntimeError(
            "FastMLP computes gradients once and has no second derivatives: for these use a torch.nn.Sequential, which "
            "fastmlp.to_torch(module.to_model()) makes."
        )


def _backward(ctx, output_gradient, X, flat):
    """(dLoss/dX or None, dLoss/dflat)"""
    module, noise = ctx.module, ctx.noise
    passes = vars(ctx).pop("passes", None)
    if passes is None:  # a second backward pass, with retain_graph
        passes, _ = module._pass(X, flat, noise)
    output_gradient = _array(output_gradient)
    gradient, of_X = np.empty(len(flat), output_gradient.dtype), None
    if ctx.needs_input_grad[0]:
        of_X = np.empty(X.shape, gradient.dtype)
    _run(passes, len(X), passes.backward, output_gradient, gradient, of_X)
    module._give_back(passes, len(X), gradient.dtype, noise)
    return None if of_X is None else torch.from_numpy(of_X), torch.from_numpy(gradient)


def _run(passes, n_rows, function, *arguments):
    """Call a function of passes with torch's number of threads as the limit."""
    if not passes.takes_threads(n_rows):
        return function(*arguments)
    with thread_pool.limited_to(torch.get_num_threads):
        return function(*arguments)


def _array(tensor):
    """A C-contiguous NumPy array, which shares memory with a tensor if that is contiguous."""
    return (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy(force=True)  # of conjugates etc. too
