"""The contract in Numba: compiled at run time for this very CPU. What each function promises: numpy_reference.py.

Products go to BLAS; everything else is a loop that a piece (numba_pieces.py) runs over rows still in the cache.
"""

from functools import cache

import numba
import numpy as np

from fastmlp.kernels import numba_pieces
from fastmlp.kernels.numba_pieces import COMPILE, NO_PIECE, SOURCE_HASH, call
from fastmlp.kernels.rules import LOSSES

FORWARD_ROWS = 256  # a prediction's working memory is this many rows of activations, however long X is


def _njit(function):
    """Compile, and cache under a name that changes with the kernels' source."""
    function.__qualname__ += f"_{SOURCE_HASH}"
    return numba.njit(nogil=True, **COMPILE)(function)


@_njit
def _dense(piece, X, W, b, out):
    np.dot(X, W, out)
    call(piece, (out, b, out.shape[0], out.shape[1]))


@_njit
def _column_sums(delta, out):
    out[:] = 0
    for i in range(delta.shape[0]):
        row = delta[i]
        for j in range(row.size):
            out[j] += row[j]


@_njit
def _add_decay(gradient, W, strength):
    """gradient += strength W; returns the sum of W^2."""
    total = 0.0
    for i in range(W.size):
        gradient[i] += strength * W[i]
        total += W[i] * W[i]
    return total


@_njit
def _forward_rows(activate, sizes, parameters, X, outputs):
    """Outputs of every layer for the rows of X, one after the other in the flat ``outputs``."""
    rows = X.shape[0]
    fan_in, fan_out = sizes[0], sizes[1]
    end = rows * fan_out
    split = fan_in * fan_out
    W, b = parameters[:split].reshape(fan_in, fan_out), parameters[split : split + fan_out]
    _dense(activate[0], X, W, b, outputs[:end].reshape(rows, fan_out))
    start, used = 0, split + fan_out
    for layer in range(1, activate.size):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        split = used + fan_in * fan_out
        W, b = parameters[used:split].reshape(fan_in, fan_out), parameters[split : split + fan_out]
        below = outputs[start:end].reshape(rows, fan_in)
        start, end, used = end, end + rows * fan_out, split + fan_out
        _dense(activate[layer], below, W, b, outputs[start:end].reshape(rows, fan_out))


@_njit
def _forward(activate, sizes, parameters, X, out):
    outputs = np.empty(min(FORWARD_ROWS, X.shape[0]) * sizes[1:].sum(), parameters.dtype)
    for start in range(0, X.shape[0], FORWARD_ROWS):
        block = X[start : start + FORWARD_ROWS]
        _forward_rows(activate, sizes, parameters, block, outputs)
        used = block.shape[0] * sizes[1:].sum()
        out[start : start + FORWARD_ROWS] = outputs[used - block.shape[0] * sizes[-1] : used].reshape(-1, sizes[-1])


