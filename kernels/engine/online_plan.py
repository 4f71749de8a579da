"""Memory layout of a network for batches of one row (engine/online.py)."""

from ctypes import addressof
from functools import lru_cache
from itertools import pairwise

import numpy as np

from fastmlp.kernels.spec import loss_row

from .plan import loss_by_output
from .records import Layer, Layout


class OnlinePlan:
    """A network for batches of one row (engine/online.py)."""

    def __init__(self, engine, network, dtype):
        codes = engine.network_codes(network, dtype)
        self.loss = codes.loss
        lanes = engine.vector_bytes // dtype.itemsize
        widths = [-(-n // lanes) * lanes for n in network.sizes]
        self.layers = (Layer * (len(widths) - 1))()
        weights = inputs = self.n_local = 0
        outputs = widths[0]
        for layer, (fan_in, fan_out) in enumerate(pairwise(network.sizes)):
            narrow = fan_out < fan_in and fan_out < lanes
            n, stride = (fan_out, widths[layer]) if narrow else (fan_in, widths[layer + 1])
            width = widths[layer + 1]
            self.layers[layer] = Layer(
                fan_in=fan_in, fan_out=fan_out, weights=weights, inputs=inputs, outputs=outputs,
                deltas=outputs + width, stride=stride, activation=codes.activations[layer],
                derivative=codes.derivatives[layer], width=width, local=self.n_local, narrow=narrow,
            )  # fmt: skip
            weights += (fan_in + 1) * fan_out
            self.n_local += n * stride + width
            inputs, outputs = outputs, outputs + 2 * width
        self.workspace = outputs
        self.like = np.empty(0, dtype)
        self.layout = Layout(
            layers=addressof(self.layers), n_layers=len(self.layers), n_parameters=network.n_parameters,
            n_local=self.n_local, loss=self.loss, linked=loss_row(network.loss).link is not None,
            **loss_by_output(network),
        )  # fmt: skip


@lru_cache(maxsize=32)
def online_plan(engine, network, dtype):
    return OnlinePlan(engine, network, dtype)
