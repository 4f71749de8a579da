# cython: boundscheck=False, cdivision=True, initializedcheck=False, infer_types=True, binding=True
"""The contract in Cython: compiled ahead of time, so the first fit waits for nothing.

What each function promises: numpy_reference.py. Products go to BLAS; the loops around each formula of rules.py are
written by setup.py into _rules.pxi.
"""

from cython cimport floating
from libc.math cimport exp as c_exp, expf, log as c_log, logf, pow as c_pow, powf
from libc.math cimport sqrt as c_sqrt, sqrtf, tanh as c_tanh, tanhf
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from scipy.linalg.cython_blas cimport dgemm, sgemm

import numpy as np

from fastmlp.kernels.rules import ACTIVATIONS as _ACTIVATIONS, LOSSES as _LOSSES, OPTIMIZERS as _OPTIMIZERS

FORWARD_ROWS = 256  # a prediction's working memory is this many rows of activations, however long X is


# The mathematics that rules.py imports, in the precision of its argument.
cdef inline floating _exp(floating z) noexcept nogil:
    return expf(z) if floating is float else c_exp(z)

cdef inline floating _log(floating z) noexcept nogil:
    return logf(z) if floating is float else c_log(z)

cdef inline floating _pow(floating base, floating exponent) noexcept nogil:
    return powf(base, exponent) if floating is float else c_pow(base, exponent)

cdef inline floating _sqrt(floating z) noexcept nogil:
    return sqrtf(z) if floating is float else c_sqrt(z)

cdef inline floating _tanh(floating z) noexcept nogil:
    return tanhf(z) if floating is float else c_tanh(z)


include "_rules.pxi"


cdef void multiply(bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                   const floating* a, const floating* b, floating* c) noexcept nogil:
    """C (m, n) = A B in row-major order, A (m, k) or its transpose, B (k, n) or its transpose."""
    # BLAS is column-major: it is asked for C^T = B^T A^T.
    cdef int rows = <int>m, columns = <int>n, inner = <int>k
    cdef int lda = rows if transpose_a else inner
    cdef int ldb = inner if transpose_b else columns
    cdef char ta = b'T' if transpose_a else b'N'
    cdef char tb = b'T' if transpose_b else b'N'
    cdef floating one = 1, zero = 0
    if floating is float:
        sgemm(&tb, &ta, &columns, &rows, &inner, &one, <float*>b, &ldb, <float*>a, &lda, &zero, c, &columns)
    else:
        dgemm(&tb, &ta, &columns, &rows, &inner, &one, <double*>b, &ldb, <double*>a, &lda, &zero, c, &columns)


