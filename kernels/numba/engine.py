"""The engine compiled by Numba for this CPU: sources, their primitives and entry points.

Each entry point is compiled at its first call, once per dtype and, for training and prediction, once for plain plans
(engine/plan.py), once for those with an input stage and once for others.

The entry points take the same arguments as those in cpu/engine.pyx.
"""

import os
from ctypes import addressof
from types import FunctionType

import numba
import numpy as np
from numba import types
from numba.extending import register_jitable

from fastmlp.kernels.engine import (
    bfloat16_tiles,
    column_errors,
    epoch,
    epochs,
    input_gradients,
    input_stage,
    jacobian,
    layer_features,
    losses,
    online,
    partition,
    passes,
    primitives,
    products,
    reduced_precision,
    sparse_rows,
    update,
)
from fastmlp.kernels.engine import predict as inference
from fastmlp.kernels.engine.bfloat16_tiles import SIDE, WORDS
from fastmlp.kernels.engine.primitives import NO_RULE
from fastmlp.kernels.spec import aligned_zeros, wrong_row

from . import bfloat16_tiles as numba_bfloat16
from . import primitives as numba_primitives
from . import random as numba_random
from . import tiles as numba_tiles
from . import vectors as numba_vectors
from .bfloat16_tiles import close_tiles, open_tiles
from .primitives import IS_X86, data_of
from .records import record_at
from .rule_loops import COMPILE, SOURCE_HASH, call
from .together import compiled_with_caller

multiplies_tiles = IS_X86  # LLVM knows the instructions, whatever the processor

# Each after those it calls.
SOURCES = (
    partition, products, bfloat16_tiles, reduced_precision, layer_features, losses, update, sparse_rows, input_stage,
    input_gradients, column_errors, epoch, passes, jacobian, online, epochs, inference,
)  # fmt: skip

# Called only with layer features or bounds on norms: a plan that is plain (engine/plan.py) needs none of them.
FEATURES = (
    "disturb_inputs", "finish_rows", "finish_deltas", "add_skip_errors", "squares_of_gradient", "learn_clipped",
    "limit_norms",
)  # fmt: skip
# Called only with an input stage.
STAGED = (
    "copy_columns", "stage_inputs", "encode_rows", "stage_errors", "learn_stage", "learn_columns",
    "store_column_errors",
)  # fmt: skip
# Called only in reduced precision.
REDUCED = "prepare_weights", "prepare_deltas", "reduced_dense_rows", "reduced_delta_rows", "multiply_gradient"
# Called only with sparse rows.
SPARSE = "multiply_sparse_rows", "learn_sparse"
# The numbers of dimensions of ``like`` (engine/plan.py) for which a function is compiled; others for all.
LEVELS = (
    dict.fromkeys(FEATURES, (2, 3, 4, 6)) | dict.fromkeys(STAGED, (3, 4)) | dict.fromkeys(REDUCED, (4,))
    | dict.fromkeys(SPARSE, (5, 6))
)  # fmt: skip


def _njit(function):
    """Compile, and cache under a name that changes with the kernels' source."""
    function.__qualname__ += f"_{SOURCE_HASH}"
    return numba.njit(nogil=True, **COMPILE)(function)


@register_jitable
def activate(code, z, rows, columns, stride):
    call(code, (z, rows, columns, stride))


@register_jitable
def derive(code, a, delta, rows, columns, stride):
    call(code, (a, delta, rows, columns, stride))


@register_jitable
def activate_trainable(code, z, own, step, derivative, slope_derivative, n):
    call(code, (z, own, step, derivative, slope_derivative, n))


@register_jitable
def weighted_loss(code, prediction, target, weight, delta, n, options):
    return call(code, (prediction, target, weight, delta, n, options))


@register_jitable
def apply_update(code, w, g, slots, stride, n, rate, options):
    call(code, (w, g, slots, stride, n, rate, options))


@register_jitable
def step_rate(code, learning_rate, step, options):
    return learning_rate if code == NO_RULE else call(code, (learning_rate, step, options))


give_way = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())


