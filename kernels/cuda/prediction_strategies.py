"""Prediction strategies behind one method: ``queue(stream, X, parameters, extras, seed, first, out)``.

It queues the predictions for X. All arrays are on the device; ``first`` is the number of the first row of X, which
selects its random numbers when there is noise.
"""

import numpy as np
from numba import cuda

from . import training_strategies
from .dispatch import GEMM, TENSOR_CORE
from .gemm.training import GemmPrediction
from .launch import PreparedKernel, grid_size, launch
from .simt.prediction import prediction_kernel
from .tensor_core.prediction import copy_kernel, tensor_core_prediction_kernel
from .training_strategies import BFloat16Cache, empty


def prediction_strategy(config, dtype):
    """Return the strategy of a LaunchConfig, with its workspace."""
    if config.strategy == GEMM:
        return GemmPrediction(config.layout, dtype, training_strategies.make_products())
    return TensorCorePrediction(config) if config.strategy == TENSOR_CORE else SimtPrediction(config, dtype)


class SimtPrediction:
    """TILES: float32 or float64 without tensor cores."""

    def __init__(self, config, dtype):
        kernel = prediction_kernel(config.layout, dtype, config.in_shared, config.threads)
        self.kernel = PreparedKernel(kernel, config.threads, config.shared_bytes, config.blocks, False)
        self.work = empty(0 if config.in_shared else config.layout.size * config.blocks, dtype)
        self.no_order = cuda.to_device(np.zeros(1, np.int64))

    def queue(self, stream, X, parameters, extras, seed, first, out):
        self.kernel(stream, X, parameters, self.work, self.no_order, extras, seed, first, out)


class TensorCorePrediction:
    """TENSOR_CORE: narrow networks in bfloat16."""

    def __init__(self, config):
        self.plan, self.X = config.layout, BFloat16Cache(config.layout.widths[0])
        kernel = tensor_core_prediction_kernel(self.plan)
        self.kernel = PreparedKernel(kernel, config.threads, config.shared_bytes, config.blocks, False)
        self.copies = empty(self.plan.n_copy, np.uint16)

    def queue(self, stream, X, parameters, extras, seed, first, out):
        plan = self.plan
        blocks = grid_size(plan.n_copy, plan.threads)
        launch(copy_kernel(plan), blocks, plan.threads, stream, 0, parameters, self.copies)
        self.kernel(stream, self.X.convert(X, stream), parameters, self.copies, out)
