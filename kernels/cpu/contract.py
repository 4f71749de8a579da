"""The contract (reference/contract.py) over a compiled engine: arrays in, pointers and codes on to its entry points."""

import contextlib
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from fastmlp.kernels.engine import partition
from fastmlp.kernels.engine.partition import share
from fastmlp.kernels.engine.plan import (
    GRADIENT,
    NO_DEMANDS,
    PACK_BYTES,
    PREDICTION,
    TRAINING,
    Demands,
    online_plan,
    plan_of,
    row_stride,
)
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.engine.products import DEPTH, TILE_VECTORS
from fastmlp.kernels.rules import OPTIMIZERS
from fastmlp.kernels.spec import NO_PENALTY, Network, Optimizer, activation_row, aligned_zeros, loss_row, wrong_row

from . import thread_pool

PREDICT_ROWS = 128  # at a time: a prediction's working memory does not grow with X


NO_OPTIMIZER = Optimizer("", 0.0)


def train_epoch(
    engine, network, optimizer, parameters, slots, step, X, y, order, batch_size, sample_weight, alpha, loss_sum,
    penalty_sum, penalty, noise, rates,
):  # fmt: skip
    results = np.array([loss_sum, penalty_sum, 0.0])
    extras, demands, plain = extras_of(network, optimizer, penalty, noise)
    if batch_size == 1 and plain:
        _train_online(
            engine, network, optimizer, parameters, slots, step, X, y, order, sample_weight, alpha, rates, results
        )
    else:
        _train(
            engine, network, optimizer, parameters, slots, np.empty(0, parameters.dtype), step, X, y, order, batch_size,
            sample_weight, alpha, extras, demands, noise, rates, results,
        )  # fmt: skip
    return float(results[0]), float(results[1]), int(results[2])


def loss(engine, network, parameters, X, y, sample_weight):
    return loss_of_outputs(engine, network, forward(engine, network, parameters, X, False, None), y, sample_weight)


def loss_of_outputs(engine, network, outputs, y, sample_weight):
    code, result = engine.network_codes(network, outputs.dtype).loss, np.zeros(1)
    weight = np.empty(0, outputs.dtype) if sample_weight is None else sample_weight
    outputs, y, weight = map(engine.read_only, (outputs, y, weight))
    errors = np.empty(outputs.shape[1], outputs.dtype)
    engine.entries.run_loss(code, outputs, y, weight, _constants(network.loss_options), errors, result)
    return float(result[0])


def loss_and_gradient(engine, network, parameters, X, y, sample_weight, alpha, penalty, noise):
    parameters = parameters if parameters.flags.writeable else parameters.copy()
    results, gradient = np.zeros(3), np.empty_like(parameters)
    slots = np.empty((0, parameters.size), parameters.dtype)
    extras, demands, _ = extras_of(network, NO_OPTIMIZER, penalty, noise)
    _train(
        engine, network, NO_OPTIMIZER, parameters, slots, gradient, 0, X, y, np.arange(len(X)), len(X), sample_weight,
        alpha, extras, demands, noise, None, results,
    )  # fmt: skip
    return results[0] / len(X), results[1] / len(X), gradient


def extras_of(network, optimizer, penalty, noise):
    """(what a run asks for beside its network, as engine/partition.py lays it out; the Demands on a plan that follow;
    whether engine/online.py knows all of it)."""
    # Neither the rate nor the seed matters, and both change often.
    asked = optimizer.weight_decay, optimizer.clip_norm, optimizer.clip_value, optimizer.max_norm, optimizer.layer_rates
    return _extras(network, optimizer.name, *asked, penalty, None if noise is None else noise[1:])


@lru_cache(maxsize=64)
def _constants(values):
    """Numbers as a float64 array, which nobody writes to."""
    return np.array(values, np.float64)