def _compiled_sources():
    """The functions of SOURCES, each compiled with Numba's primitives instead of the empty ones."""
    supplied = {}
    for module in (numba_vectors, numba_tiles, numba_primitives, numba_bfloat16, numba_random):
        supplied |= vars(module)
    supplied |= globals()
    names = {name: supplied.get(name, value) for name, value in vars(primitives).items() if not name.startswith("_")}
    compiled = {}
    for source in SOURCES:
        namespace = {**vars(source), **names, **compiled}
        for name, value in vars(source).items():
            if isinstance(value, FunctionType) and value.__module__ == source.__name__:
                copy = FunctionType(value.__code__, namespace, name)
                copy.__module__, copy.__qualname__ = source.__name__, name
                copy.__annotations__ = value.__annotations__
                namespace[name] = compiled[name] = compiled_with_caller(copy, LEVELS.get(name))
    return compiled


_compiled = _compiled_sources()
_ENTERED = (
    "train", "train_online", "rearrange", "predict_row", "predict", "differentiate_outputs", "product", "mean_loss",
)  # fmt: skip
train, train_online, rearrange, predict_row, predict, differentiate_outputs, product, mean_loss = (
    _compiled[name] for name in _ENTERED
)
_TILES = "n_tiles", "pack_along", "pack_down", "multiply_tiles"
n_tiles, pack_along, pack_down, multiply_tiles = (_compiled[name] for name in _TILES)
_PASSES = "forward_pass", "backward_pass", "apply_gradient"
forward_pass, backward_pass, apply_gradient = (_compiled[name] for name in _PASSES)


@_njit
def run_train(worker, like):
    train(record_at(worker, "Worker", like))


@_njit
def run_predict(worker, like):
    predict(record_at(worker, "Worker", like))


@_njit
def run_forward(worker, like):
    forward_pass(record_at(worker, "Worker", like))


@_njit
def run_backward(worker, like):
    backward_pass(record_at(worker, "Worker", like))


@_njit
def run_apply(worker, like):
    apply_gradient(record_at(worker, "Worker", like))


@_njit
def run_online(run, like):
    train_online(record_at(run, "Run", like))


@_njit
def bind_parameters(run, parameters, gradient, slots, results):
    to = record_at(run, "Run", parameters)
    to.parameters, to.gradient, to.slots = data_of(parameters), data_of(gradient), data_of(slots)
    to.n_slots, to.results = slots.shape[0], data_of(results)


@_njit
def bind_samples(run, X, y, order, sample_weight, rates, scheduled, step, totals):
    to = record_at(run, "Run", X)
    to.X, to.y, to.sample_weight = data_of(X), data_of(y), data_of(sample_weight)
    to.order, to.n_rows, to.n_weights = data_of(order), order.size, sample_weight.size // len(y)
    to.rates, to.scheduled, to.step = data_of(rates), scheduled, step
    results = to.results
    results[0], results[1] = totals
    results[2] = 0.0


@_njit
def bind_prediction(run, X, parameters, out, input_sums):
    to = record_at(run, "Run", parameters)
    to.X, to.n_rows, to.parameters = data_of(X), out.shape[0], data_of(parameters)
    to.out, to.input_sums = data_of(out), data_of(input_sums)


@_njit
def bind_sparse(run, values, indices, row_starts):
    to = record_at(run, "Run", values)
    to.values, to.indices, to.row_starts = data_of(values), data_of(indices), data_of(row_starts)


@_njit
def bind_forward(run, X, parameters, out, step):
    to = record_at(run, "Run", parameters)
    to.X, to.n_rows, to.parameters, to.out = data_of(X), X.shape[0], data_of(parameters), data_of(out)
    to.step = step


@_njit
def bind_backward(run, output_gradient, gradient, input_gradient):
    to = record_at(run, "Run", gradient)
    to.given, to.gradient = data_of(output_gradient), data_of(gradient)
    to.out, to.of_inputs = data_of(input_gradient), input_gradient.size > 0


@_njit
def bind_gradient(run, gradients, n_gradients, stride, rates, step, part, n_parts):
    to = record_at(run, "Run", gradients)
    to.given, to.n_given, to.given_stride = data_of(gradients), n_gradients, stride
    to.rates, to.step, to.part, to.n_parts = data_of(rates), step, part, n_parts


@_njit
def run_jacobian(worker, like):
    differentiate_outputs(record_at(worker, "Worker", like))


