"""Prediction of narrow networks in bfloat16: tiles of rows through all layers in shared memory."""

from functools import cache

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.composition import chain, inlined
from fastmlp.kernels.cuda.intrinsics import cp_async_commit, cp_async_wait0, smem_addr

from .layers import hidden_layer, layer_product
from .loss import output_activation
from .rows import position_in_order, row_fetcher
from .update import copier, loader


@cache
def copy_kernel(plan):
    """make_copies(P, copies): the bfloat16 copies of weights that the prediction kernel reads."""
    copy = copier(plan)

    @cuda.jit(launch_bounds=plan.threads)
    def make_copies(P, copies):
        copy(cuda.grid(1), cuda.gridsize(1), P, copies)

    return make_copies


@cache
def tensor_core_prediction_kernel(plan):
    """predict(X, P, copies, out) for a Plan that is not for training.

    X is as for training, out (rows, outputs); launched with ``plan.threads`` and ``plan.shared_bytes``.
    """
    dtype, layers = np.dtype("float32"), range(plan.n_layers)
    forward = chain([hidden_layer(plan, layer, dtype) for layer in layers[:-1]], inlined)
    multiply, activate = layer_product(plan, plan.n_layers - 1), output_activation(plan, dtype)
    fetch, put = row_fetcher(plan)
    load, warps, width, n_tiles = loader(plan, dtype), plan.warps, plan.network.sizes[-1], plan.widths[-1] // 8
    n_c, n_x, threads = max(plan.widths) // 2, plan.widths[0] // 4, plan.threads

    @cuda.jit(launch_bounds=threads)
    def predict(X, P, copies, out):
        thread = cuda.threadIdx.x
        warp, lane = thread >> 5 & 31, thread & 31  # masked, so that the compiler knows their range
        smem, biases = smem_addr(cuda.shared.array(0, "uint16", alignment=16), 0), cuda.shared.array(0, "float32")
        c = cuda.local.array(n_c, "float32")
        x = cuda.local.array(n_x, "uint32")
        rows, step = out.shape[0], cuda.gridDim.x * warps * 16
        load(thread, smem, biases, P, copies)
        cp_async_commit()
        first = (cuda.blockIdx.x * warps + warp) * 16
        fetch(X, position_in_order(0, first, rows, lane), lane, x)
        cp_async_wait0()
        cuda.syncthreads()
        while first < rows:
            put(smem, warp, lane, x)
            fetch(X, position_in_order(0, first + step, rows, lane), lane, x)
            forward(c, smem, biases, warp, lane)
            multiply(c, smem, biases, warp, lane)
            activate(c, lane)
            for half in range(2):
                r = first + lane // 4 + half * 8
                for n in range(n_tiles):
                    for i in range(2):
                        j = n * 8 + lane % 4 * 2 + i
                        if r < rows and j < width:
                            out[r, j] = c[n * 4 + half * 2 + i]
            cuda.syncwarp()
            first += step

    return predict