@lru_cache(maxsize=64)
def _extras(network, optimizer, weight_decay, clip_norm, clip_value, max_norm, layer_rates, penalty, noise):
    n_layers = len(network.activations)
    input_dropout, input_deviation, dropout = (0.0, 0.0, ()) if noise is None else noise
    decoupled = optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].decoupled
    extras = np.zeros(partition.LAYERS + partition.LAYER_EXTRAS * n_layers)
    extras[[partition.LASSO, partition.ACTIVITY_L1, partition.ACTIVITY_L2]] = penalty
    extras[partition.DECOUPLED_DECAY if decoupled else partition.COUPLED_DECAY] = weight_decay
    extras[[partition.CLIP_NORM, partition.CLIP_VALUE, partition.MAX_NORM]] = clip_norm, clip_value, max_norm
    extras[[partition.INPUT_DROPOUT, partition.INPUT_DEVIATION]] = input_dropout, input_deviation
    by_layer = extras[partition.LAYERS :].reshape(n_layers, partition.LAYER_EXTRAS)
    by_layer[: len(dropout), partition.DROPOUT] = dropout
    by_layer[:, partition.FACTOR] = layer_rates or 1.0
    demands = Demands(
        noisy=noise is not None and any(activation_row(name).deviation is not None for name in network.activations),
        inputs=input_dropout > 0 or input_deviation > 0,
        dropped=tuple(rate > 0 for rate in dropout) if any(dropout) else (),
        activity=penalty.activity_l1 > 0 or penalty.activity_l2 > 0,
        by_matrix=clip_norm > 0 or max_norm > 0,
    )
    plain = demands == NO_DEMANDS and not network.skips and not layer_rates and not extras[: partition.LAYERS].any()
    plain = plain and not any(activation_row(name).of_input for name in network.activations)
    return extras, demands, plain


def _train(
    engine, network, optimizer, parameters, slots, gradient, step, X, y, order, batch_size, sample_weight, alpha,
    extras, demands, noise, rates, results,
):  # fmt: skip
    # Only who may change the parameters may rearrange them.
    codes, work = (NO_RULE, NO_RULE), GRADIENT
    if optimizer is not NO_OPTIMIZER:
        codes, work = engine.optimizer_codes(optimizer.name, parameters.dtype), TRAINING
    plan = plan_of(engine, network, parameters.dtype, batch_size, work, demands)
    with thread_pool.taken(plan.wanted_threads(len(order))) as n_threads:
        buffers = plan.take_buffers(n_threads)
        buffers.counter[0] = 0
        settings = [np.array((*[0.0] * partition.OPTIONS, *optimizer.options)) for _ in range(n_threads)]
        if optimizer.clip_norm > 0:
            gradient = aligned_zeros(plan.n_parameters, parameters.dtype)
        weight = np.empty(0, parameters.dtype) if sample_weight is None else sample_weight
        X, y, order, weight = map(engine.read_only, (X, y, order, weight))
        linked = loss_row(network.loss).link is not None
        loss_options = _constants(network.loss_options)
        given_rates = _constants((optimizer.learning_rate,)) if rates is None else rates
        noisy, seed = noise is not None, 0 if noise is None else noise.seed

        def arguments_of(thread):
            return (
                thread, n_threads, buffers.counter, plan.layers, plan.layer_rows, X, plan.in_place, plan.by_columns,
                plan.n_groups, y, order, batch_size, weight, alpha, plan.loss, linked, loss_options, noisy, extras,
                seed, *codes, parameters, gradient, slots, step, given_rates, rates is not None, settings[thread],
                buffers.workspaces[0], buffers.sums, buffers.offsets[thread], buffers.scratch[thread], buffers.by_row,
                buffers.squares, plan.n_squares, results,
            )  # fmt: skip

        matrices = []
        if plan.by_columns and n_threads > 1:
            size = network.sizes[0] * network.sizes[1]
            matrices = [vector[:size].reshape(network.sizes[:2]) for vector in (parameters, *slots)]
        with columns_by_thread(matrices, plan.lanes, n_threads):
            thread_pool.run(n_threads, engine.entries.run_train, arguments_of, buffers.counter)
        plan.give_back(buffers)