@_njit
def bind_jacobian(run, X, parameters, order, out, jacobian):
    to = record_at(run, "Run", parameters)
    to.X, to.order, to.n_rows, to.parameters = data_of(X), data_of(order), X.shape[0], data_of(parameters)
    to.out, to.gradient = data_of(out), data_of(jacobian)


@_njit
def run_rearrange(layers, n_layers, parameters, local):
    rearrange(record_at(layers, "Layer", local), n_layers, data_of(parameters), data_of(local), 0)


@_njit
def run_predict_row(layers, n_layers, x, local, out, workspace):
    predict_row(
        record_at(layers, "Layer", local), n_layers, data_of(x), data_of(local), data_of(out), data_of(workspace)
    )  # fmt: skip


class RowPredictor:
    """Counterpart of the class in cpu/engine.pyx."""

    def __init__(self, plan, n_inputs, n_outputs, parameters):
        local = aligned_zeros((1, plan.n_local), parameters.dtype)
        workspace = aligned_zeros(plan.workspace, parameters.dtype)
        run_rearrange(addressof(plan.layers), len(plan.layers), parameters, local)
        self._n_inputs, self._dtype = n_inputs, parameters.dtype
        self._arguments = local, np.zeros(n_outputs, parameters.dtype), workspace
        self._layers, self._plan = (addressof(plan.layers), len(plan.layers)), plan

    def __call__(self, x):
        if not isinstance(x, np.ndarray) or x.size != self._n_inputs or x.dtype != self._dtype:
            raise wrong_row(self._n_inputs, x)
        run_predict_row(*self._layers, x.ravel(), *self._arguments)
        return self._arguments[1]


@_njit
def run_loss(code, n_averaged, option_step, outputs, y, sample_weight, options, errors, result):
    result[0] = mean_loss(
        code, n_averaged, option_step, data_of(outputs), data_of(y), data_of(sample_weight),
        sample_weight.size // len(outputs), outputs.shape[0], outputs.shape[1], data_of(options), data_of(errors),
    )  # fmt: skip


@_njit
def run_update(code, rate_rule, parameters, gradient, slots, step, learning_rate, options):
    rate = step_rate(rate_rule, learning_rate, float(step), data_of(options))
    n = parameters.size
    apply_update(code, data_of(parameters), data_of(gradient), data_of(slots), n, n, rate, data_of(options))


@_njit
def run_product(
    A, rows, by_column, n_rows, inner, B, transposed, packed, strips, n_columns, bias, out, scratch
):  # fmt: skip
    product(
        data_of(A), data_of(rows), data_of(rows), np.int64(by_column), 0, n_rows, inner, data_of(B), B.shape[1],
        transposed, packed, data_of(strips), 0, n_columns, data_of(bias), True, data_of(out), out.shape[1],
        data_of(scratch),
    )  # fmt: skip


@_njit
def run_packing(M, rows, n_terms, down, transposed, out, scratch):
    height, width = M.shape
    step = n_tiles(height if down else width) * n_terms * WORDS
    if down:
        pack_down(
            data_of(M), data_of(rows), height, width, n_terms, np.int64(transposed), step, data_of(out),
            data_of(scratch),
        )  # fmt: skip
    else:
        pack_along(
            data_of(M), data_of(rows), height, width, n_terms, np.int64(transposed), step, data_of(out),
            data_of(scratch),
        )  # fmt: skip


@_njit
def run_tiles(unit, n_terms, left, right, bias, out, scratch):
    rows, columns = out.shape
    step, saved = left.size // ((rows + SIDE - 1) // SIDE), np.zeros(8, np.int64)
    open_tiles(unit, data_of(saved))
    multiply_tiles(
        unit, n_terms, data_of(left), data_of(right), step, step // (n_terms * WORDS), rows, columns, data_of(bias),
        True, data_of(out), columns, data_of(scratch),
    )  # fmt: skip
    close_tiles(unit, data_of(saved))


@_njit
def run_activation(code, z, rows, columns):
    activate(code, data_of(z), rows, columns, z.shape[1])


@_njit
def run_derivative(code, a, delta):
    derive(code, data_of(a), data_of(delta), delta.shape[0], delta.shape[1], delta.shape[1])
