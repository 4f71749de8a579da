"""Training and prediction of wide networks: layers are matrix products by cuBLASLt, with kernels between them.

A training step consists of a few dozen launches. They are captured once in a CUDA graph, which is replayed for every
full batch; the position and the learning rate of the batch are in device memory (gemm/control.py). A shorter last batch
is launched without a graph.
"""

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda import data
from fastmlp.kernels.cuda.graphs import Graph
from fastmlp.kernels.cuda.launch import grid_size

from .control import CONTROL_SIZE, CONTROL_THREADS, SCALARS_SIZE, begin_run, next_batch_kernel, select_rows
from .head import predictions_kernel, supports_output_activation
from .kernels import THREADS, inputs_kernel, outputs_kernel
from .matrices import Matrices, kernel_step, launch_kernel, product_step
from .step import GemmStep, PartialSums
from .update import bf16_copies_kernel

MIN_REPEATS = 3  # a graph is made if at least this many steps are left
MAX_CACHED = 4  # graphs, and steps for different numbers of rows
BFLOAT16_CAPABILITY = (8, 0)


def gemm_refusal(network, dtype, device):
    """Why these kernels cannot run a network on a Device, or None if they can."""
    if not supports_output_activation(network):
        return "the activation of the last layer is computed row by row, and only softmax is supported"
    if network.matmul_precision == "medium" and dtype != np.float32:
        return f"bfloat16 requires float32 parameters, not {dtype}"
    if network.matmul_precision == "medium" and tuple(device.capability) < BFLOAT16_CAPABILITY:
        return f"{device.name} has no bfloat16 matrix products"
    return None


def _empty(size, dtype):
    return cuda.device_array(max(size, 1), dtype)


def _cached(cache, key, make):
    """Return ``cache[key]``, made by ``make()`` at first; the oldest of MAX_CACHED entries is dropped."""
    if key not in cache:
        while len(cache) >= MAX_CACHED:
            del cache[next(iter(cache))]
        cache[key] = make()
    return cache[key]


class GemmTraining:
    """Training steps of one network and optimizer ("": gradients only), with the batch size of the layout.

    Parameters
    ----------
    products : gemm.products.Products
        Makes the matrix products; tests replace it.
    graphs : bool
        Whether to use CUDA graphs, which the simulator does not support.
    """

    def __init__(self, layout, optimizer, dtype, products, graphs=True):
        self.layout, self.optimizer, self.dtype, self.products, self.graphs = layout, optimizer, dtype, products, graphs
        self.next_batch = next_batch_kernel(optimizer, layout.features.weighted)
        self.partial_sums = PartialSums(layout)
        self.work, self.bf16 = _empty(layout.size, dtype), cuda.to_device(layout.initial_bf16())
        self.masks, self.columns = _empty(layout.n_mask_bytes, np.uint8), _empty(max(layout.network.sizes), dtype)
        self.control, self.scalars = _empty(CONTROL_SIZE, np.int64), _empty(SCALARS_SIZE, np.float64)
        self.sums = _empty(self.partial_sums.size, np.float64)
        self.squares = _empty(self.partial_sums.squares, np.float64)
        self.results, self.no_weight = _empty(3, np.float64), cuda.to_device(np.ones(1, dtype))
        self.parameters = self.slots = self.gradient = self.order = self.rates = None
        self.extras = self.options = self.loss_options = None
        self._clear_cache()

    def _clear_cache(self):
        """Drop the steps and graphs made for arrays that are no longer used."""
        self._steps, self._graphs, self._warm = {}, {}, False

    def queue(self, stream, batches, rates, state, settings):
        """Queue the steps for Batches, as in training_strategies.py. ``gradient`` holds all parameters.

        Graphs are made for given arrays: they are reused if X, y, the weights and the State's arrays are the same
        objects as in the call before.
        """
        arrays = state.parameters, state.slots, state.gradient
        if any(new is not old for new, old in zip(arrays, (self.parameters, self.slots, self.gradient))):
            self.parameters, self.slots, self.gradient = arrays
            self._clear_cache()
        for name, array in (
            ("order", batches.order), ("rates", data.constant(rates)), ("extras", settings.extras),
            ("options", settings.options), ("loss_options", settings.loss_options), ("results", state.results),
        ):  # fmt: skip
            self._copy_in(name, array, stream)
        alpha, seed, step = settings.alpha, settings.seed, settings.step
        launch_kernel(begin_run, 1, 1, stream, self.control, self.scalars, self.results, alpha, seed, step)
        if self.layout.bfloat16:
            blocks = grid_size(self.layout.network.n_parameters, THREADS)
            launch_kernel(bf16_copies_kernel(self.layout), blocks, THREADS, stream, self.parameters, self.bf16)
        if not self.layout.features.weighted:
            batches = batches._replace(sample_weight=self.no_weight)
        n_full, n_left = divmod(batches.order.size, self.layout.rows)
        for n_done in range(n_full):
            self._full_step(n_full - n_done, stream, batches)
        if n_left:
            self._step(n_left)(stream, batches)
        launch_kernel(self.next_batch, 1, CONTROL_THREADS, stream, *self.next_batch_arguments(batches.sample_weight, 0))
        state.results.copy_to_device(self.results, stream=stream)

    def _copy_in(self, name, array, stream):
        """Copy an array that differs from call to call into the one that the launches read."""
        copy = getattr(self, name)
        if copy is None or copy.size < array.size:
            copy = _empty(array.size, array.dtype)
            setattr(self, name, copy)
            self._clear_cache()
        copy[: array.size].copy_to_device(array, stream=stream)

    def next_batch_arguments(self, sample_weight, rows):
        return (
            self.control, self.scalars, self.order, sample_weight, self.rates, self.sums, self.partial_sums.losses,
            self.results, self.extras, self.options, rows,
        )  # fmt: skip

    def _step(self, rows):
        return _cached(self._steps, rows, lambda: GemmStep(self, rows))

    def _full_step(self, n_steps_left, stream, batches):
        """Queue the step of a full batch, by a graph if there is one or if enough steps are left to make it worthwhile.

        A graph is made only after a step without one, which loads the kernels.
        """
        step, key = self._step(self.layout.rows), None
        if self.graphs:
            arrays = batches.X, batches.y, batches.sample_weight
            key = tuple((array.device_ctypes_pointer.value, array.shape) for array in arrays)
        if self._warm and (key in self._graphs or (self.graphs and n_steps_left >= MIN_REPEATS)):
            _cached(self._graphs, key, lambda: Graph(lambda capturing: step(capturing, batches)))(stream)
        else:
            step(stream, batches)
            self._warm = True


