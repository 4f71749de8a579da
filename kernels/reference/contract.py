"""Reference implementation of the contract in plain NumPy, independent of the formulas of the other backends.

It is written from textbooks and favours readability over speed; the passes are in reference/forward_pass.py and
reference/backward_pass.py, and activations, losses and optimizers are in reference/rules.py. Every compiled backend
offers the functions of this module with the same names and arguments and is tested against them. Arrays are
C-contiguous and of the parameters' dtype (float32 or float64), X and y are 2-D, and ``order`` holds valid row numbers
as int64: callers validate, kernels do not.

Notation: layer l has weights W (inputs, outputs), bias b, pre-activation z = x W + b, output a = f(z) and error
delta = dLoss/dz; rows are samples.
"""

import numpy as np

from fastmlp.kernels import spec
from fastmlp.kernels.spec import (
    NO_PENALTY,
    WHOLE,
    TrainingBy,
    layer_views,
    predictor_by,
    row_weights,
    slope_views,
)

from .backward_pass import backpropagate, data_loss, delta_of_error, output_delta, output_error
from .forward_pass import NO_SLOPE, ForwardPass, activate
from .input_stage import parts_of, update_stage
from .jacobian import output_errors
from .rules import COUPLED, DERIVATIVES, FROM_OUTPUT, OPTIMIZERS

# Every backend has these fields: the name of the GPU on which it runs, None for the CPU; the precisions that its matrix
# products support; whether they are computed by the BLAS that NumPy uses, which has threads of its own; and whether X
# of ``forward``, ``loss_and_gradient`` and Batches may be SparseRows, for networks and noise that do not need the
# inputs themselves (``needs_dense_inputs`` of kernels.spec).
DEVICE, PRECISIONS, USES_BLAS, TAKES_SPARSE = None, tuple(spec.PRECISIONS), True, False

QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # compiled code does not warn either


def dense_forward(activation, X, W, b):
    """f(X W + b)."""
    return activate(activation, X @ W + b, NO_SLOPE)


def activation_derivative(activation, output, delta):
    """dLoss/dz from dLoss/da = delta and the layer's output a, or z in its place if the derivative is ``of_input``."""
    if activation == "softmax":
        return output * (delta - np.sum(output * delta, axis=1, keepdims=True))
    return delta * {**DERIVATIVES, **FROM_OUTPUT}[activation](output)


def delta_backpropagation(delta, W):
    """dLoss/da of the layer below."""
    return delta @ W.T


def weight_gradient(X, delta):
    """(dLoss/dW, dLoss/db) of a layer with inputs X."""
    return X.T @ delta, delta.sum(axis=0)


def describe(network, optimizer, dtype, batch_size, penalty=NO_PENALTY, noise=None, weighted=False):
    """Description of how training steps are computed, for ``backend_reason_``; "" if there is only one way.

    ``weighted``: whether samples have weights.
    """
    return ""


def hold(X, y, sample_weight=None):
    """(X, y, sample_weight) in the form that repeated ``train_epoch`` and ``loss_and_gradient`` calls read fastest."""
    return X, y, sample_weight


@QUIET
def forward(network, parameters, X, only_if_finite=False, noise=None):
    """Outputs of the network, shape (rows, outputs), in the dtype of the parameters.

    With ``only_if_finite`` return None if X has infinity or NaN, which costs no extra pass over X in compiled backends.
    With ``noise`` make one random pass, as in training.
    """
    if only_if_finite and not np.isfinite(X).all():
        return None
    return ForwardPass(network, parameters, X, noise, 0).layers[-1]


def row_predictor(network, parameters):
    """Function that maps one row, an array of the parameters' dtype, to its outputs.

    It uses the current values of the parameters and may return the same array each time.
    """
    return predictor_by(forward, network, parameters)


@QUIET
def loss_of_outputs(network, outputs, y, sample_weight=None):
    """The data loss that ``loss_and_gradient`` returns, from the network's outputs for the rows of y."""
    weight = np.ones(len(y), y.dtype) if sample_weight is None else sample_weight
    return float(data_loss(network, outputs, y, weight, row_weights(weight).sum()))


@QUIET
def loss_and_gradient(network, parameters, X, y, sample_weight=None, penalty=NO_PENALTY, noise=None):
    """(data loss, penalty, gradient) of the weighted mean over rows.

    penalty = (alpha |W|^2 / 2 + l1 |W|) / (sum of weights), and the mean activity penalty. ``noise``: a random pass.
    With a weight for each target, the weight of a row is the mean of its weights.
    """
    return _loss_and_gradient(network, parameters, X, y, sample_weight, penalty, noise, 0)


def _sizes(values, l1, l2):
    """l1 |x| + l2 x^2 / 2 of each number; without l2 no square is taken, because that of a large number overflows."""
    linear = l1 * np.abs(values)
    return linear + l2 * values**2 / 2 if l2 else linear