@_njit
def _backward(derive, loss, sizes, parameters, X, y, weight, decay, outputs, deltas, gradient):
    """Gradient from the outputs of every layer; ``weight`` sums to 1. Returns (data loss, sum of W^2)."""
    rows, last = X.shape[0], derive.size - 1
    end = rows * sizes[1:].sum()
    start = end - rows * sizes[-1]
    stop, squares = parameters.size, 0.0
    delta, spare = deltas[0][: end - start], deltas[1]
    data_loss = call(loss, (outputs[start:end], y, weight, delta, rows, sizes[-1]))
    if derive[last] != NO_PIECE:
        call(derive[last], (outputs[start:end], delta, rows, sizes[-1]))
    for layer in range(last, -1, -1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        split = stop - fan_out
        begin = split - fan_in * fan_out
        errors = delta.reshape(rows, fan_out)
        slope = gradient[begin:split].reshape(fan_in, fan_out)
        _column_sums(errors, gradient[split:stop])
        if layer > 0:
            start, end = start - rows * fan_in, start
            below = outputs[start:end].reshape(rows, fan_in)
            np.dot(below.T, errors, slope)
            error_below = spare[: rows * fan_in].reshape(rows, fan_in)
            np.dot(errors, parameters[begin:split].reshape(fan_in, fan_out).T, error_below)
            call(derive[layer - 1], (below, error_below, rows, fan_in))
            delta, spare = spare[: rows * fan_in], deltas[(last - layer) % 2]
        else:
            np.dot(X.T, errors, slope)
        if decay > 0:
            squares += _add_decay(gradient[begin:split], parameters[begin:split], gradient.dtype.type(decay))
        stop = begin
    return data_loss, squares


@_njit
def _loss_and_gradient(activate, derive, loss, sizes, parameters, X, y, weight, alpha, total, gradient):
    outputs = np.empty(X.shape[0] * sizes[1:].sum(), parameters.dtype)
    deltas = np.empty((2, X.shape[0] * sizes[1:].max()), parameters.dtype)
    _forward_rows(activate, sizes, parameters, X, outputs)
    decay = alpha / total
    data_loss, squares = _backward(derive, loss, sizes, parameters, X, y, weight, decay, outputs, deltas, gradient)
    return data_loss, decay * squares / 2


@_njit
def _train_epoch(
    activate, derive, loss, update, rate, sizes, parameters, slots, step, learning_rate, options,
    X, y, order, batch_size, sample_weight, alpha, loss_sum, penalty_sum,
):  # fmt: skip
    n_inputs, n_outputs = sizes[0], sizes[-1]
    cast = parameters.dtype.type
    batch_size = min(batch_size, order.size)
    inputs = np.empty(batch_size * n_inputs, parameters.dtype)
    targets = np.empty(batch_size * n_outputs, parameters.dtype)
    weights = np.empty(batch_size, parameters.dtype)
    outputs = np.empty(batch_size * sizes[1:].sum(), parameters.dtype)
    deltas = np.empty((2, batch_size * sizes[1:].max()), parameters.dtype)
    gradient = np.empty_like(parameters)
    first = step
    for start in range(0, order.size, batch_size):
        rows = min(batch_size, order.size - start)
        weight, total = weights[:rows], float(rows)
        weight[:] = 1
        if sample_weight.size > 0:
            for i in range(rows):
                weight[i] = sample_weight[order[start + i]]
            total = float(weight.sum())
            if total == 0:
                continue
        weight /= cast(total)
        x, t = inputs[: rows * n_inputs].reshape(rows, n_inputs), targets[: rows * n_outputs].reshape(rows, n_outputs)
        for i in range(rows):
            source, target = X[order[start + i]], x[i]
            for j in range(n_inputs):
                target[j] = source[j]
            t[i] = y[order[start + i]]
        _forward_rows(activate, sizes, parameters, x, outputs)
        decay = alpha / total
        data_loss, squares = _backward(derive, loss, sizes, parameters, x, t, weight, decay, outputs, deltas, gradient)
        step += 1
        step_rate = learning_rate
        if rate != NO_PIECE:
            step_rate = call(rate, (learning_rate, float(step), options))
        call(update, (parameters, gradient, slots, parameters.size, step_rate, options))
        loss_sum += rows * data_loss
        penalty_sum += rows * decay * squares / 2
    return loss_sum, penalty_sum, step - first


@cache
def _addresses(network, dtype):
    """What the drivers take instead of names: (activations, derivatives, loss, sizes)."""
    kind = numba.from_dtype(dtype)
    linked = LOSSES[network.loss].link is not None
    derive = [numba_pieces.derivative(name, kind) for name in network.activations[: -1 if linked else None]]
    return (
        np.array([numba_pieces.activation(name, kind) for name in network.activations]),
        np.array(derive + [NO_PIECE] * linked),
        numba_pieces.loss(network.loss, kind),
        np.array(network.sizes),
    )


def _frozen(array):
    """A read-only view: Numba compiles anew for each mix of read-only and writable arguments."""
    view = array.view()
    view.flags.writeable = False
    return view


def dense_forward(activation, X, W, b):
    out = np.empty((len(X), W.shape[1]), X.dtype)
    _dense(numba_pieces.activation(activation, numba.from_dtype(X.dtype)), X, W, b, out)
    return out


def activation_derivative(activation, output, delta):
    delta = delta.copy()
    _derive(numba_pieces.derivative(activation, numba.from_dtype(delta.dtype)), output, delta)
    return delta


@_njit
def _derive(piece, output, delta):
    call(piece, (output, delta, delta.shape[0], delta.shape[1]))


@_njit
def delta_backpropagation(delta, W):
    return np.dot(delta, W.T)


@_njit
def weight_gradient(X, delta):
    bias_gradient = np.empty(delta.shape[1], delta.dtype)
    _column_sums(delta, bias_gradient)
    return np.dot(X.T, delta), bias_gradient


def forward(network, parameters, X):
    activate, _, _, sizes = _addresses(network, parameters.dtype)
    out = np.empty((len(X), network.sizes[-1]), parameters.dtype)
    _forward(activate, sizes, _frozen(parameters), _frozen(X), out)
    return out


def loss_and_gradient(network, parameters, X, y, sample_weight=None, alpha=0.0):
    activate, derive, loss, sizes = _addresses(network, parameters.dtype)
    weight = np.ones(len(X), parameters.dtype) if sample_weight is None else sample_weight
    total = float(weight.sum())
    gradient = np.empty_like(parameters)
    data_loss, penalty = _loss_and_gradient(
        activate,
        derive,
        loss,
        sizes,
        _frozen(parameters),
        _frozen(X),
        _frozen(y),
        weight / parameters.dtype.type(total),
        alpha,
        total,
        gradient,
    )
    return data_loss, penalty, gradient


@_njit
def _update(piece, parameters, gradient, slots, rate, options):
    call(piece, (parameters, gradient, slots, parameters.size, rate, options))


def update(optimizer, parameters, gradient, slots, step):
    rate, options = optimizer.learning_rate, np.array(optimizer.options)
    if numba_pieces.rate(optimizer.name) != NO_PIECE:
        rate = _step_rate(numba_pieces.rate(optimizer.name), rate, float(step), options)
    piece = numba_pieces.update(optimizer.name, numba.from_dtype(parameters.dtype))
    _update(piece, parameters, gradient, slots, rate, options)


@_njit
def _step_rate(piece, learning_rate, step, options):
    return call(piece, (learning_rate, step, options))


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0,
):  # fmt: skip
    activate, derive, loss, sizes = _addresses(network, parameters.dtype)
    return _train_epoch(
        activate, derive, loss,
        numba_pieces.update(optimizer.name, numba.from_dtype(parameters.dtype)), numba_pieces.rate(optimizer.name),
        sizes, parameters, slots, step, optimizer.learning_rate, np.array(optimizer.options),
        _frozen(X), _frozen(y), _frozen(order), batch_size,
        _frozen(np.empty(0, parameters.dtype) if sample_weight is None else sample_weight), alpha,
        loss_sum, penalty_sum,
    )  # fmt: skip
