"""Training of wide networks: each layer a product of matrices by cuBLASLt, all else in kernels between them.

A step is some dozen launches. They are captured once in a graph, which is queued for each whole batch; where a step
begins, and with what rate, lies in the device's memory (gemm/control.py). A short last batch has launches of its own.
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda.graphs import Graph

from . import control as wide_control
from .control import TURN_THREADS, begin, look_at, turn_kernel
from .head import predictions_kernel, row_rule_is_known
from .kernels import THREADS, inputs_kernel, outputs_kernel
from .matrices import Matrices, blocks_for, queued, start, starter
from .step import Shares, WideStep
from .update import halve_kernel

LEAST_REPEATS = 3  # steps that a graph is made for
KEPT = 4  # graphs, and steps of different numbers of rows, at a time
LEAST_CAPABILITY_FOR_BFLOAT16 = (8, 0)


def refusal(network, dtype, device):
    """Why a network cannot be computed in this way on a Device, or None."""
    if not row_rule_is_known(network):
        return "its last layer's activation sees whole rows, and only softmax is known"
    if network.bfloat16 and dtype != np.float32:
        return f"bfloat16 goes with parameters in float32, not {dtype}"
    if network.bfloat16 and tuple(device.capability) < LEAST_CAPABILITY_FOR_BFLOAT16:
        return f"{device.name} has no products in bfloat16"
    return None


def _room(size, dtype):
    return cuda.device_array(max(size, 1), dtype)


def _keep(cache, key, make):
    """What ``make()`` gave for a key, of which a few are kept."""
    if key not in cache:
        while len(cache) >= KEPT:
            del cache[next(iter(cache))]
        cache[key] = make()
    return cache[key]


class WideTraining:
    """Steps of one network, optimizer ("": gradients) and batch size, the layout's number of rows.

    ``products`` makes products of matrices: a wide_products.Products, or what tests have in its place. Without
    ``graphs`` each step is queued launch by launch, as the simulator wants it.
    """

    def __init__(self, layout, optimizer, dtype, products, graphs=True):
        self.layout, self.optimizer, self.dtype, self.products, self.graphs = layout, optimizer, dtype, products, graphs
        self.turn = turn_kernel(optimizer, layout.features.weighted)
        self.shares = Shares(layout)
        self.work, self.halves = _room(layout.size, dtype), cuda.to_device(layout.new_halves())
        self.masks, self.columns = _room(layout.n_mask_bytes, np.uint8), _room(max(layout.network.sizes), dtype)
        self.state, self.numbers = _room(wide_control.STATES, np.int64), _room(wide_control.NUMBERS, np.float64)
        self.sums, self.squares = _room(self.shares.size, np.float64), _room(self.shares.squares, np.float64)
        self.results, self.no_weight = _room(3, np.float64), cuda.to_device(np.ones(1, dtype))
        self.parameters = self.slots = self.gradient = self.order = self.rates = None
        self.extras = self.options = self.loss_options = None
        self._forget()

    def _forget(self):
        """What has been made for arrays that are no longer used."""
        self._steps, self._replays, self._warm = {}, {}, False

    def run(
        self, stream, X, y, sample_weight, order, rates, parameters, slots, gradient, results, extras, options,
        loss_options, alpha, seed, step,
    ):  # fmt: skip
        """Queue steps over the rows named by ``order``; all arrays are the device's, and laid out as for
        training_kernel, but ``gradient`` has room for all parameters in any case.

        Graphs are made for certain arrays: who passes the same X, y, sample_weight, parameters, slots and gradient
        again need not wait for new ones.
        """
        if parameters is not self.parameters or slots is not self.slots or gradient is not self.gradient:
            self.parameters, self.slots, self.gradient = parameters, slots, gradient
            self._forget()
        for name, given in (
            ("order", order), ("rates", rates), ("extras", extras), ("options", options),
            ("loss_options", loss_options), ("results", results),
        ):  # fmt: skip
            self._take(name, given, stream)
        start(begin, 1, 1, stream, self.state, self.numbers, self.results, alpha, seed, step)
        if self.layout.bfloat16:
            blocks = blocks_for(self.layout.network.n_parameters, THREADS)
            start(halve_kernel(self.layout), blocks, THREADS, stream, self.parameters, self.halves)
        given = X, y, sample_weight if self.layout.features.weighted else self.no_weight
        n_whole, n_left = divmod(order.size, self.layout.rows)
        for n_done in range(n_whole):
            self._whole_step(n_whole - n_done, stream, *given)
        if n_left:
            self._step(n_left)(stream, *given)
        start(self.turn, 1, TURN_THREADS, stream, *self.turn_arguments(given[2], 0))
        results.copy_to_device(self.results, stream=stream)

    def _take(self, name, given, stream):
        """Copy what changes from run to run to where the launches look for it."""
        mine = getattr(self, name)
        if mine is None or mine.size < given.size:
            mine = _room(given.size, given.dtype)
            setattr(self, name, mine)
            self._forget()
        mine[: given.size].copy_to_device(given, stream=stream)

    def turn_arguments(self, sample_weight, rows):
        return (
            self.state, self.numbers, self.order, sample_weight, self.rates, self.sums, self.shares.losses,
            self.results, self.extras, self.options, rows,
        )  # fmt: skip

    def _step(self, rows):
        return _keep(self._steps, rows, lambda: WideStep(self, rows))

    def _whole_step(self, n_to_do, stream, *given):
        """The first of ``n_to_do`` steps. A graph, whose kernels must have been loaded, is worth it for several."""
        step = self._step(self.layout.rows)
        key = tuple((array.device_ctypes_pointer.value, array.shape) for array in given) if self.graphs else None
        if self._warm and (key in self._replays or (self.graphs and n_to_do >= LEAST_REPEATS)):
            _keep(self._replays, key, lambda: Graph(lambda s: step(s, *given)))(stream)
        else:
            step(stream, *given)
            self._warm = True


class WidePrediction:
    """Outputs of rows, as many at a time as the layout, which is not ``learning``, has."""

    def __init__(self, layout, dtype, products):
        self.layout, self.dtype, self.products = layout, dtype, products
        self.work, self.halves = _room(layout.size, dtype), cuda.to_device(layout.new_halves())
        self.state, self.order, self.parameters, self.extras = _room(wide_control.STATES, np.int64), None, None, None
        self._passes = {}

    def run(self, stream, X, parameters, extras, seed, number, out):
        """Queue outputs of ``X``, whose first row is row ``number`` for random passes; arrays are the device's."""
        if parameters is not self.parameters or extras is not self.extras:
            self.parameters, self.extras = parameters, extras
            self._passes = {}
        if self.layout.bfloat16:
            blocks = blocks_for(parameters.size, THREADS)
            start(halve_kernel(self.layout), blocks, THREADS, stream, parameters, self.halves)
        for place in range(0, X.shape[0], self.layout.rows):
            rows = min(self.layout.rows, X.shape[0] - place)
            start(look_at, 1, 1, stream, self.state, place, number + place, seed)
            self._gather(stream, X, rows)
            for part in _keep(self._passes, rows, lambda: self._pass(rows)):  # noqa: B023 (called at once)
                part(stream, None, None, None)
            self._write(stream, rows, out, place)

    def _gather(self, stream, X, rows):
        given = self.work, self.halves, self.state, self.state, self.extras, rows
        blocks = blocks_for(self.layout.rows * self.layout.network.sizes[0], THREADS)
        start(inputs_kernel(self.layout, self.dtype), blocks, THREADS, stream, X, *given)

    def _pass(self, rows):
        """Steps through all layers, but for what follows the last product."""
        layout, parts = self.layout, []
        matrices = Matrices(layout, rows, self.parameters, None, self.work, self.halves, None)
        for level in range(len(layout.blocks)):
            fused = matrices.fused_forward(level, self.products)
            parts += map(queued, [fused] if fused else matrices.forward(level, self.products))
            if not fused and level < len(layout.blocks) - 1:
                blocks = blocks_for(layout.rows * layout.blocks[level].fan_out, THREADS)
                parts.append(
                    starter(
                        outputs_kernel(layout, level, self.dtype), blocks, THREADS, self.parameters, self.work,
                        self.halves, self.state, self.state, self.extras, rows,
                    )
                )  # fmt: skip
        return parts

    def _write(self, stream, rows, out, place):
        kernel, blocks = predictions_kernel(self.layout, self.dtype), blocks_for(self.layout.rows * 32, THREADS)
        start(
            kernel, blocks, THREADS, stream, self.parameters, self.work, self.state, self.state, self.extras, out,
            place, rows,
        )  # fmt: skip
