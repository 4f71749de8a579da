"""Kernels of the contract's small pieces: an activation's derivative, and one optimizer step."""

from functools import cache
from math import isfinite

import numpy as np
from numba import cuda

from fastmlp.kernels.engine import partition
from fastmlp.kernels.spec import activation_row

from . import devices
from .launch import launch
from .rules import device_rule
from .simt.update import learner, rate_correction

THREADS = 256


def blocks(n_items):
    """How many blocks of THREADS share that many numbers."""
    return max(1, min(4 * devices.current().processors, -(-n_items // THREADS)))


@cache
def derivative_kernel(activation, dtype):
    """derive(output, delta): delta, dLoss/da of each row, becomes dLoss/dz."""
    row = activation_row(activation)
    derivative = device_rule(row.derivative, dtype)

    @cuda.jit(launch_bounds=THREADS)
    def elementwise(output, delta):
        columns = delta.shape[1]
        for item in range(cuda.grid(1), delta.size, cuda.gridsize(1)):
            i, j = item // columns, item % columns
            delta[i, j] *= derivative(output[i, j])

    @cuda.jit(launch_bounds=THREADS)
    def rowwise(output, delta):
        for i in range(cuda.grid(1), delta.shape[0], cuda.gridsize(1)):
            derivative(output[i], delta[i], delta.shape[1])

    return rowwise if row.rowwise else elementwise


@cache
def update_kernel(optimizer, dtype):
    """update(parameters, gradient, slots, rate, step, extras, options): one step of every parameter."""
    learn, correction_of = learner(optimizer, dtype), rate_correction(optimizer)

    @cuda.jit(launch_bounds=THREADS)
    def update(parameters, gradient, slots, rate, step, extras, options):
        correction = correction_of(step, options)
        n = parameters.size
        for p in range(cuda.grid(1), n, cuda.gridsize(1)):
            learn(p, gradient[p], False, 1.0, rate, correction, parameters, slots, n, extras, options)

    return update


@cuda.jit(launch_bounds=THREADS)
def _note_wrong(X, found):
    columns = X.shape[1]
    for item in range(cuda.grid(1), X.size, cuda.gridsize(1)):
        x = X[item // columns, item % columns]
        if not isfinite(x):
            cuda.atomic.add(found, 0, 1)


def all_finite(X):
    """Whether a device array of two dimensions holds no NaN and no infinity."""
    found = cuda.to_device(np.zeros(1, np.int32))
    launch(_note_wrong, blocks(X.size), THREADS, 0, 0, X, found)
    return found.copy_to_host()[0] == 0


def derive(activation, output, delta):
    """dLoss/dz from host arrays of outputs and dLoss/da."""
    there = cuda.to_device(delta)
    launch(derivative_kernel(activation, delta.dtype), blocks(delta.size), THREADS, 0, 0, cuda.to_device(output), there)
    return there.copy_to_host()


def update(optimizer, parameters, gradient, slots, step):
    """(parameters, slots) after a step from host arrays, which stay as they are."""
    n = parameters.size
    given = parameters, gradient, slots if slots.size else np.zeros(1, parameters.dtype)
    here, slopes, state = (cuda.to_device(array.reshape(-1)) for array in given)
    extras, options = cuda.to_device(np.zeros(partition.LAYERS)), cuda.to_device(np.array([*optimizer.options, 0.0]))
    kernel = update_kernel(optimizer.name, parameters.dtype)
    launch(kernel, blocks(n), THREADS, 0, 0, here, slopes, state, optimizer.learning_rate, step, extras, options)
    return here.copy_to_host(), state.copy_to_host()[: slots.size].reshape(slots.shape)
