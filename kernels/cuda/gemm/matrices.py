"""The arrays of a batch viewed as matrices, and the matrix products of a step.

The launches of a step are functions of (stream, batches), which queue them. In mode bfloat16 the operands of products
are in the array ``bf16``, and products write float32 unless an activation is fused into them.
"""

from dataclasses import dataclass
from typing import Any

from fastmlp.kernels.cuda.launch import launch
from fastmlp.kernels.cuda.simt.block_sums import SUM_BYTES

from .layout import BIAS_ROWS, GemmLayout
from .products import mask_stride


def launch_kernel(kernel, blocks, threads, stream, *arguments):
    """Launch a kernel with shared memory for ``block_sum``."""
    launch(kernel, blocks, threads, stream, SUM_BYTES, *arguments)


def kernel_step(kernel, blocks, threads, *arguments):
    """A launch of a kernel whose arguments never change."""
    return lambda stream, batches: launch_kernel(kernel, blocks, threads, stream, *arguments)


def product_step(product):
    """A launch of a matrix product."""
    return lambda stream, batches: product(stream)


@dataclass
class Matrices:
    """Views of the arrays of a GemmLayout for a batch of ``rows`` rows, and products prepared for them."""

    layout: GemmLayout
    rows: int
    P: Any
    gradient: Any
    work: Any
    bf16: Any
    mask_bytes: Any

    def _view(self, array, start, rows, width, stride=None):
        stride = stride or width
        matrix = array[start : start + rows * stride].reshape(rows, stride)
        return matrix if stride == width else matrix[:, :width]

    def outputs(self, level, more=0):
        """Outputs as operands of a product, with ``more`` further columns."""
        width, layout = self.layout.network.sizes[level], self.layout
        if not layout.bfloat16:
            return self._view(self.work, layout.outputs[level], self.rows, width)
        return self._view(self.bf16, layout.bf16_outputs[level], self.rows, width + more, layout.strides[level])

    def deltas(self, level):
        """Deltas as operands of a product."""
        width, layout = self.layout.blocks[level].fan_out, self.layout
        if not layout.bfloat16:
            return self._view(self.work, layout.deltas[level], self.rows, width)
        return self._view(self.bf16, layout.bf16_deltas[level], self.rows, width, layout.bf16_stride(width))

    def raw_outputs(self, level):
        """Where products write x W of a layer."""
        return self._view(self.work, self.layout.outputs[level + 1], self.rows, self.layout.blocks[level].fan_out)

    def raw_deltas(self, level):
        return self._view(self.work, self.layout.deltas[level], self.rows, self.layout.blocks[level].fan_out)

    def weights(self, level, first, count):
        """``count`` rows of W, from row ``first``."""
        block = self.layout.blocks[level]
        if self.layout.bfloat16:
            stride = self.layout.bf16_stride(block.fan_out)
            start = self.layout.bf16_weights[level] + first * stride
            return self._view(self.bf16, start, count, block.fan_out, stride)
        return self._view(self.P, block.start + first * block.fan_out, count, block.fan_out)

    def weight_gradient(self, level, first, count):
        block = self.layout.blocks[level]
        return self._view(self.gradient, block.start + first * block.fan_out, count, block.fan_out)

    def bias_at(self, level):
        block = self.layout.blocks[level]
        return block.start + block.fan_in * block.fan_out

    def biases(self, array, level):
        """The biases of a layer in the parameters or in their gradient."""
        start = self.bias_at(level)
        return array[start : start + self.layout.blocks[level].fan_out]

    def mask(self, level):
        start = self.layout.masks[level]
        n_bytes = self.rows * mask_stride(self.layout.blocks[level].fan_out) // 8
        return None if start < 0 else self.mask_bytes[start : start + n_bytes]

    def parts(self, level):
        """(source layer, first row of W, number of rows) of each input: the layer below, and a weighted skip."""
        below, skip = self.layout.network.sizes[level], self.layout.skip(level)
        beside = [(skip.source, below, self.layout.network.sizes[skip.source])] if skip and skip.weighted else []
        return [(level, 0, below), *beside]

    def fused_forward(self, level, products):
        """The product relu(x W + b), or None if it cannot be fused."""
        if not self.layout.may_fuse(level):
            return None
        below, a, mask = self.layout.network.sizes[level], self.outputs(level + 1), self.mask(level)
        if self.layout.bfloat16:  # the bias is stored in further rows of W
            x, W = self.outputs(level, BIAS_ROWS), self.weights(level, 0, below + BIAS_ROWS)
            return products.prepare(x, W, a, epilogue="relu", mask=mask)
        x, W = self.outputs(level), self.weights(level, 0, below)
        return products.prepare(x, W, a, epilogue="relu", bias=self.biases(self.P, level), mask=mask)

    def fused_backward(self, level, products):
        """The product that gives dLoss/dz of a fused layer from that of the layer above, or None.

        At z = 0 cuBLASLt's mask sets the derivative of ReLU to 1; all other code here sets it to 0.
        """
        upper = level + 1
        if self.layout.blocks[upper].fan_out == 1:  # an inner dimension that cuBLASLt does not support here
            return None
        W = self.weights(upper, 0, self.layout.network.sizes[upper])
        return products.prepare(
            self.deltas(upper), W, self.deltas(level), transpose_b=True, epilogue="relu derivative",
            mask=self.mask(level),
        )  # fmt: skip

    def forward(self, level, products):
        """The products of x W: two if there is a weighted skip."""
        z = self.raw_outputs(level)
        return [
            products.prepare(self.outputs(source), self.weights(level, first, count), z, add=first > 0)
            for source, first, count in self.parts(level)
        ]

    def backward(self, level, products):
        """The products of dLoss/da of a layer: errors that come through the weights of the layers above."""
        sizes = self.layout.network.sizes
        width, skips = sizes[level + 1], self.layout.skips_from(level)
        paths = [(level + 1, 0), *((upper, sizes[upper]) for upper, weighted in skips if weighted)]
        return [
            products.prepare(
                self.deltas(upper), self.weights(upper, first, width), self.raw_deltas(level), transpose_b=True,
                add=number > 0,
            )
            for number, (upper, first) in enumerate(paths)
        ]  # fmt: skip

    def weight_gradients(self, level, products):
        """(products of dLoss/dW, whether they also give dLoss/db)."""
        found, with_bias = [], False
        for source, first, count in self.parts(level):
            given = self.outputs(source), self.deltas(level), self.weight_gradient(level, first, count)
            product = None
            if first == 0:
                bias = self.biases(self.gradient, level)
                product = products.prepare(*given, transpose_a=True, epilogue="bias gradient", bias=bias)
                with_bias = product is not None
            found.append(product or products.prepare(*given, transpose_a=True))
        return found, with_bias