class GemmPrediction:
    """Predictions of one network, for blocks of as many rows as the layout has."""

    def __init__(self, layout, dtype, products):
        self.layout, self.dtype, self.products = layout, dtype, products
        self.work, self.bf16 = _empty(layout.size, dtype), cuda.to_device(layout.initial_bf16())
        self.control, self.parameters, self.extras = _empty(CONTROL_SIZE, np.int64), None, None
        self._passes = {}

    def queue(self, stream, X, parameters, extras, seed, first, out):
        """Queue the predictions for X, as in prediction_strategies.py."""
        if parameters is not self.parameters or extras is not self.extras:
            self.parameters, self.extras = parameters, extras
            self._passes = {}
        if self.layout.bfloat16:
            blocks = grid_size(parameters.size, THREADS)
            launch_kernel(bf16_copies_kernel(self.layout), blocks, THREADS, stream, parameters, self.bf16)
        for start in range(0, X.shape[0], self.layout.rows):
            rows = min(self.layout.rows, X.shape[0] - start)
            launch_kernel(select_rows, 1, 1, stream, self.control, start, first + start, seed)
            self._gather(stream, X, rows)
            for launch in _cached(self._passes, rows, lambda: self._pass(rows)):  # noqa: B023 (called at once)
                launch(stream, None)
            self._write(stream, rows, out, start)

    def _gather(self, stream, X, rows):
        # There is no order: ``control`` is passed in its place and not read.
        arguments = self.work, self.bf16, self.control, self.control, self.extras, rows
        blocks = grid_size(self.layout.rows * self.layout.network.sizes[0], THREADS)
        launch_kernel(inputs_kernel(self.layout, self.dtype), blocks, THREADS, stream, X, *arguments)

    def _pass(self, rows):
        """The launches for all layers, up to the last product."""
        layout, launches = self.layout, []
        matrices = Matrices(layout, rows, self.parameters, None, self.work, self.bf16, None)
        for level in range(len(layout.blocks)):
            fused = matrices.fused_forward(level, self.products)
            launches += map(product_step, [fused] if fused else matrices.forward(level, self.products))
            if not fused and level < len(layout.blocks) - 1:
                blocks = grid_size(layout.rows * layout.blocks[level].fan_out, THREADS)
                arguments = self.parameters, self.work, self.bf16, self.control, self.control, self.extras, rows
                launches.append(kernel_step(outputs_kernel(layout, level, self.dtype), blocks, THREADS, *arguments))
        return launches

    def _write(self, stream, rows, out, start):
        kernel, blocks = predictions_kernel(self.layout, self.dtype), grid_size(self.layout.rows * 32, THREADS)
        arrays = self.parameters, self.work, self.control, self.control, self.extras, out
        launch_kernel(kernel, blocks, THREADS, stream, *arrays, start, rows)
