"""Ways to predict, behind one method: queue(stream, X, parameters, extras, seed, number, out).

All arrays are the device's; ``number`` is that of the first row, for random passes.
"""

import numpy as np
from numba import cuda

from . import training_ways as steps
from .dispatch import FUSED, WIDE
from .gemm.training import WidePrediction
from .launch import Prepared, launch
from .primitives import blocks
from .simt.prediction import prediction_kernel
from .tensor_core.prediction import copy_kernel, fused_prediction_kernel


def passes_for(how, dtype):
    """The way of a Launch, with its working memory."""
    if how.way == WIDE:
        return WidePasses(how, dtype)
    return FusedPasses(how) if how.way == FUSED else TiledPasses(how, dtype)


class TiledPasses:
    """By tiles of rows, in float32 or float64."""

    def __init__(self, how, dtype):
        kernel = prediction_kernel(how.layout, dtype, how.on_chip, how.threads)
        self.kernel = Prepared(kernel, how.threads, how.shared_bytes, how.blocks, False)
        self.work = steps.empty(0 if how.on_chip else how.layout.size * how.blocks, dtype)
        self.no_order = cuda.to_device(np.zeros(1, np.int64))

    def queue(self, stream, X, parameters, extras, seed, number, out):
        self.kernel(stream, X, parameters, self.work, self.no_order, extras, seed, number, out)


class FusedPasses:
    """On tensor cores, for narrow networks."""

    def __init__(self, how):
        self.plan, self.rows = how.layout, steps.BFloat16Rows(how.layout.widths[0])
        self.kernel = Prepared(fused_prediction_kernel(self.plan), how.threads, how.shared_bytes, how.blocks, False)
        self.copies = steps.empty(self.plan.n_copy, np.uint16)

    def queue(self, stream, X, parameters, extras, seed, number, out):
        plan = self.plan
        launch(copy_kernel(plan), blocks(plan.n_copy), plan.threads, stream, 0, parameters, self.copies)
        self.kernel(stream, self.rows.of(X, stream), parameters, self.copies, out)


class WidePasses:
    """Layers as products of matrices."""

    def __init__(self, how, dtype):
        self.prediction = WidePrediction(how.layout, dtype, steps.make_products())

    def queue(self, stream, X, parameters, extras, seed, number, out):
        self.prediction.run(stream, X, parameters, extras, seed, number, out)
