"""The contract (reference/contract.py) for a compiled engine: records for its entry points, buffers and threads."""

import numpy as np

from fastmlp.kernels import CONTRACT, PRIMITIVES
from fastmlp.kernels.engine.online_plan import online_plan
from fastmlp.kernels.engine.plan import GRADIENT, PREDICTION, loss_by_output, plan_of
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, constants, extras_of
from fastmlp.kernels.spec import (
    NO_PENALTY,
    Batches,
    SparseRows,
    activation_row,
    flat_weights,
    for_outputs,
    predictor_by,
)

from . import contract_primitives, thread_pool
from .matrix_unit import describe
from .passes import PartGradient, Passes, Update
from .sparse import bind_sparse, sparse_flops
from .training import OnlineTraining, SparseTraining, Training

PREDICT_ROWS = 128  # per block: the working memory of a prediction does not grow with X


class Contract:
    """The functions of the contract for one Engine (engine/compiled.py)."""

    def __init__(self, engine):
        self.engine = engine

    def functions(self):
        """{name: function} of a backend's module."""
        return {name: getattr(self, name) for name in (*CONTRACT, *PRIMITIVES)}

    def describe(self, network, optimizer, dtype, batch_size, penalty=NO_PENALTY, noise=None, weighted=False):
        if _is_online(network, optimizer, batch_size, penalty, noise):
            return "" if network.matmul_precision == "highest" else "steps of one sample are computed in float32"
        return describe(self.engine, network, batch_size)

    def hold(self, X, y, sample_weight=None):
        return X, y, sample_weight

    def forward(self, network, parameters, X, only_if_finite=False, noise=None):
        out, total = self._outputs_and_sum(network, parameters, X, noise)
        if only_if_finite and not np.isfinite(total):  # the sum may overflow
            numbers = X.values if type(X) is SparseRows else X
            if not np.isfinite(numbers).all():
                return None
        return out

    def _outputs_and_sum(self, network, parameters, X, noise):
        """(outputs, a sum of X that is finite only if X is)."""
        out = np.empty((len(X), network.sizes[-1]), parameters.dtype)
        extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
        batch_size = min(PREDICT_ROWS, max(len(X), 1))
        requirements, sparse, flops = extras.requirements, type(X) is SparseRows, 0
        if sparse:
            requirements, flops = requirements._replace(sparse=True), sparse_flops(network, X.n_nonzeros)
        plan = plan_of(self.engine, network, parameters.dtype, batch_size, PREDICTION, requirements)
        with thread_pool.taken(plan.wanted_threads(len(X), flops)) as n_threads:
            buffers, sums = plan.take_buffers(n_threads), np.zeros(n_threads)
            buffers.describe(extras, noise)
            buffers.begin(n_threads)
            if sparse:
                bind_sparse(self.engine, buffers.address, X)
                X = np.empty((0, 0), parameters.dtype)
            X, parameters = self.engine.read_only(X), self.engine.read_only(parameters)
            self.engine.entries.bind_prediction(buffers.address, X, parameters, out, sums)
            thread_pool.run(n_threads, self.engine.entries.run_predict, buffers.arguments_of, buffers.counter)
            plan.give_back(buffers)
        return out, sums.sum()

    def row_predictor(self, network, parameters):
        if (
            network.skips
            or network.inputs is not None
            or any(activation_row(name).trainable is not None for name in network.activations)
        ):
            return predictor_by(self.forward, network, parameters)
        plan = online_plan(self.engine, network, parameters.dtype)
        n_inputs, n_outputs = network.sizes[0], network.sizes[-1]
        return self.engine.entries.RowPredictor(plan, n_inputs, n_outputs, self.engine.read_only(parameters))

    def loss_of_outputs(self, network, outputs, y, sample_weight=None):
        code, result = self.engine.network_codes(network, outputs.dtype).loss, np.zeros(1)
        weight = np.empty(0, outputs.dtype) if sample_weight is None else flat_weights(sample_weight)
        outputs, y, weight = map(self.engine.read_only, (outputs, y, weight))
        options, errors = constants(network.loss_options).array, np.empty(outputs.shape[1], outputs.dtype)
        self.engine.entries.run_loss(
            code, *loss_by_output(network).values(), outputs, y, weight, options, errors, result
        )
        return float(result[0])

    def loss_and_gradient(self, network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
        parameters = parameters if parameters.flags.writeable else parameters.copy()
        n_rows, gradient, slots = len(X), np.empty_like(parameters), np.empty((0, parameters.size), parameters.dtype)
        batch = Batches(X, y, np.arange(n_rows), n_rows, sample_weight)
        kind = SparseTraining if type(X) is SparseRows else Training
        differentiate = kind(
            self.engine, network, NO_OPTIMIZER, parameters, slots, n_rows, penalty, noise, gradient
        )  # fmt: skip
        loss, on_weights, _ = differentiate(batch, 0)
        return loss / n_rows, on_weights / n_rows, gradient

    def output_jacobian(self, network, parameters, X, out):
        network, n_rows = for_outputs(network).without_rounding(), len(X)
        outputs = np.empty((n_rows, network.sizes[-1]), parameters.dtype)
        extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, None)
        plan = plan_of(self.engine, network, parameters.dtype, n_rows, GRADIENT, extras.requirements)
        buffers, order = plan.take_buffers(1), np.arange(n_rows)
        buffers.describe(extras, None)
        buffers.begin(1)
        X, parameters, order = map(self.engine.read_only, (X, parameters, order))
        self.engine.entries.bind_jacobian(buffers.address, X, parameters, order, outputs, out)
        self.engine.entries.run_jacobian(*buffers.arguments_of(0))
        buffers.user = None  # the buffers no longer hold the constants of a training
        plan.give_back(buffers)
        return outputs

    def update(self, optimizer, parameters, gradient, slots, step):
        code, rate = self.engine.optimizer_codes(optimizer.name, parameters.dtype)
        options = constants(optimizer.options).array
        self.engine.entries.run_update(code, rate, parameters, gradient, slots, step, optimizer.learning_rate, options)

    def train_epoch(
        self, network, optimizer, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None,
        totals=(0.0, 0.0),
    ):  # fmt: skip
        train = self.prepare_training(network, optimizer, parameters, slots, batches.size, penalty, noise)
        return train(batches, step, rates, totals)

    def prepare_training(
        self, network, optimizer, parameters, slots, batch_size, penalty=NO_PENALTY, noise=None
    ):  # fmt: skip
        kind = OnlineTraining if _is_online(network, optimizer, batch_size, penalty, noise) else Training
        return kind(self.engine, network, optimizer, parameters, slots, batch_size, penalty, noise)

    def prepare_gradient(self, network, dtype, batch_size, noise=None, sparse=False):
        return Passes(self.engine, network, np.dtype(dtype), batch_size, noise, sparse)

    def prepare_part(self, network, parameters, gradient, batch_size, penalty=NO_PENALTY, noise=None):
        return PartGradient(self.engine, network, parameters, gradient, batch_size, penalty, noise)

    def prepare_update(self, network, optimizer, parameters, slots):
        return Update(self.engine, network, optimizer, parameters, slots, 1, NO_PENALTY, None)

    def dense_forward(self, activation, X, W, b):
        out = contract_primitives.product(self.engine, X, W, b)
        code, _ = contract_primitives.activation_codes(self.engine, activation, X.dtype)
        self.engine.entries.run_activation(code, out, len(X), W.shape[1])
        return np.ascontiguousarray(out[: len(X), : W.shape[1]])

    def activation_derivative(self, activation, output, delta):
        delta = delta.copy()
        _, code = contract_primitives.activation_codes(self.engine, activation, delta.dtype)
        self.engine.entries.run_derivative(code, output, delta)
        return delta

    def delta_backpropagation(self, delta, W):
        out = contract_primitives.product(self.engine, delta, W, np.zeros(len(W), W.dtype), transposed=True)
        return np.ascontiguousarray(out[: len(delta), : len(W)])

    def weight_gradient(self, X, delta):
        out = contract_primitives.product(self.engine, X, delta, np.zeros(delta.shape[1], X.dtype), by_column=True)
        return np.ascontiguousarray(out[: X.shape[1], : delta.shape[1]]), delta.sum(axis=0)


def _is_online(network, optimizer, batch_size, penalty, noise):
    """Whether steps take one sample each by engine/online.py.

    They need no product of matrices, so a lower precision would only cost time: they stay in float32.
    """
    return batch_size == 1 and extras_of(network, optimizer, penalty, noise).plain
