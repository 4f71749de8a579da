"""A training step as a list of launches: matrix products and the kernels between them."""

from fastmlp.kernels.cuda.launch import grid_size
from fastmlp.kernels.cuda.simt.block_sums import WARP

from . import kernels
from . import update as updates
from .control import CONTROL_THREADS, next_batch_kernel
from .head import head_kernel
from .matrices import Matrices, kernel_step, launch_kernel, product_step


class PartialSums:
    """Offsets into the array of partial sums: where the blocks of each kernel write their part of loss and penalty.

    Grids are sized for a full batch, so that a shorter one overwrites all the partial sums of the batch before.
    """

    def __init__(self, layout):
        rows, hidden = layout.rows, range(len(layout.blocks) - 1)
        self.losses = grid_size(rows * WARP, kernels.THREADS)
        self.hidden = [grid_size(rows * layout.blocks[level].fan_out, kernels.THREADS) for level in hidden]
        self.update = self.squares = grid_size(-(-layout.network.n_parameters // updates.GROUP), kernels.THREADS)
        active = [n if layout.features.activity else 0 for n in self.hidden]
        self.hidden_at = [self.losses + sum(active[:level]) for level in hidden]
        self.update_at = self.losses + sum(active)
        self.size = self.update_at + self.update


class GemmStep:
    """The launches of a training step for a batch of ``rows`` rows; calling it queues them."""

    def __init__(self, training, rows):
        self.training, self.layout, self.dtype, self.rows = training, training.layout, training.dtype, rows
        self.matrices = Matrices(
            self.layout, rows, training.parameters, training.gradient, training.work, training.bf16, training.masks
        )
        self.fused, self.launches = {}, []
        self._forward()
        self._backward()
        self._update()

    def __call__(self, stream, batches):
        for launch in self.launches:
            launch(stream, batches)

    def _launch(self, kernel, blocks, threads, *arguments):
        self.launches.append(kernel_step(kernel, blocks, threads, *arguments))

    def _multiply(self, products):
        self.launches += map(product_step, products)

    def _forward(self):
        this, layout, dtype, rows = self.training, self.layout, self.dtype, self.rows
        next_batch = next_batch_kernel(this.optimizer, layout.features.weighted)
        gather = kernels.inputs_kernel(layout, dtype)
        blocks = grid_size(layout.rows * layout.network.sizes[0], kernels.THREADS)

        def begin(stream, batches):
            arguments = this.next_batch_arguments(batches.sample_weight, rows)
            launch_kernel(next_batch, 1, CONTROL_THREADS, stream, *arguments)
            launch_kernel(
                gather, blocks, kernels.THREADS, stream, batches.X, this.work, this.bf16, this.order, this.control,
                this.extras, rows,
            )  # fmt: skip

        self.launches.append(begin)
        for level in range(len(layout.blocks)):
            if self._fuse(level):
                self._multiply([self.fused[level][0]])
                continue
            self._multiply(self.matrices.forward(level, this.products))
            if level < len(layout.blocks) - 1:
                self._launch(
                    kernels.outputs_kernel(layout, level, dtype), this.partial_sums.hidden[level], kernels.THREADS,
                    this.parameters, this.work, this.bf16, this.order, this.control, this.extras, rows,
                )  # fmt: skip

    def _fuse(self, level):
        """Whether the activation and its derivative are fused into the layer's products, forward and backward."""
        forward = self.matrices.fused_forward(level, self.training.products)
        backward = forward and self.matrices.fused_backward(level, self.training.products)
        if backward:
            self.fused[level] = forward, backward
        return level in self.fused

    def _backward(self):
        this, layout, rows = self.training, self.layout, self.rows
        head = head_kernel(layout, self.dtype)

        def output_errors(stream, batches):
            launch_kernel(
                head, this.partial_sums.losses, kernels.THREADS, stream, this.parameters, batches.y,
                batches.sample_weight, this.work, this.bf16, this.order, this.control, this.scalars, this.extras,
                this.loss_options, this.sums, rows,
            )  # fmt: skip

        self.launches.append(output_errors)
        self._gradients(len(layout.blocks) - 1)
        for level in reversed(range(len(layout.blocks) - 1)):
            if level in self.fused:
                self._multiply([self.fused[level][1]])
            else:
                self._multiply(self.matrices.backward(level, this.products))
                self.launches.append(self._hidden_errors(level))
            self._gradients(level)

    def _hidden_errors(self, level):
        this, rows, partial_sums = self.training, self.rows, self.training.partial_sums
        kernel = kernels.errors_kernel(self.layout, level, self.dtype)

        def hidden_errors(stream, batches):
            launch_kernel(
                kernel, partial_sums.hidden[level], kernels.THREADS, stream, batches.sample_weight, this.work,
                this.bf16, this.order, this.control, this.scalars, this.extras, this.sums,
                partial_sums.hidden_at[level], rows,
            )  # fmt: skip

        return hidden_errors

    def _gradients(self, level):
        """Gradients of the weights, biases and trainable slopes of a layer."""
        this, layout, block = self.training, self.layout, self.layout.blocks[level]
        products, with_bias = self.matrices.weight_gradients(level, this.products)
        self._multiply(products)
        bias_at, width = self.matrices.bias_at(level), block.fan_out
        if not with_bias and layout.bfloat16:
            deltas = this.bf16, layout.bf16_deltas[level], layout.bf16_stride(width)
            self._sum_columns(deltas, width, this.gradient, bias_at)
        elif not with_bias:
            self._sum_columns((this.work, layout.deltas[level], width), width, this.gradient, bias_at)
        if layout.slope_gradients[level] >= 0:
            slopes = this.work, layout.slope_gradients[level], width
            if layout.has_shared_slope(level):
                self._sum_columns(slopes, width, this.columns, 0)
                arguments = this.columns, width, this.gradient, bias_at + width
                self._launch(kernels.sum_all, 1, kernels.THREADS, *arguments)
            else:
                self._sum_columns(slopes, width, this.gradient, bias_at + width)

    def _sum_columns(self, matrix, width, to, at):
        source, start, stride = matrix
        kernel = kernels.column_sums_kernel(self.dtype, source is self.training.bf16)
        blocks, arguments = -(-width // WARP), (source, start, stride, self.rows, width, to, at)
        self._launch(kernel, blocks, kernels.COLUMN_THREADS, *arguments)

    def _update(self):
        this, layout, partial_sums, threads = self.training, self.layout, self.training.partial_sums, kernels.THREADS
        arrays = this.parameters, this.slots, this.gradient, this.bf16, this.control, this.scalars
        settings = this.extras, this.options
        kernel = updates.update_kernel(layout, this.optimizer, self.dtype)
        self._launch(
            kernel, partial_sums.update, updates.UPDATE_THREADS, *arrays, this.sums, partial_sums.update_at, *settings
        )
        if not this.optimizer:
            return
        if layout.features.clipped:
            self._launch(updates.sum_squares, partial_sums.squares, threads, this.gradient, this.squares)
            kernel = updates.clipped_update_kernel(layout, this.optimizer, self.dtype)
            self._launch(kernel, partial_sums.update, updates.UPDATE_THREADS, *arrays, this.squares, *settings)
        if layout.features.limited:
            kernel, blocks = updates.limit_kernel(layout, self.dtype), grid_size(max(layout.network.sizes), threads)
            self._launch(kernel, blocks, threads, this.parameters, this.control, this.extras)
            if layout.bfloat16:
                kernel = updates.bf16_copies_kernel(layout)
                self._launch(kernel, partial_sums.update, threads, this.parameters, this.bf16)