def _loss_and_gradient(network, parameters, X, y, sample_weight, penalty, noise, step, part=None):
    weight = np.ones(len(X), X.dtype) if sample_weight is None else sample_weight
    row_weight = row_weights(weight)
    total = row_weight.sum() if part is None else X.dtype.type(part.weight)
    share = row_weight[:, None] / total
    target_share = share if weight.ndim == 1 else weight / total
    weights, _ = layer_views(network, parameters)
    slopes = slope_views(network, parameters)
    run = ForwardPass(network, parameters, X, noise, step, 0 if part is None else part.first)
    outputs, last = run.layers, len(weights) - 1

    loss = data_loss(network, outputs[-1], y, weight, total)
    on_weights = sum(np.sum(_sizes(W, penalty.l1, penalty.alpha)) for W in weights) / total
    on_activity = sum(np.sum(share * _sizes(a, penalty.activity_l1, penalty.activity_l2)) for a in outputs[1:-1])

    delta, error = output_delta(network, run.z[last], outputs[-1], y, slopes[last], target_share), None
    if slopes[last].size:  # of an output layer that learns slopes
        error = output_error(network, outputs[-1], y, target_share)
    gradient, _ = backpropagate(network, parameters, run, delta, error, penalty, share)
    for G, W in zip(layer_views(network, gradient)[0], weights):
        G += (penalty.alpha * W + penalty.l1 * np.sign(W)) / total
    return float(loss), float(on_weights + on_activity), gradient


@QUIET
def output_jacobian(network, parameters, X, out):
    """Outputs of the network; their derivatives with respect to all parameters go to ``out``.

    ``out`` has the shape (rows, outputs, parameters). The loss of the network does not matter, and its products are
    not rounded.
    """
    network = network.without_rounding()
    run = ForwardPass(network, parameters, X, None, 0)
    errors, deltas = output_errors(network, parameters, run, np.eye(network.sizes[-1], dtype=parameters.dtype))
    for layer, (start, fan_in, fan_out, n_slopes) in enumerate(network.blocks):
        biases, slopes = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
        inputs, delta = run.inputs[layer][:, None, :, None], deltas[layer]
        out[:, :, start:biases] = (inputs * delta[:, :, None, :]).reshape(*delta.shape[:2], -1)
        out[:, :, biases:slopes] = delta
        by_unit = errors[layer + 1] * np.minimum(run.z[layer], 0)[:, None, :]
        if n_slopes:
            out[:, :, slopes : slopes + n_slopes] = by_unit if n_slopes > 1 else by_unit.sum(axis=2, keepdims=True)
    return run.layers[-1]


def update(optimizer, parameters, gradient, slots, step):
    """One optimizer step in place; ``step`` counts from 1. Of the optimizer only name, rate and options matter here."""
    OPTIMIZERS[optimizer.name](parameters, gradient, slots, step, optimizer.learning_rate, *optimizer.options)


def _full_update(network, optimizer, parameters, gradient, slots, step):
    """A step with decay, bounds and rates by layer."""
    weights, _ = layer_views(network, parameters)
    coupled = optimizer.name in COUPLED
    if coupled:
        for G, W in zip(layer_views(network, gradient)[0], weights):
            G += optimizer.weight_decay * W
        if network.inputs is not None:
            for part, _, decays in parts_of(network.inputs):
                gradient[part] += decays * optimizer.weight_decay * parameters[part]
    norm = np.sqrt(np.sum(gradient.astype(np.float64) ** 2))
    if 0 < optimizer.clip_norm < norm:
        gradient *= optimizer.clip_norm / norm
    if optimizer.clip_value:
        np.clip(gradient, -optimizer.clip_value, optimizer.clip_value, out=gradient)
    if network.inputs is not None:
        update_stage(network.inputs, optimizer, parameters, gradient, slots, step, coupled, update)
    factors = optimizer.layer_rates or (1.0,) * len(weights)
    for block, factor, W in zip(network.blocks, factors, weights):
        if not coupled:
            W -= optimizer.learning_rate * factor * optimizer.weight_decay * W
        part = slice(block.start, block.start + (block.fan_in + 1) * block.fan_out + block.n_slopes)
        update(
            optimizer._replace(learning_rate=optimizer.learning_rate * factor), parameters[part], gradient[part],
            slots[:, part], step,
        )  # fmt: skip
        if optimizer.max_norm:
            norms = np.sqrt(np.sum(W**2, axis=0))
            W *= np.minimum(1, optimizer.max_norm / np.maximum(norms, 1e-300))


def train_epoch(
    network, optimizer, parameters, slots, step, batches, penalty=NO_PENALTY, noise=None, rates=None, totals=(0.0, 0.0)
):
    """One pass over Batches; parameters and slots change in place.

    ``step`` is the number of updates made before; ``rates`` (float64) are the learning rates of the batches, if not the
    optimizer's. Returns (rows x data loss of each batch, the same of the penalty, number of updates made now). The
    first two are added to ``totals``: sums that go on from call to call do not depend on where an epoch is cut. A batch
    whose weights sum to zero is passed over.
    """
    first, (loss_sum, penalty_sum) = step, totals
    for number, start in enumerate(range(0, len(batches.order), batches.size)):
        rows = batches.order[start : start + batches.size]
        weight = None if batches.sample_weight is None else batches.sample_weight[rows]
        if weight is not None and weight.sum() == 0:
            continue
        loss, more, gradient = _loss_and_gradient(
            network, parameters, batches.X[rows], batches.y[rows], weight, penalty, noise, step
        )
        step += 1
        if rates is not None:
            optimizer = optimizer._replace(learning_rate=float(rates[number]))
        _full_update(network, optimizer, parameters, gradient, slots, step)
        loss_sum += len(rows) * loss
        penalty_sum += len(rows) * more
    return loss_sum, penalty_sum, step - first


