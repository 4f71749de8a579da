"""DifferentiableNetwork: forward and backward passes of an MLP, and steps from gradients, for custom losses."""

from __future__ import annotations

import threading
from typing import Literal, Self, overload

import numpy as np
from scipy.sparse import issparse

from fastmlp.backends.threads import ThreadLimit
from fastmlp.kernels.spec import SparseRows
from fastmlp.prediction.sparse import sparse_or_dense
from fastmlp.training.state import Prepared
from fastmlp.typing import ArrayOrCSR, FloatArray
from fastmlp.validation.checks import check_flags, check_real

from .array_checks import check_array, check_rows
from .compiled_step import check_single_steps
from .evaluable_network import EvaluableNetwork
from .exclusive import Reading, one_step_at_a_time

SHARED_ROWS = 4096  # larger batches have buffers of their own size


class LastPass:
    """The last forward pass of a model: its kernels, and the parameters that it used, which may change meanwhile."""

    def __init__(self, parameters):
        self.parameters, self._total, self._key = parameters.copy(), np.zeros_like(parameters), None
        self._step, self._number = -1, 0

    def forward(self, problem, state, X, n_jobs):
        """Outputs for X. The first pass after a step draws the random numbers of that step, later ones draw others."""
        self.thread = None  # until this pass is complete
        self._number = self._number + 1 if self._step == state.step else 0
        self._step, self.n_jobs = state.step, n_jobs
        self.is_sparse, shape = issparse(X), X.shape
        if self.is_sparse:
            X = sparse_or_dense(problem.kernels, problem.network, X, problem.noise)
        key = problem.kernels, problem.network, problem.noise, rows_to_reserve(len(X)), type(X) is SparseRows
        if key != self._key:
            self.kernels, network, noise, n_rows, sparse = key
            self._passes = self.kernels.prepare_gradient(network, state.parameters.dtype, n_rows, noise, sparse)
            self._key = key
        self.parameters[...] = state.parameters
        # Random numbers are a function of the step: steps stay below 2^40, and the bits above count the passes.
        step = state.step + (self._number % 2**22 << 40)
        outputs = self._run(len(X), self._passes.forward, self.parameters, X, step)
        self.shapes, self.thread = (outputs.shape, shape), threading.get_ident()
        return outputs

    def backward(self, output_gradient, accumulate, input_gradient):
        """(gradient, dLoss/dX or None), from dLoss/d(outputs); ``accumulate``: plus the last gradient returned."""
        gradient = np.empty_like(self.parameters)
        of_inputs = np.empty(self.shapes[1], gradient.dtype) if input_gradient else None
        self._run(len(output_gradient), self._passes.backward, output_gradient, gradient, of_inputs)
        if accumulate:
            gradient += self._total
        self._total[...] = gradient
        return gradient, of_inputs

    def _run(self, n_rows, function, *arguments):
        if not self._passes.takes_threads(n_rows):
            return function(*arguments)
        with ThreadLimit(self.n_jobs, self.kernels):
            return function(*arguments)


def rows_to_reserve(n_rows):
    """The batch size to prepare passes for, so that varying numbers of rows share few buffers."""
    return n_rows if n_rows > SHARED_ROWS else max(16, 1 << (n_rows - 1).bit_length())


