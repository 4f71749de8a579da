"""Forward and backward passes, gradients of parts of batches, and steps from gradients, of a compiled engine."""

import numpy as np

from fastmlp.kernels.engine.plan import PASSES, plan_of
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, extras_of
from fastmlp.kernels.spec import NO_PENALTY, WHOLE, for_outputs

from . import thread_pool
from .sparse import UPDATE_FLOPS, bind_sparse, sparse_flops
from .training import Training


class Passes:
    """What ``prepare_gradient`` returns; ``reference.contract`` documents its methods."""

    def __init__(self, engine, network, dtype, batch_size, noise, sparse):
        network = for_outputs(network)
        extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
        requirements = extras.requirements._replace(sparse=sparse)
        self._engine, self._network = engine, network
        self._plan = plan = plan_of(engine, network, dtype, batch_size, PASSES, requirements)
        self._n_outputs, self._no_rows = network.sizes[-1], np.empty((0, network.n_columns), dtype)
        most_flops = self._sparse_flops(batch_size * network.n_columns, True) if sparse else 0
        self._most_threads = min(max(plan.wanted_threads(batch_size, most_flops), 1), thread_pool.cores())
        self._buffers = plan.take_buffers(self._most_threads)
        self._buffers.describe(extras, noise)

    def __del__(self):
        if hasattr(self, "_buffers"):  # not if __init__ has failed
            self._plan.give_back(self._buffers)

    def forward(self, parameters, X, step=0):
        out = np.empty((len(X), self._n_outputs), parameters.dtype)
        self._held, self._n_rows, self._rows = parameters, len(X), None
        if self._plan.sparse:
            self._rows = rows = X.copy()
            self._buffers.reserve(rows.n_nonzeros)
            bind_sparse(self._engine, self._buffers.address, rows)
            X = np.empty((len(rows), 0), parameters.dtype)
        read_only = self._engine.read_only
        self._engine.entries.bind_forward(self._buffers.address, read_only(X), read_only(parameters), out, step)
        self._run(self._engine.entries.run_forward)
        return out

    def backward(self, output_gradient, gradient, input_gradient=None):
        if not self._n_rows:
            gradient[...] = 0
            return
        self._engine.entries.bind_backward(
            self._buffers.address, self._engine.read_only(output_gradient), gradient,
            self._no_rows if input_gradient is None else input_gradient,
        )  # fmt: skip
        self._run(self._engine.entries.run_backward, learning=True)

    def takes_threads(self, n_rows):
        return self._plan.sparse or self._plan.wanted_threads(n_rows) > 0  # the number of nonzeros is not known yet

    def _sparse_flops(self, n_nonzeros, learning):
        """Work of the first layer on sparse rows: forward, or for its gradient, which is stored for all weights."""
        first = self._network.blocks[0]
        return sparse_flops(self._network, n_nonzeros) + learning * UPDATE_FLOPS * first.fan_in * first.fan_out

    def _run(self, entry, learning=False):
        flops = 0 if self._rows is None else self._sparse_flops(self._rows.n_nonzeros, learning)
        buffers, wanted = self._buffers, self._plan.wanted_threads(self._n_rows, flops)
        if not wanted:
            buffers.begin(1)
            entry(*buffers.arguments_of(0))
            return
        with thread_pool.taken(min(wanted, self._most_threads)) as n_threads:
            buffers.begin(n_threads)
            thread_pool.run(n_threads, entry, buffers.arguments_of, buffers.counter)


class PartGradient:
    """What ``prepare_part`` returns."""

    def __init__(self, engine, network, parameters, gradient, batch_size, penalty, noise):
        no_slots = np.empty((0, parameters.size), parameters.dtype)
        self._first, self._others = (
            Training(engine, network, NO_OPTIMIZER, parameters, no_slots, batch_size, one, noise, gradient)
            for one in (penalty, penalty.of_activity())
        )
        self._gradient = gradient

    def __call__(self, batch, step, part):
        n_rows = len(batch.order)
        if not n_rows:
            self._gradient[...] = 0
            return 0.0, 0.0
        differentiate = self._others if part.first else self._first
        differentiate.part = part
        loss, penalty, _ = differentiate(batch, step)
        return loss / n_rows, penalty / n_rows


class Update(Training):
    """What ``prepare_update`` returns."""

    def __call__(self, gradient, step, rate=None, part=WHOLE):
        buffers, read_only = self._plan.take_buffers(1), self._engine.read_only
        self._describe(buffers)
        buffers.begin(1)
        rates = self._rates if rate is None else read_only(np.array([rate]))
        n_gradients, stride = gradient.shape if gradient.ndim == 2 else (1, 0)
        self._engine.entries.bind_gradient(
            buffers.address, read_only(gradient.reshape(-1)), n_gradients, stride, rates, step, *part
        )  # fmt: skip
        self._engine.entries.run_apply(*buffers.arguments_of(0))
        self._plan.give_back(buffers)
