"""The backend contract on an NVIDIA GPU. The functions are documented in reference/contract.py.

X, y and sample weights may already be on the device (``hold``). Parameters and optimizer slots are host arrays, which
are changed only after a call has succeeded.
"""

import numpy as np

from fastmlp.kernels.device_errors import BY_TARGET
from fastmlp.kernels.engine.requirements import NO_OPTIMIZER, extras_of
from fastmlp.kernels.numba import contract as numba_contract
from fastmlp.kernels.spec import NO_PENALTY, Batches, Network, TrainingBy, is_by_target, predictor_by

from . import data, devices, dispatch, primitives
from .executor import call_with_retry, prediction_executor, release_cached, training_executor
from .records import Settings
from .simt.layout import Features

# devices.current() raises ImportError if there is no usable GPU.
DEVICE, PRECISIONS, USES_BLAS = devices.current().name, ("highest", "medium"), False
TAKES_SPARSE = False

NO_PASSES = (
    "backend 'cuda' does not support forward, backward, apply and the optimizer 'lm': set the backend of the model to "
    "'cython' or 'numba', or train with another optimizer by fit or compile_step."
)


def describe(network, optimizer, dtype, batch_size, penalty=NO_PENALTY, noise=None, weighted=False):
    extras = extras_of(network, optimizer, penalty, noise)
    features = Features.of(extras.requirements, noise, optimizer, weighted)
    device = devices.current()
    return dispatch.training_config(network, features, optimizer.name, dtype, batch_size, device).description


def hold(X, y, sample_weight=None):
    arrays = X, y, sample_weight

    def copy_if_they_fit():
        if not data.fits_on_device(*arrays):
            release_cached()
        return data.hold(*arrays) if data.fits_on_device(*arrays) else arrays

    return call_with_retry(copy_if_they_fit)


def dense_forward(activation, X, W, b):
    network = Network(W.shape, (activation,), "squared_error")
    return forward(network, np.concatenate([W.reshape(-1), b]), X)


def activation_derivative(activation, output, delta):
    return call_with_retry(lambda: primitives.apply_derivative(activation, output, delta))


def delta_backpropagation(delta, W):
    return dense_forward("identity", delta, W.T, np.zeros(len(W), W.dtype))


def weight_gradient(X, delta):
    zero = np.zeros(delta.shape[1], delta.dtype)
    return dense_forward("identity", np.ascontiguousarray(X.T), delta, zero), delta.sum(axis=0)


def forward(network, parameters, X, only_if_finite=False, noise=None):
    if only_if_finite and not np.isfinite(X).all():
        return None
    extras = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
    features, n_rows = Features.of(extras.requirements, noise, training=False), min(X.shape[0], data.rows_per_block(X))
    seed = 0 if noise is None else noise.seed

    def predict():
        return prediction_executor(network, features, parameters.dtype, n_rows).run(parameters, X, extras.array, seed)

    return call_with_retry(predict)


def loss_of_outputs(network, outputs, y, sample_weight=None):
    y, weight = call_with_retry(lambda: tuple(map(data.to_host, (y, sample_weight))))
    return numba_contract.loss_of_outputs(network, outputs, y, weight)


def row_predictor(network, parameters):
    return predictor_by(forward, network, parameters)


def loss_and_gradient(network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
    gradient, n_samples = np.empty_like(parameters), X.shape[0]
    # The batch size is rounded up, so that few kernels are compiled for all sizes.
    batches = Batches(X, y, np.arange(n_samples), dispatch.next_power_of_two(n_samples), sample_weight)
    arrays = parameters, np.empty((0, parameters.size)), gradient
    loss, on_weights, _ = _run(network, NO_OPTIMIZER, arrays, 0, batches, penalty, noise, None, (0.0, 0.0))
    return loss / n_samples, on_weights / n_samples, gradient


def output_jacobian(network, parameters, X, out):
    raise ValueError(NO_PASSES)


def update(optimizer, parameters, gradient, slots, step):
    new = call_with_retry(lambda: primitives.update(optimizer, parameters, gradient, slots, step))
    parameters[...], slots[...] = new


def train_epoch(
    network, optimizer, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None, totals=(0.0, 0.0)
):  # fmt: skip
    arrays = parameters, slots, None
    loss_sum, penalty_sum, n_updates = _run(network, optimizer, arrays, step, batches, penalty, noise, rates, totals)
    return float(loss_sum), float(penalty_sum), int(n_updates)


def prepare_training(network, optimizer, parameters, slots, batch_size, penalty=NO_PENALTY, noise=None):
    return TrainingBy(train_epoch, network, optimizer, parameters, slots, penalty, noise)


def prepare_gradient(network, dtype, batch_size, noise=None, sparse=False):
    raise ValueError(NO_PASSES)


def prepare_part(network, parameters, gradient, batch_size, penalty=NO_PENALTY, noise=None):
    raise ValueError(NO_PASSES)


def prepare_update(network, optimizer, parameters, slots):
    raise ValueError(NO_PASSES)


def _run(network, optimizer, arrays, step, batches, penalty, noise, rates, totals):
    """Train, or compute one gradient: (sum of losses, sum of penalties, number of updates).

    ``arrays``: parameters, slots, and the gradient or None.
    """
    if is_by_target(network.loss_options, batches.sample_weight):
        raise ValueError(BY_TARGET)
    extras = extras_of(network, optimizer, penalty, noise)
    features = Features.of(extras.requirements, noise, optimizer, weighted=batches.sample_weight is not None)
    n_batches = -(-len(batches.order) // batches.size)
    rates = np.full(n_batches, optimizer.learning_rate) if rates is None else np.asarray(rates, np.float64)
    seed, results = 0 if noise is None else noise.seed, np.array([*totals, 0.0])
    alpha, dtype = float(penalty.alpha), arrays[0].dtype
    settings = Settings(extras.array, optimizer.options, network.loss_options, alpha, seed, step)

    def train():
        executor = training_executor(network, optimizer.name, features, dtype, batches.size)
        return executor.run(*arrays, batches, rates, settings, results)

    return call_with_retry(train)
