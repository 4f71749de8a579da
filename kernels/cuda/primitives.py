"""Kernels of the contract's primitives (derivative of an activation, optimizer step), and a check for finite values."""

from functools import cache
from math import isfinite

import numpy as np
from numba import cuda

from fastmlp.kernels.engine import partition
from fastmlp.kernels.spec import activation_row

from .launch import grid_size, launch
from .rules import device_rule
from .simt.update import rate_correction, update_function

THREADS = 256


@cache
def derivative_kernel(activation, dtype):
    """derive(output, delta): multiply dLoss/da by da/dz, in place."""
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
    """update(parameters, gradient, slots, rate, step, extras, options): one optimizer step for all parameters."""
    update_parameter, correction_of = update_function(optimizer, dtype), rate_correction(optimizer)

    @cuda.jit(launch_bounds=THREADS)
    def update(parameters, gradient, slots, rate, step, extras, options):
        correction = correction_of(step, options)
        n = parameters.size
        for p in range(cuda.grid(1), n, cuda.gridsize(1)):
            update_parameter(p, gradient[p], False, 1.0, rate, correction, parameters, slots, n, extras, options)

    return update


@cuda.jit(launch_bounds=THREADS)
def _count_non_finite(X, count):
    columns = X.shape[1]
    for item in range(cuda.grid(1), X.size, cuda.gridsize(1)):
        x = X[item // columns, item % columns]
        if not isfinite(x):
            cuda.atomic.add(count, 0, 1)


def all_finite(X):
    """Whether a 2-D device array contains neither NaN nor infinity."""
    count = cuda.to_device(np.zeros(1, np.int32))
    launch(_count_non_finite, grid_size(X.size, THREADS), THREADS, 0, 0, X, count)
    return count.copy_to_host()[0] == 0


def apply_derivative(activation, output, delta):
    """Return dLoss/dz, given host arrays of outputs and of dLoss/da."""
    output, product = cuda.to_device(output), cuda.to_device(delta)
    kernel = derivative_kernel(activation, delta.dtype)
    launch(kernel, grid_size(delta.size, THREADS), THREADS, 0, 0, output, product)
    return product.copy_to_host()


def update(optimizer, parameters, gradient, slots, step):
    """Return (parameters, slots) after a step; the host arrays are not changed."""
    n, dtype = parameters.size, parameters.dtype
    host = parameters, gradient, slots if slots.size else np.zeros(1, dtype)
    P, gradient, new_slots = (cuda.to_device(array.reshape(-1)) for array in host)
    extras, options = cuda.to_device(np.zeros(partition.LAYERS)), cuda.to_device(np.array([*optimizer.options, 0.0]))
    kernel, rate = update_kernel(optimizer.name, dtype), optimizer.learning_rate
    launch(kernel, grid_size(n, THREADS), THREADS, 0, 0, P, gradient, new_slots, rate, step, extras, options)
    return P.copy_to_host(), new_slots.copy_to_host()[: slots.size].reshape(slots.shape)