def _train_online(
    engine, network, optimizer, parameters, slots, step, X, y, order, sample_weight, alpha, rates, results
):
    plan = online_plan(engine, network, parameters.dtype)
    codes = engine.optimizer_codes(optimizer.name, parameters.dtype)
    weight = np.empty(0, parameters.dtype) if sample_weight is None else sample_weight
    X, y, order, weight = map(engine.read_only, (X, y, order, weight))
    engine.entries.run_online(
        plan.layers, X, y, order, weight, alpha, plan.loss, loss_row(network.loss).link is not None,
        _constants(network.loss_options), *codes, parameters, slots, step,
        _constants((optimizer.learning_rate,)) if rates is None else rates, rates is not None,
        _constants(optimizer.options), aligned_zeros((2 + len(slots), plan.n_local), parameters.dtype),
        aligned_zeros(plan.workspace, parameters.dtype), results,
    )  # fmt: skip


@contextlib.contextmanager
def columns_by_thread(matrices, lanes, n_threads):
    """Inside the block each matrix holds the columns of the first thread, row by row, then those of the second, ..."""
    spare = np.empty_like(matrices[0]) if matrices else None  # taken now: putting back must not fail
    done = []
    try:
        for matrix in matrices:
            spare[...] = matrix
            done.append(matrix)
            for columns, block in _blocks(matrix, lanes, n_threads):
                block[...] = spare[:, columns]
        yield
    finally:
        for matrix in done:
            for columns, block in _blocks(matrix, lanes, n_threads):
                spare[:, columns] = block
            matrix[...] = spare


def _blocks(matrix, lanes, n_threads):
    """(a thread's columns, where its block of them lies in the memory of the matrix), thread after thread."""
    rows, start = len(matrix), 0
    cuts = [share(matrix.shape[1], lanes, thread, n_threads) for thread in range(n_threads + 1)]
    for left, right in pairwise(cuts):
        stop = start + rows * (right - left)
        yield slice(left, right), matrix.reshape(-1)[start:stop].reshape(rows, right - left)
        start = stop


def forward(engine, network, parameters, X, only_if_finite, noise):
    out, total = _outputs_and_sum(engine, network, parameters, X, noise)
    if only_if_finite and not np.isfinite(total) and not np.isfinite(X).all():  # a sum may overflow
        return None
    return out


def _outputs_and_sum(engine, network, parameters, X, noise):
    """(outputs, a sum of X that is finite only if X is)."""
    out = np.empty((len(X), network.sizes[-1]), parameters.dtype)
    extras, demands, _ = extras_of(network, NO_OPTIMIZER, NO_PENALTY, noise)
    plan = plan_of(engine, network, parameters.dtype, min(PREDICT_ROWS, max(len(X), 1)), PREDICTION, demands)
    with thread_pool.taken(plan.wanted_threads(len(X))) as n_threads:
        buffers, sums = plan.take_buffers(n_threads), np.zeros(n_threads)
        parameters, X = engine.read_only(parameters), engine.read_only(X)
        noisy, seed = noise is not None, 0 if noise is None else noise.seed

        def arguments_of(thread):
            return (
                thread, n_threads, plan.layers, plan.layer_rows, X, plan.in_place, plan.special, noisy, extras, seed,
                parameters, out, buffers.workspaces[thread], buffers.offsets[thread], buffers.scratch[thread], sums,
            )  # fmt: skip

        thread_pool.run(n_threads, engine.entries.run_predict, arguments_of, buffers.counter)
        plan.give_back(buffers)
    return out, sums.sum()


def row_predictor(engine, network, parameters):
    if network.skips or any(activation_row(name).learned is not None for name in network.activations):
        return predictor_by(partial(forward, engine, only_if_finite=False, noise=None), network, parameters.copy())
    plan = online_plan(engine, network, parameters.dtype)
    return engine.entries.RowPredictor(plan, network.sizes[0], network.sizes[-1], engine.read_only(parameters))


