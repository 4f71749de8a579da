"""Outputs of narrow networks in bf16: tiles of rows through all layers on the chip."""

from functools import cache

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.intrinsics import cp_async_commit, cp_async_wait0, smem_addr

from .layers import hidden_layer, in_turn, layer_product
from .loss import output_activation
from .rows import in_batch, row_fetcher
from .update import copier, loader


@cache
def copy_kernel(plan):
    """copy(P, copies): the bf16 copies of weights that prediction wants."""
    copy = copier(plan)

    @cuda.jit(launch_bounds=plan.threads)
    def make_copies(P, copies):
        copy(cuda.grid(1), cuda.gridsize(1), P, copies)

    return make_copies


@cache
def fused_prediction_kernel(plan):
    """predict(X, P, copies, out) for a Plan that is not ``learning``; ``plan.threads``, ``plan.shared_bytes``.

    X as for training, out (rows, outputs).
    """
    dtype, layers = np.dtype("float32"), range(plan.n_layers)
    forward = in_turn([hidden_layer(plan, layer, dtype) for layer in layers[:-1]])
    multiply, activate = layer_product(plan, plan.n_layers - 1), output_activation(plan, dtype)
    fetch, put = row_fetcher(plan)
    load, warps, width, n_tiles = loader(plan, dtype), plan.warps, plan.network.sizes[-1], plan.widths[-1] // 8
    n_c, n_x, threads = max(plan.widths) // 2, plan.widths[0] // 4, plan.threads

    @cuda.jit(launch_bounds=threads)
    def predict(X, P, copies, out):
        thread = cuda.threadIdx.x
        warp, lane = thread >> 5 & 31, thread & 31  # in a way that says how small they are
        chip, biases = smem_addr(cuda.shared.array(0, "uint16", alignment=16), 0), cuda.shared.array(0, "float32")
        c = cuda.local.array(n_c, "float32")
        x = cuda.local.array(n_x, "uint32")
        rows, step = out.shape[0], cuda.gridDim.x * warps * 16
        load(thread, chip, biases, P, copies)
        cp_async_commit()
        first = (cuda.blockIdx.x * warps + warp) * 16
        fetch(X, in_batch(0, first, rows, lane), lane, x)
        cp_async_wait0()
        cuda.syncthreads()
        while first < rows:
            put(chip, warp, lane, x)
            fetch(X, in_batch(0, first + step, rows, lane), lane, x)
            forward(c, chip, biases, warp, lane)
            multiply(c, chip, biases, warp, lane)
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
