"""A step of training made of products and of the kernels between them, ready to be queued again and again."""

from fastmlp.kernels.cuda.simt.block_sums import WARP

from . import kernels as wide_kernels
from . import update as wide_update
from .control import TURN_THREADS, turn_kernel
from .head import head_kernel
from .kernels import COLUMN_THREADS, THREADS
from .matrices import Matrices, blocks_for, queued, start, starter
from .update import GROUP, UPDATE_THREADS


class Shares:
    """Where the blocks of each kernel leave their shares of loss and penalty: offsets into one array."""

    def __init__(self, layout):
        """For launches whose sizes do not depend on the rows of a batch: a short one must not leave old shares."""
        rows, hidden = layout.rows, range(len(layout.blocks) - 1)
        self.losses = blocks_for(rows * WARP, THREADS)
        self.hidden = [blocks_for(rows * layout.blocks[level].fan_out, THREADS) for level in hidden]
        self.update = self.squares = blocks_for(-(-layout.network.n_parameters // GROUP), THREADS)
        active = [n if layout.features.activity else 0 for n in self.hidden]
        self.hidden_at = [self.losses + sum(active[:level]) for level in hidden]
        self.update_at = self.losses + sum(active)
        self.size = self.update_at + self.update


class WideStep:
    """The launches of a step of ``rows`` rows of a WideTraining; calling it queues them."""

    def __init__(self, training, rows):
        self.training, self.layout, self.dtype, self.rows = training, training.layout, training.dtype, rows
        self.matrices = Matrices(
            self.layout, rows, training.parameters, training.gradient, training.work, training.halves, training.masks
        )
        self.fused, self.parts = {}, []
        self._forward()
        self._backward()
        self._update()

    def __call__(self, stream, X, y, sample_weight):
        for part in self.parts:
            part(stream, X, y, sample_weight)

    def _launch(self, kernel, blocks, threads, *given):
        self.parts.append(starter(kernel, blocks, threads, *given))

    def _multiply(self, products):
        self.parts += map(queued, products)

    def _forward(self):
        this, layout, dtype, rows = self.training, self.layout, self.dtype, self.rows
        turn = turn_kernel(this.optimizer, layout.features.weighted)
        gather = wide_kernels.inputs_kernel(layout, dtype)
        blocks = blocks_for(layout.rows * layout.network.sizes[0], THREADS)

        def begin(stream, X, y, sample_weight):
            start(turn, 1, TURN_THREADS, stream, *this.turn_arguments(sample_weight, rows))
            start(gather, blocks, THREADS, stream, X, this.work, this.halves, this.order, this.state, this.extras, rows)

        self.parts.append(begin)
        for level in range(len(layout.blocks)):
            if self._fuse(level):
                self._multiply([self.fused[level][0]])
                continue
            self._multiply(self.matrices.forward(level, this.products))
            if level < len(layout.blocks) - 1:
                self._launch(
                    wide_kernels.outputs_kernel(layout, level, dtype), this.shares.hidden[level], THREADS,
                    this.parameters, this.work, this.halves, this.order, this.state, this.extras, rows,
                )  # fmt: skip

    def _fuse(self, level):
        """Whether the products of a layer, forward and back, end with its activation and its derivative."""
        forward = self.matrices.fused_forward(level, self.training.products)
        backward = forward and self.matrices.fused_backward(level, self.training.products)
        if backward:
            self.fused[level] = forward, backward
        return level in self.fused

    def _backward(self):
        this, layout, rows, shares = self.training, self.layout, self.rows, self.training.shares
        head = head_kernel(layout, self.dtype)

        def end(stream, X, y, sample_weight):
            start(
                head, shares.losses, THREADS, stream, this.parameters, y, sample_weight, this.work, this.halves,
                this.order, this.state, this.numbers, this.extras, this.loss_options, this.sums, rows,
            )  # fmt: skip

        self.parts.append(end)
        self._gradients(len(layout.blocks) - 1)
        for level in reversed(range(len(layout.blocks) - 1)):
            if level in self.fused:
                self._multiply([self.fused[level][1]])
            else:
                self._multiply(self.matrices.backward(level, this.products))
                self.parts.append(self._settle(level))
            self._gradients(level)

    def _settle(self, level):
        this, rows, shares = self.training, self.rows, self.training.shares
        settle = wide_kernels.errors_kernel(self.layout, level, self.dtype)

        def back(stream, X, y, sample_weight):
            start(
                settle, shares.hidden[level], THREADS, stream, sample_weight, this.work, this.halves, this.order,
                this.state, this.numbers, this.extras, this.sums, shares.hidden_at[level], rows,
            )  # fmt: skip

        return back

    def _gradients(self, level):
        """Of all that a layer learns."""
        this, layout, block = self.training, self.layout, self.layout.blocks[level]
        products, with_bias = self.matrices.weight_gradients(level, this.products)
        self._multiply(products)
        bias_at, width = self.matrices.bias_at(level), block.fan_out
        if not with_bias and layout.bfloat16:
            given = this.halves, layout.half_deltas[level], layout.half_stride(width)
            self._add_columns(given, width, this.gradient, bias_at)
        elif not with_bias:
            self._add_columns((this.work, layout.deltas[level], width), width, this.gradient, bias_at)
        if layout.bends[level] >= 0:
            given = this.work, layout.bends[level], width
            if layout.shares_slope(level):
                self._add_columns(given, width, this.columns, 0)
                self._launch(wide_kernels.add_all, 1, THREADS, this.columns, width, this.gradient, bias_at + width)
            else:
                self._add_columns(given, width, this.gradient, bias_at + width)

    def _add_columns(self, matrix, width, to, at):
        source, start, stride = matrix
        kernel = wide_kernels.columns_kernel(self.dtype, source is self.training.halves)
        self._launch(kernel, -(-width // WARP), COLUMN_THREADS, source, start, stride, self.rows, width, to, at)

    def _update(self):
        this, layout, shares, features = self.training, self.layout, self.training.shares, self.layout.features
        given = this.parameters, this.slots, this.gradient, this.halves, this.state, this.numbers
        rest = this.extras, this.options
        kernel = wide_update.update_kernel(layout, this.optimizer, self.dtype)
        self._launch(kernel, shares.update, UPDATE_THREADS, *given, this.sums, shares.update_at, *rest)
        if not this.optimizer:
            return
        if features.clipped:
            self._launch(wide_update.add_squares, shares.squares, THREADS, this.gradient, this.squares)
            kernel = wide_update.clipped_update_kernel(layout, this.optimizer, self.dtype)
            self._launch(kernel, shares.update, UPDATE_THREADS, *given, this.squares, *rest)
        if features.limited:
            blocks = blocks_for(max(layout.network.sizes), THREADS)
            self._launch(
                wide_update.limit_kernel(layout, self.dtype), blocks, THREADS, this.parameters, this.state, this.extras
            )
            if layout.bfloat16:
                self._launch(wide_update.halve_kernel(layout), shares.update, THREADS, this.parameters, this.halves)
