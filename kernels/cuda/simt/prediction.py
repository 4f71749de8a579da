"""Prediction: each block computes tiles of rows through all layers."""

from functools import lru_cache

from numba import cuda

from fastmlp.kernels.cuda.rules import device_rule
from fastmlp.kernels.spec import activation_row

from .network import forward_pass
from .tiled_step import wait_for_block


@lru_cache(maxsize=64)
def prediction_kernel(layout, dtype, in_shared, threads):
    """Return the prediction kernel for a Layout that is not for training.

    ``in_shared``: the workspace is in shared memory. Arguments: X (rows, inputs), P, work (a workspace for each block,
    or empty), order (not read), extras, seed, first_number (of the first row, for random numbers), out (rows, outputs).
    """
    forward = forward_pass(layout, dtype, wait_for_block)
    height, size, width, outputs = layout.rows, layout.size, layout.network.sizes[-1], layout.outputs[-1]
    row = activation_row(layout.network.activations[-1])
    activate, rowwise = device_rule(row.function, dtype), row.rowwise
    kind = str(dtype)

    @cuda.jit(launch_bounds=threads)
    def predict(X, P, work, order, extras, seed, first_number, out):
        t, n = cuda.threadIdx.x, cuda.blockDim.x
        mine = cuda.shared.array(0, kind) if in_shared else work[cuda.blockIdx.x * size : (cuda.blockIdx.x + 1) * size]
        for first in range(cuda.blockIdx.x * height, X.shape[0], cuda.gridDim.x * height):
            rows = min(height, X.shape[0] - first)
            forward(t, n, first_number + first, rows, first, X, order, P, mine, extras, seed, 0)
            if rowwise:
                for r in range(t, rows, n):
                    activate(mine[outputs + r * width : outputs + (r + 1) * width], width)
                cuda.syncthreads()
            for item in range(t, rows * width, n):
                out[first + item // width, item % width] = mine[outputs + item]
            cuda.syncthreads()

    return predict