class DifferentiableNetwork(EvaluableNetwork):
    """Base class of MLP with forward and backward passes; MLP documents the parameters and attributes."""

    @one_step_at_a_time
    def forward(self, X: ArrayOrCSR) -> FloatArray:
        """Compute the outputs of a training pass, with dropout and noise, and keep what ``backward`` needs.

        Without dropout and noise the outputs are those of ``predict``. X is copied, and so are the weights: both may
        be changed before ``backward``, which belongs to the outputs that this call returns.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_inputs)
            C-contiguous array, ``csr_array`` or ``csr_matrix`` in the dtype of the model, with any number of samples.
            Values are not checked: NaN in X makes the outputs and gradients NaN. The first layer reads only the
            nonzeros of a CSR matrix. The matrix is converted to an array on the backend 'numpy', if more than 15 % of
            its values are stored, with a ``matmul_precision`` below 'highest', and for networks with dropout or noise
            on the inputs or a skip connection from them.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)

        Raises
        ------
        ValueError
            If X has another shape, dtype, memory layout or sparse format or invalid indices, if it is sparse and the
            model has ``inputs``, if the model has no weights, or if its backend is 'cuda'.
        RuntimeError
            If a fit, step or pass of this model is running.
        """
        self._need_weights()
        check_rows(X, self.dtype, self._network)
        state = self._state
        last = state.last_pass
        if last is None:
            last = LastPass(state.parameters)
        outputs = last.forward(self._problem(), state, X, self.n_jobs)
        state.last_pass = last
        return outputs

    @overload
    def backward(
        self, output_gradient: FloatArray, accumulate: bool = False, input_gradient: Literal[False] = False
    ) -> FloatArray: ...

    @overload
    def backward(
        self, output_gradient: FloatArray, accumulate: bool = False, *, input_gradient: Literal[True]
    ) -> tuple[FloatArray, FloatArray]: ...

    @one_step_at_a_time
    def backward(
        self, output_gradient: FloatArray, accumulate: bool = False, input_gradient: bool = False
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Compute the gradient of a loss from its derivatives with respect to the outputs of ``forward``.

        The loss is any function of the outputs; the model's own loss and penalties play no part. Several calls may
        follow one ``forward``, for example one for each output. The gradient belongs to the weights at the time of
        ``forward``, even if they have changed since.

        Parameters
        ----------
        output_gradient : ndarray of shape (n_samples, n_outputs)
            dLoss/d(outputs): C-contiguous array in the dtype of the model. For a mean over samples it includes the
            factor 1 / n_samples.
        accumulate : bool, default=False
            Whether to add the gradient that the previous call returned, for losses over several batches.
        input_gradient : bool, default=False
            Whether to return dLoss/dX too; not available for a sparse X, because it would be dense.

        Returns
        -------
        ndarray of shape (n_parameters,)
            dLoss/d(parameters), in the order of ``parameters``. With ``input_gradient``, a pair of this array and
            dLoss/dX, an array of shape (n_samples, n_inputs), which is never accumulated.

        Raises
        ------
        ValueError
            If ``output_gradient`` has another shape, dtype or memory layout, or if there was no ``forward`` since the
            weights were built, or the last one was called by another thread, or had a sparse X and
            ``input_gradient`` is True.
        RuntimeError
            If a fit, step or pass of this model is running.
        """
        self._need_weights()
        last = self._state.last_pass
        if last is None or last.thread != threading.get_ident():
            reason = "there was none since the model was built or copied" if last is None else (
                "the last one was called by another thread: use one model per thread" if last.thread else
                "the last one did not succeed"
            )  # fmt: skip
            raise ValueError(f"backward requires a call of forward before it, but {reason}.")
        accumulate, input_gradient = check_flags(accumulate=accumulate, input_gradient=input_gradient)
        check_array("output_gradient", output_gradient, self.dtype, last.shapes[0])
        if input_gradient and last.is_sparse:
            raise ValueError(
                "input_gradient is not available after forward(X) with a sparse X, because dLoss/dX is dense: call "
                "forward(X.toarray())."
            )
        gradient, of_inputs = last.backward(output_gradient, accumulate, input_gradient)
        return (gradient, of_inputs) if input_gradient else gradient

    @one_step_at_a_time
    def apply(self, gradient: FloatArray) -> None:
        """Make one step of the model's optimizer from a gradient.

        With the gradient of the model's loss, averaged over a batch, this is the step that ``compile_step`` makes for a
        model without penalties. Weight decay, clipping, ``max_norm`` and ``layer_rates`` of the optimizer are included;
        ``alpha``, ``l1`` and the activity penalties are part of a loss and are not added. Like ``compile_step``, this
        does not change ``epoch`` and ``history``.

        Parameters
        ----------
        gradient : ndarray of shape (n_parameters,)
            Gradient with respect to ``parameters``: C-contiguous array in the dtype of the model. Values are not
            checked: NaN makes the weights NaN.

        Raises
        ------
        ValueError
            If ``gradient`` has another shape, dtype or memory layout, the optimizer is 'lbfgs' or 'lm' or has a
            schedule, or the backend is 'cuda'.
        RuntimeError
            If a fit, step or pass of this model is running.
        """
        self._need_weights()
        check_array("gradient", gradient, self.dtype, (self._state.parameters.size,))
        check_single_steps("apply", self.optimizer)
        state, kernels = self._state, self._backend.kernels
        state.make_writable()
        key, arrays = (kernels, self._network, state.optimizer), (state.parameters, state.slots)
        prepared = state.prepared_update
        if prepared is None or not prepared.is_for(key, arrays):
            prepared = Prepared(key, arrays, kernels.prepare_update(self._network, state.optimizer, *arrays))
        if state.order is not None:  # of an epoch that was interrupted
            state.drop_epoch_in_progress()
        prepared.train(gradient, state.step)
        state.step += 1
        state.prepared_update = prepared

    def copy_parameters(self, source: DifferentiableNetwork, tau: float = 1.0) -> Self:
        """Set the parameters to ``tau * source + (1 - tau) * own``, for target networks.

        The state of the optimizer does not change.

        Parameters
        ----------
        source : MLP
            A model with the same inputs and layers of the same sizes, skip connections and trainable slopes.
        tau : float in [0, 1], default=1
            Weight of ``source``; 1 copies its parameters.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the models do not have the same layers, or one of them has no weights.
        RuntimeError
            If a fit, step or pass of this model is running.
        """
        if not isinstance(source, DifferentiableNetwork):
            raise ValueError(f"source must be an MLP, got {type(source).__name__}.")
        self._need_weights()
        tau = check_real("tau", tau, 0, 1)
        if source.network.blocks != self._network.blocks or source.network.inputs != self._network.inputs:
            raise ValueError(
                f"source must have the same inputs and layers of the same sizes, skip connections and trainable slopes "
                f"as this model: its sizes are {source.network.sizes}, those of this model {self._network.sizes}."
            )
        with Reading(source) as read:  # before this model is claimed: another thread may copy from it to the source
            new = read._state.parameters.copy()
        self._blend(new, tau)
        return self

    @one_step_at_a_time
    def _blend(self, new, tau):
        state = self._state
        state.make_writable()
        if state.order is not None:  # of an epoch that was interrupted
            state.drop_epoch_in_progress()
        if tau == 1:
            state.parameters[...] = new
        else:
            state.parameters += tau * (new - state.parameters)