cdef void column_sums(const floating* delta, floating* out, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t i, j
    memset(out, 0, columns * sizeof(floating))
    for i in range(rows):
        for j in range(columns):
            out[j] += delta[i * columns + j]


cdef double add_decay(floating* gradient, const floating* W, floating strength, Py_ssize_t n) noexcept nogil:
    """gradient += strength W; returns the sum of W^2."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(n):
        gradient[i] += strength * W[i]
        total += W[i] * W[i]
    return total


cdef void forward_rows(const int* codes, const int64_t* sizes, Py_ssize_t n_layers, const floating* parameters,
                       const floating* x, floating* outputs, Py_ssize_t rows) noexcept nogil:
    """Outputs of every layer for ``rows`` rows of x, one after the other in ``outputs``."""
    cdef Py_ssize_t layer, fan_in, fan_out
    for layer in range(n_layers):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        multiply(False, False, rows, fan_out, fan_in, x, parameters, outputs)
        activate(codes[layer], outputs, parameters + fan_in * fan_out, rows, fan_out)
        parameters += (fan_in + 1) * fan_out
        x = outputs
        outputs += rows * fan_out


cdef double backward(const int* codes, int loss, bint linked, const int64_t* sizes, Py_ssize_t n_layers,
                     const floating* parameters, Py_ssize_t n_parameters, const floating* x, const floating* y,
                     const floating* weight, double decay, floating* outputs, Py_ssize_t n_outputs,
                     floating* delta, floating* spare, floating* gradient, double* squares,
                     Py_ssize_t rows) noexcept nogil:
    """Gradient from the outputs of every layer; ``weight`` sums to 1. Returns the data loss."""
    cdef Py_ssize_t layer, fan_in, fan_out
    cdef double data_loss
    cdef const floating* below = x
    parameters += n_parameters
    gradient += n_parameters
    outputs += n_outputs - rows * sizes[n_layers]
    data_loss = weighted_loss(loss, outputs, y, weight, delta, rows, <Py_ssize_t>sizes[n_layers])
    if not linked:
        derive(codes[n_layers - 1], outputs, delta, rows, <Py_ssize_t>sizes[n_layers])
    squares[0] = 0
    for layer in range(n_layers - 1, -1, -1):
        fan_in, fan_out = sizes[layer], sizes[layer + 1]
        parameters -= (fan_in + 1) * fan_out
        gradient -= (fan_in + 1) * fan_out
        outputs -= rows * fan_in
        if layer > 0:
            below = outputs
        else:
            below = x
        multiply(True, False, fan_in, fan_out, rows, below, delta, gradient)
        column_sums(delta, gradient + fan_in * fan_out, rows, fan_out)
        if decay > 0:
            squares[0] += add_decay(gradient, parameters, <floating>decay, fan_in * fan_out)
        if layer > 0:
            multiply(False, True, rows, fan_in, fan_out, delta, parameters, spare)
            derive(codes[layer - 1], outputs, spare, rows, fan_in)
            delta, spare = spare, delta
    return data_loss


def _codes(network):
    """Numbers of a network's activations in their table, its loss's number, whether that is linked, and the sizes."""
    names = list(_ACTIVATIONS)
    return (
        np.array([names.index(name) for name in network.activations], np.intc),
        list(_LOSSES).index(network.loss),
        _LOSSES[network.loss].link is not None,
        np.array(network.sizes, np.int64),
    )


def dense_forward(activation, X, W, b):
    out = np.empty((len(X), W.shape[1]), X.dtype)
    _dense(list(_ACTIVATIONS).index(activation), X, W, b, out)
    return out


def _dense(int code, const floating[:, ::1] X, const floating[:, ::1] W, const floating[::1] b, floating[:, ::1] out):
    with nogil:
        multiply(False, False, X.shape[0], W.shape[1], X.shape[1], &X[0, 0], &W[0, 0], &out[0, 0])
        activate(code, &out[0, 0], &b[0], out.shape[0], out.shape[1])


def activation_derivative(activation, output, delta):
    delta = delta.copy()
    _derive(list(_ACTIVATIONS).index(activation), output, delta)
    return delta


def _derive(int code, floating[:, ::1] output, floating[:, ::1] delta):
    with nogil:
        derive(code, &output[0, 0], &delta[0, 0], delta.shape[0], delta.shape[1])


def delta_backpropagation(delta, W):
    out = np.empty((len(delta), len(W)), delta.dtype)
    _multiply(False, True, len(delta), len(W), delta.shape[1], delta, W, out)
    return out


def weight_gradient(X, delta):
    out = np.empty((X.shape[1], delta.shape[1]), delta.dtype)
    bias_gradient = np.empty(delta.shape[1], delta.dtype)
    _multiply(True, False, X.shape[1], delta.shape[1], len(X), X, delta, out)
    _column_sums(delta, bias_gradient)
    return out, bias_gradient


def _multiply(bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
              const floating[:, ::1] a, const floating[:, ::1] b, floating[:, ::1] c):
    with nogil:
        multiply(transpose_a, transpose_b, m, n, k, &a[0, 0], &b[0, 0], &c[0, 0])


def _column_sums(const floating[:, ::1] delta, floating[::1] out):
    with nogil:
        column_sums(&delta[0, 0], &out[0], delta.shape[0], delta.shape[1])


def forward(network, parameters, X):
    codes, _, _, sizes = _codes(network)
    rows = min(FORWARD_ROWS, max(len(X), 1))
    outputs = np.empty(rows * sizes[1:].sum(), parameters.dtype)
    out = np.empty((len(X), network.sizes[-1]), parameters.dtype)
    _forward(codes, sizes, parameters, X, outputs, out, rows)
    return out


def _forward(const int[::1] codes, const int64_t[::1] sizes, const floating[::1] parameters,
             const floating[:, ::1] X, floating[::1] outputs, floating[:, ::1] out, Py_ssize_t block):
    cdef Py_ssize_t start = 0, rows, n_outputs = out.shape[1], width = outputs.shape[0] // block
    with nogil:
        while start < X.shape[0]:
            rows = min(block, X.shape[0] - start)
            forward_rows(&codes[0], &sizes[0], codes.shape[0], &parameters[0], &X[start, 0], &outputs[0], rows)
            memcpy(&out[start, 0], &outputs[0] + rows * (width - n_outputs), rows * n_outputs * sizeof(floating))
            start += rows


def loss_and_gradient(network, parameters, X, y, sample_weight=None, alpha=0.0):
    weight = np.ones(len(X), parameters.dtype) if sample_weight is None else sample_weight
    total = float(weight.sum())
    gradient = np.empty_like(parameters)
    codes, loss, linked, sizes = _codes(network)
    outputs = np.empty(len(X) * sizes[1:].sum(), parameters.dtype)
    deltas = np.empty((2, len(X) * sizes[1:].max()), parameters.dtype)
    data_loss, squares = _loss_and_gradient(
        codes, loss, linked, sizes, parameters, X, y, weight / parameters.dtype.type(total), alpha / total,
        outputs, deltas, gradient,
    )
    return data_loss, alpha / total * squares / 2, gradient


def _loss_and_gradient(const int[::1] codes, int loss, bint linked, const int64_t[::1] sizes,
                       const floating[::1] parameters, const floating[:, ::1] X, const floating[:, ::1] y,
                       const floating[::1] weight, double decay, floating[::1] outputs, floating[:, ::1] deltas,
                       floating[::1] gradient):
    cdef double data_loss, squares
    cdef Py_ssize_t rows = X.shape[0], n_layers = codes.shape[0]
    with nogil:
        forward_rows(&codes[0], &sizes[0], n_layers, &parameters[0], &X[0, 0], &outputs[0], rows)
        data_loss = backward(&codes[0], loss, linked, &sizes[0], n_layers, &parameters[0], parameters.shape[0],
                             &X[0, 0], &y[0, 0], &weight[0], decay, &outputs[0], outputs.shape[0],
                             &deltas[0, 0], &deltas[1, 0], &gradient[0], &squares, rows)
    return data_loss, squares


def update(optimizer, parameters, gradient, slots, step):
    options = np.array(optimizer.options, np.float64)
    _update(list(_OPTIMIZERS).index(optimizer.name), parameters, gradient, slots, step, optimizer.learning_rate, options)


def _update(int code, floating[::1] parameters, const floating[::1] gradient, floating[:, ::1] slots, double step,
            double learning_rate, const double[::1] options):
    cdef double rate
    with nogil:
        rate = step_rate(code, learning_rate, step, &options[0])
        apply_update(code, &parameters[0], &gradient[0], &slots[0, 0], parameters.shape[0], rate, &options[0])


def train_epoch(
    network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight=None, alpha=0.0, loss_sum=0.0,
    penalty_sum=0.0,
):
    codes, loss, linked, sizes = _codes(network)
    dtype = parameters.dtype
    batch_size = min(batch_size, len(order))
    return _train_epoch(
        codes, loss, linked, list(_OPTIMIZERS).index(optimizer.name), sizes, parameters, slots, step,
        optimizer.learning_rate, np.array(optimizer.options, np.float64), X, y, order, batch_size,
        np.empty(0, dtype) if sample_weight is None else sample_weight, alpha, loss_sum, penalty_sum,
        np.empty(batch_size * (sizes[0] + sizes[-1] + 1 + sizes[1:].sum()), dtype),
        np.empty((2, batch_size * sizes[1:].max()), dtype), np.empty_like(parameters),
    )


def _train_epoch(const int[::1] codes, int loss, bint linked, int optimizer, const int64_t[::1] sizes,
                 floating[::1] parameters, floating[:, ::1] slots, Py_ssize_t step, double learning_rate,
                 const double[::1] options, const floating[:, ::1] X, const floating[:, ::1] y,
                 const int64_t[::1] order, Py_ssize_t batch_size, const floating[::1] sample_weight, double alpha,
                 double loss_sum, double penalty_sum, floating[::1] workspace, floating[:, ::1] deltas, floating[::1] gradient):
    cdef Py_ssize_t n_inputs = X.shape[1], n_outputs = y.shape[1], n_layers = codes.shape[0], first = step
    cdef Py_ssize_t start = 0, rows, i, row
    cdef double total, squares, data_loss
    cdef floating* x = &workspace[0]
    cdef floating* t = x + batch_size * n_inputs
    cdef floating* weight = t + batch_size * n_outputs
    cdef floating* outputs = weight + batch_size
    cdef Py_ssize_t width = 0
    for i in range(1, n_layers + 1):
        width += sizes[i]
    with nogil:
        while start < order.shape[0]:
            rows = min(batch_size, order.shape[0] - start)
            total = 0
            for i in range(rows):
                row = order[start + i]
                memcpy(x + i * n_inputs, &X[row, 0], n_inputs * sizeof(floating))
                memcpy(t + i * n_outputs, &y[row, 0], n_outputs * sizeof(floating))
                weight[i] = sample_weight[row] if sample_weight.shape[0] > 0 else 1
                total += weight[i]
            start += rows
            if total == 0:
                continue
            for i in range(rows):
                weight[i] /= <floating>total
            forward_rows(&codes[0], &sizes[0], n_layers, &parameters[0], x, outputs, rows)
            data_loss = backward(&codes[0], loss, linked, &sizes[0], n_layers, &parameters[0], parameters.shape[0],
                                 x, t, weight, alpha / total, outputs, rows * width,
                                 &deltas[0, 0], &deltas[1, 0], &gradient[0], &squares, rows)
            step += 1
            apply_update(optimizer, &parameters[0], &gradient[0], &slots[0, 0], parameters.shape[0],
                         step_rate(optimizer, learning_rate, step, &options[0]), &options[0])
            loss_sum += rows * data_loss
            penalty_sum += rows * alpha / total * squares / 2
    return loss_sum, penalty_sum, step - first
