"""CompiledStep: single optimizer steps for custom training loops, without the overhead of ``fit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp.backends.threads import ThreadLimit
from fastmlp.kernels.spec import Batches, SparseRows, loss_row
from fastmlp.prediction.predict import reported_loss
from fastmlp.prediction.sparse import sparse_or_dense
from fastmlp.training.full_batch import is_full_batch
from fastmlp.typing import ArrayOrCSR, FloatArray, NDArray
from fastmlp.validation.arrays import is_valid_csr
from fastmlp.validation.checks import check_integer

from .array_checks import check_array, check_rows, described
from .exclusive import claim, release

if TYPE_CHECKING:
    from .mlp import MLP


class CompiledStep:
    """Function that makes one optimizer step of a model; ``MLP.compile_step`` returns it.

    The buffers of a step are allocated once, and the values of X, y and sample weights are not checked: NaN in X makes
    the weights NaN. Everything else about the model is looked up in each call, so weights, ``alpha``, ``optimizer`` and
    ``backend`` can be changed between calls. The GIL is released during the computation. Ctrl-C
    takes effect when a call ends; the steps of that call may then be missing in the count by which Adam corrects its
    moments.

    Parameters
    ----------
    model : MLP
        A model with weights.
    batch_size : int
        Samples per step.
    """

    def __init__(self, model: MLP, batch_size: int) -> None:
        self._model, self._batch_size = model, check_integer("batch_size", batch_size, 1)
        self._network = network = model.network
        self._shapes = (self._batch_size, network.n_columns), (self._batch_size, network.sizes[-1])
        self._is_softmax = loss_row(network.loss).link == "softmax"  # whose targets have no weights of their own
        self._dtype, self._order = model.dtype, np.arange(self._batch_size)
        self._accept(model.optimizer)
        model._state.make_writable()

    def __call__(self, X: ArrayOrCSR, y: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Make one step.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (batch_size, n_inputs)
            C-contiguous array, ``csr_array`` or ``csr_matrix`` in the dtype of the model. CSR is converted to an array
            where ``fit`` would convert it. X must not change during a call.
        y : ndarray of shape (batch_size, n_outputs)
            C-contiguous array in the dtype of the model; for a list of quantiles the target is repeated in each column.
        sample_weight : ndarray of shape (batch_size,) or (batch_size, n_outputs), default=None
            A missing target is a finite number of weight 0.

        Returns
        -------
        float
            The loss of the batch before the step, penalties included. NaN or infinity means that training has diverged.

        Raises
        ------
        ValueError
            If an array has another shape, dtype or memory layout, or a sparse X is not a valid CSR matrix.
        RuntimeError
            If a fit or step of this model is running.
        """
        if not (self._takes(X) and self._is_valid(y) and X.shape == self._shapes[0] and y.shape == self._shapes[1]):
            self._refuse(X, y, self._batch_size)
        if sample_weight is not None:
            self._check_weight(sample_weight, self._batch_size)
        return self._run(Batches(X, y, self._order, self._batch_size, sample_weight))

    def many(self, X: ArrayOrCSR, y: FloatArray, order: NDArray, sample_weight: FloatArray | None = None) -> float:
        """Make several steps in one call. Ctrl-C waits until all of them are done.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_inputs)
            Where CSR is converted to an array, each call converts all samples.
        y : ndarray of shape (n_samples, n_outputs)
        order : ndarray of int64
            Indices of the samples of all steps, one batch after the other. The last batch may be smaller.
        sample_weight : ndarray of shape (n_samples,) or (n_samples, n_outputs), default=None

        Returns
        -------
        float
            Mean loss of the samples in ``order``, penalties included, each computed before its step.

        Raises
        ------
        ValueError, RuntimeError
            As for a single step, and if ``order`` has indices out of range.
        """
        if not (self._takes(X) and self._is_valid(y) and self._have_same_length(X, y)):
            self._refuse(X, y, "n_samples")
        if sample_weight is not None:
            self._check_weight(sample_weight, len(y))
        good = type(order) is np.ndarray and order.ndim == 1 and order.dtype == np.int64 and order.size > 0
        order = order.copy() if good else order  # another thread may change it after the check
        if not good or order.min() < 0 or order.max() >= len(y):
            raise ValueError(f"order must be a 1-D int64 array of indices from 0 to {len(y) - 1}, got {order!r}.")
        return self._run(Batches(X, y, order, self._batch_size, sample_weight))

    def _run(self, batches):
        """Make steps over valid Batches. Returns the mean loss of the samples."""
        model = self._model
        own = claim(model, is_short=True)
        try:
            if model._network is not self._network and model._network != self._network:
                raise ValueError(
                    "layers or matmul_precision of the model have changed since compile_step: call compile_step again."
                )
            state, optimizer, n_samples = model._state, model._optimizer, len(batches.order)
            if optimizer is not self._optimizer:
                self._accept(optimizer)
            if state.order is not None:  # of an epoch that was interrupted
                state.drop_epoch_in_progress()
            problem = model._problem()
            if type(batches.X) is not np.ndarray:
                rows = sparse_or_dense(problem.kernels, problem.network, batches.X, problem.noise)
                batches = batches._replace(X=rows)
            prepared = state.take_prepared(problem, self._batch_size)
            # On SparseRows the number of threads depends on the nonzeros, which takes_threads does not know.
            if type(batches.X) is SparseRows or prepared.train.takes_threads(n_samples):
                with ThreadLimit(model.n_jobs, problem.kernels):
                    loss, penalty, n_steps = prepared.train(batches, state.step)
            else:
                loss, penalty, n_steps = prepared.train(batches, state.step)
            state.step += n_steps
            state.keep_prepared(prepared)
        finally:
            release(model, own)
        return reported_loss(self._network, loss / n_samples, penalty / n_samples)

    def _accept(self, optimizer):
        check_single_steps("compile_step", optimizer)
        self._optimizer = optimizer

    def _takes(self, X):
        return self._is_valid(X) or (is_valid_csr(X) and X.dtype == self._dtype and self._network.inputs is None)

    def _is_valid(self, array):
        return type(array) is np.ndarray and array.dtype == self._dtype and array.flags.c_contiguous

    def _have_same_length(self, X, y):
        (_, n_inputs), (_, n_outputs) = self._shapes
        return X.shape[1:] == (n_inputs,) and y.shape[1:] == (n_outputs,) and X.shape[0] == len(y)

    def _check_weight(self, weight, n_samples):
        if self._is_valid(weight) and weight.shape in self._weight_shapes(n_samples):
            return
        raise ValueError(
            f"sample_weight must be a C-contiguous {self._dtype} array of shape "
            f"{' or '.join(map(str, self._weight_shapes(n_samples)))}, got {described(weight)}."
        )

    def _weight_shapes(self, n_samples):
        of_samples, of_targets = (n_samples,), (n_samples, self._network.sizes[-1])
        return (of_samples,) if self._is_softmax else (of_samples, of_targets)

    def _refuse(self, X, y, n_samples):
        check_rows(X, self._dtype, self._network, n_samples)
        check_array("y", y, self._dtype, (X.shape[0], self._network.sizes[-1]))


def check_single_steps(method, optimizer):
    """Raise ValueError if a method cannot make single steps with an optimizer."""
    if is_full_batch(optimizer):
        raise ValueError(
            f"{method} requires an optimizer such as 'adam' or 'sgd', got {optimizer!r}, which needs all samples at "
            "once."
        )
    if optimizer.schedule is not None:
        raise ValueError(
            f"{method} does not follow the schedule {optimizer.schedule.name!r}, which depends on epochs: set "
            "model.optimizer to one with the learning rate that you want, also between steps."
        )