def predictor_by(forward, network, parameters):
    """By forward(network, parameters, X), where no faster way is known; the same checks and the same array each time as
    RowPredictor's."""
    n_inputs, out = network.sizes[0], np.empty(network.sizes[-1], parameters.dtype)

    def predict(x):
        if not isinstance(x, np.ndarray) or x.size != n_inputs or x.dtype != parameters.dtype:
            raise wrong_row(n_inputs, x)
        out[:] = forward(network, parameters, np.ascontiguousarray(x).reshape(1, -1))[0]
        return out

    return predict


def update(engine, optimizer, parameters, gradient, slots, step):
    code, rate = engine.optimizer_codes(optimizer.name, parameters.dtype)
    options = np.array(optimizer.options, np.float64)
    engine.entries.run_update(code, rate, parameters, gradient, slots, step, optimizer.learning_rate, options)


def _padded(engine, array):
    """A copy as the engine's buffers are: rows padded to whole vectors and tiles, and enough of them."""
    height, itemsize = engine.tile_rows, array.dtype.itemsize
    lanes = engine.vector_bytes // itemsize
    columns = row_stride(array.shape[1], max(lanes, height), itemsize)
    copy = aligned_zeros((-(-array.shape[0] // height) * height, columns), array.dtype)
    copy[: array.shape[0], : array.shape[1]] = array
    return copy


def prepared_product(engine, A, B, bias, by_column=False, transposed=False):
    """(function that makes A B + bias in one thread, the padded buffer that it fills).

    A is given as its transpose with ``by_column``, B as its with ``transposed``.
    """
    shape = A.shape[1] if by_column else A.shape[0], B.shape[0] if transposed else B.shape[1]
    inner = A.shape[0] if by_column else A.shape[1]
    A, out = _padded(engine, A), _padded(engine, np.zeros(shape, A.dtype))
    lanes = engine.vector_bytes // A.dtype.itemsize
    packed = B.nbytes > PACK_BYTES
    scratch = TILE_VECTORS * lanes * (DEPTH + 1) + (len(out) * DEPTH if packed and by_column else 0)
    arguments = (
        A, np.arange(len(A)) * A.shape[1], by_column, len(out), inner, B, transposed, packed,
        np.arange(inner) * engine.tile_rows, shape[1], bias, out, aligned_zeros(scratch, A.dtype),
    )  # fmt: skip
    return lambda: engine.entries.run_product(*arguments), out


def _product(engine, A, B, bias, **how):
    run, out = prepared_product(engine, A, B, bias, **how)
    run()
    return out


def activation_codes(engine, activation, dtype):
    """(code of the activation, code of its derivative); a learned one has no pieces of its own."""
    if activation_row(activation).learned is not None:
        raise ValueError(f"activation {activation!r} has a learned slope, and is no function of z alone.")
    codes = engine.network_codes(Network((1, 1), (activation,), "squared_error"), dtype)
    return codes.activations[0], codes.derivatives[0]


def dense_forward(engine, activation, X, W, b):
    out = _product(engine, X, W, b)
    engine.entries.run_activation(activation_codes(engine, activation, X.dtype)[0], out, len(X), W.shape[1])
    return np.ascontiguousarray(out[: len(X), : W.shape[1]])


def activation_derivative(engine, activation, output, delta):
    delta = delta.copy()
    engine.entries.run_derivative(activation_codes(engine, activation, delta.dtype)[1], output, delta)
    return delta


def delta_backpropagation(engine, delta, W):
    out = _product(engine, delta, W, np.zeros(len(W), W.dtype), transposed=True)
    return np.ascontiguousarray(out[: len(delta), : len(W)])


def weight_gradient(engine, X, delta):
    out = _product(engine, X, delta, np.zeros(delta.shape[1], X.dtype), by_column=True)
    return np.ascontiguousarray(out[: X.shape[1], : delta.shape[1]]), delta.sum(axis=0)
