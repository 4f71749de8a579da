"""Training steps of a compiled engine, with everything prepared that does not depend on the samples."""

from ctypes import addressof

import numpy as np

from fastmlp.kernels.engine.online_plan import online_plan
from fastmlp.kernels.engine.partition import INPUT_DROPOUT
from fastmlp.kernels.engine.plan import GRADIENT, TRAINING, plan_of
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.engine.records import Epochs, Run
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, constants, extras_of
from fastmlp.kernels.spec import SparseRows, aligned_zeros, flat_weights

from . import thread_pool
from .columns import columns_by_thread
from .sparse import UPDATE_FLOPS, bind_sparse, sparse_flops


class Training:
    """Function that makes the steps of ``train_epoch`` in batches of a given size.

    It changes ``parameters``, ``slots`` and, if given, ``gradient``. Only one thread may call it at a time. ``part`` is
    the Part of a larger batch that the samples of each call are, or None.
    """

    _is_sparse = False
    part = None

    def __init__(self, engine, network, optimizer, parameters, slots, batch_size, penalty, noise, gradient=None):
        self._engine, self._network, self._dtype = engine, network, parameters.dtype
        self._batch_size, self._alpha = batch_size, penalty.alpha
        self._loss_options, self._options = constants(network.loss_options), constants(optimizer.options)
        self._rates = engine.read_only(constants((optimizer.learning_rate,)).array)
        self._codes = NO_RULE, NO_RULE
        if optimizer is not NO_OPTIMIZER:
            self._codes = engine.optimizer_codes(optimizer.name, self._dtype)
        self._extras, self._noise = extras_of(network, optimizer, penalty, noise), noise
        self._no_weights, self._results = np.empty(0, self._dtype), np.zeros(3)
        self._parameters, self._slots = parameters, slots
        self._gradient = np.empty(0, self._dtype) if gradient is None else gradient
        self._given = engine, network, optimizer, parameters, slots, batch_size, penalty, noise, gradient
        self._on_sparse_rows = None
        self._prepare(optimizer)

    def _prepare(self, optimizer):
        """Make the plan, and the arrays that are kept between calls."""
        # A gradient must not change the parameters, not even rearrange them.
        work = GRADIENT if optimizer is NO_OPTIMIZER else TRAINING
        plan = plan_of(self._engine, self._network, self._dtype, self._batch_size, work, self._requirements())
        if optimizer.clip_norm > 0:
            self._gradient = aligned_zeros(plan.n_parameters, self._dtype)
        self._matrices = []  # copied by columns while several threads train
        if plan.by_columns:
            shape = self._network.sizes[:2]
            self._matrices = [v[: shape[0] * shape[1]].reshape(shape) for v in (self._parameters, *self._slots)]
        self._plan, self._user = plan, object()  # a token for Buffers.user, which must not keep these arrays alive

    def _requirements(self):
        return self._extras.requirements

    def __call__(self, batches, step, rates=None, totals=(0.0, 0.0)):
        """Arguments and result are those of ``train_epoch``; the batch size is the prepared one."""
        if type(batches.X) is SparseRows and not self._is_sparse:
            self._on_sparse_rows = self._on_sparse_rows or SparseTraining(*self._given)
            self._on_sparse_rows.part = self.part
            return self._on_sparse_rows(batches, step, rates, totals)
        self._run(batches, step, rates, totals)
        loss, penalty, n_steps = self._results.tolist()
        return loss, penalty, int(n_steps)

    def repeat(self, batches, step, repeat, rates=None):
        """Several epochs in this thread; arguments and result are those of the contract."""
        losses, start, (draw, generator) = np.empty((repeat.n_epochs, 2)), np.empty_like(self._parameters), repeat.draws
        epochs = Epochs(
            n_epochs=repeat.n_epochs, draw=draw, generator=generator, from_scratch=repeat.from_scratch,
            start=start.ctypes.data, losses=losses.ctypes.data, largest=repeat.largest,
            n_batches=-(-len(batches.order) // self._batch_size),
        )  # fmt: skip
        self._repeat(epochs, batches, step, rates, (0.0, 0.0))
        return losses[: epochs.n_done], int(self._results[2]), start

    def takes_threads(self, n_samples):
        """Whether a call for that many samples uses the thread pool, so that a thread limit affects it."""
        return self._plan.wanted_threads(n_samples) > 0

    def _run(self, *call):
        wanted = self._plan.wanted_threads(len(call[0].order))
        if not wanted:
            self._run_in_threads(1, *call)
            return
        with thread_pool.taken(wanted) as n_threads:
            if n_threads == 1 or not self._matrices:  # the context would take a fifth of the time of a short call
                self._run_in_threads(n_threads, *call)
                return
            with columns_by_thread(self._matrices, self._plan.lanes, n_threads):
                self._run_in_threads(n_threads, *call)

    def _repeat(self, epochs, *call):
        self._run_in_threads(1, *call, epochs=epochs)

    def _run_in_threads(self, n_threads, *call, epochs=None):
        plan = self._plan
        buffers = plan.take_buffers(n_threads)
        self._describe(buffers)
        if self.part is not None:
            buffers.run.first_row, buffers.run.batch_weight = self.part
        buffers.begin(n_threads)
        self._bind(buffers.address, *call)
        if epochs is not None:
            buffers.run.repeated, buffers.run.epochs = True, addressof(epochs)
        thread_pool.run(n_threads, self._engine.entries.run_train, buffers.arguments_of, buffers.counter)
        if epochs is not None:
            buffers.run.repeated = False
        plan.give_back(buffers)

    def _describe(self, buffers):
        """Store the constants in buffers, unless they hold them."""
        if buffers.user is not self._user:
            self._set_constants(buffers.run)
            buffers.describe(self._extras, self._noise)
            buffers.user = self._user

    def _set_constants(self, run):
        run.batch_size, run.alpha = self._batch_size, self._alpha
        run.first_row, run.batch_weight = 0, 0.0
        run.loss_options, run.optimizer_options = self._loss_options.address, self._options.address
        run.optimizer, run.rate_rule = self._codes
        self._engine.entries.bind_parameters(
            addressof(run), self._parameters, self._gradient, self._slots, self._results
        )  # fmt: skip

    def _bind(self, address, batches, step, rates, totals):
        """Store the arguments of a call in the Run at an address."""
        X, y, order, _, weight = batches
        weight = self._no_weights if weight is None else flat_weights(weight)
        loss, penalty = totals
        totals = float(loss), float(penalty)  # Numba would compile again for other types
        read_only = self._engine.read_only
        self._engine.entries.bind_samples(
            address, read_only(X), read_only(y), read_only(order), read_only(weight),
            self._rates if rates is None else read_only(rates), rates is not None, step, totals,
        )  # fmt: skip


class OnlineTraining(Training):
    """Steps of one sample each, without noise or penalties other than alpha (engine/online.py)."""

    def _prepare(self, optimizer):
        self._plan = plan = online_plan(self._engine, self._network, self._dtype)
        self._gradient = aligned_zeros((2 + len(self._slots)) * plan.n_local + plan.workspace, self._dtype)
        self._record = Run(layout=addressof(plan.layout))
        self._arguments = addressof(self._record), plan.like
        self._set_constants(self._record)

    def takes_threads(self, n_samples):
        return False

    def _run(self, *call):
        self._bind(self._arguments[0], *call)
        self._engine.entries.run_online(*self._arguments)

    def _repeat(self, epochs, *call):
        self._record.repeated, self._record.epochs = True, addressof(epochs)
        try:
            self._run(*call)
        finally:
            self._record.repeated = False


class SparseTraining(Training):
    """Steps on SparseRows (engine/sparse_rows.py), for batches of any size."""

    _is_sparse = True

    def _prepare(self, optimizer):
        super()._prepare(optimizer)
        self._no_rows = self._engine.read_only(np.empty((0, 0), self._dtype))
        # With plain SGD, weights without a gradient stay as they are.
        options = self._alpha, *self._extras.array[:INPUT_DROPOUT]
        idle = not len(self._slots) and optimizer is not NO_OPTIMIZER and not any(options)
        first = self._network.blocks[0]
        self._n_updated = 0 if idle else first.fan_in * first.fan_out

    def _requirements(self):
        return self._extras.requirements._replace(sparse=True)

    def _run(self, batches, *call):
        with thread_pool.taken(self._wanted_threads(batches)) as n_threads:
            self._run_in_threads(n_threads, batches, *call)

    def _wanted_threads(self, batches):
        """The number of threads worth using; also finds how many nonzeros a batch has at most."""
        starts, order = batches.X.row_starts, batches.order
        first_of_batches = np.arange(0, len(order), self._batch_size)
        n_nonzeros = np.add.reduceat(starts[order + 1] - starts[order], first_of_batches)
        self._most_nonzeros, n_steps = int(n_nonzeros.max()), len(first_of_batches)
        flops = sparse_flops(self._network, n_nonzeros.sum() / n_steps, True) + UPDATE_FLOPS * self._n_updated
        return self._plan.wanted_threads(len(order), flops, n_steps)

    def _describe(self, buffers):
        super()._describe(buffers)
        buffers.reserve(self._most_nonzeros)

    def _bind(self, address, batches, *call):
        super()._bind(address, batches._replace(X=self._no_rows), *call)
        bind_sparse(self._engine, address, batches.X)