def prepare_training(network, optimizer, parameters, slots, batch_size, penalty=NO_PENALTY, noise=None):
    """Prepare repeated calls of ``train_epoch``: a function (batches, step, rates=None, totals=(0.0, 0.0)).

    Compiled backends prepare everything that does not depend on the samples, so that short calls cost little. Only one
    thread may call it at a time. Its ``takes_threads(n_samples)`` returns whether a thread limit affects a call.

    Its ``repeat(batches, step, repeat, rates=None)`` makes several epochs in one call of one thread, as a Repeat says.
    It changes ``batches.order``, and returns the two sums of each epoch, as an array, the number of steps, and the
    parameters at the start of the last epoch. It is None in backends without it.
    """
    return TrainingBy(train_epoch, network, optimizer, parameters, slots, penalty, noise)


class _Passes:
    """What ``prepare_gradient`` returns."""

    def __init__(self, network, noise):
        self._network, self._noise = network, noise

    @QUIET
    def forward(self, parameters, X, step=0):
        """Outputs for up to ``batch_size`` rows of X; ``step`` and the seed of the noise determine its numbers.

        X may change afterwards, the parameters only after the last backward pass.
        """
        self._parameters, self._run = parameters, ForwardPass(self._network, parameters, X.copy(), self._noise, step)
        return self._run.layers[-1].copy()

    @QUIET
    def backward(self, output_gradient, gradient, input_gradient=None):
        """Store dLoss/dparameters and, if an array is given, dLoss/dX, from dLoss/d(outputs), summed over rows.

        May be called several times after each forward pass.
        """
        run, slope = self._run, slope_views(self._network, self._parameters)[-1]
        delta = delta_of_error(self._network, run.z[-1], run.layers[-1], output_gradient, slope)
        found = backpropagate(self._network, self._parameters, run, delta, output_gradient)
        gradient[...] = found[0]
        if input_gradient is not None:
            input_gradient[...] = found[1]

    def takes_threads(self, n_rows):
        """Whether a thread limit affects a call."""
        return True


def prepare_gradient(network, dtype, batch_size, noise=None, sparse=False):
    """Prepare forward passes for X of up to ``batch_size`` rows, each followed by any number of backward passes.

    The loss of the network plays no part. Only one thread may use the result at a time. ``sparse``: X is SparseRows,
    where a backend ``TAKES_SPARSE``; backward passes then give no dLoss/dX.
    """
    return _Passes(network, noise)


def prepare_part(network, parameters, gradient, batch_size, penalty=NO_PENALTY, noise=None):
    """Prepare gradients of parts of batches: a function (batch, step, part) that returns (data loss, penalty).

    Added up over the parts of a batch, its results and what it stores in ``gradient`` are those of the whole batch; the
    part of the first row has the penalties on weights. A part may have no rows, otherwise up to ``batch_size``.
    ``batch`` is Batches, ``step`` the number of updates made before, and ``part`` a Part.
    """

    @QUIET
    def of_part(batch, step, part):
        rows, weight = batch.order, batch.sample_weight
        if not len(rows):
            gradient[...] = 0
            return 0.0, 0.0
        loss, more, gradient[...] = _loss_and_gradient(
            network, parameters, batch.X[rows], batch.y[rows], None if weight is None else weight[rows],
            penalty.of_activity() if part.first else penalty, noise, step, part,
        )  # fmt: skip
        return loss, more

    return of_part


def prepare_update(network, optimizer, parameters, slots):
    """Prepare steps from given gradients: a function (gradient, step, rate=None, part=(0, 1)).

    ``gradient`` is a vector, or a matrix whose rows are added up and may be padded at their ends. ``step`` is the
    number of steps before, ``rate`` the learning rate, if not the optimizer's. Includes weight decay, bounds and rates
    by layer. ``part`` (i, n): change only part i of n of the parameters and slots, so that n processes that share them
    make a step together; each backend chooses the parts. Only if ``updates_in_parts(network, optimizer)``.
    """

    @QUIET
    def update_part(gradient, step, rate=None, part=WHOLE):
        chosen = optimizer if rate is None else optimizer._replace(learning_rate=rate)
        total = np.array(gradient.sum(axis=0) if gradient.ndim == 2 else gradient)[: parameters.size]
        after, slots_after = parameters.copy(), slots.copy()
        _full_update(network, chosen, after, total, slots_after, step + 1)
        number, n_parts = part
        own = slice(parameters.size * number // n_parts, parameters.size * (number + 1) // n_parts)
        parameters[own], slots[:, own] = after[own], slots_after[:, own]

    return update_part
