"""The arrays of a batch as the matrices of its products, and products in the order of a pass.

A step of a pass is a function of (stream, X, y, sample_weight), which queues it. The first matrix of rows is that of
the inputs; in mode bfloat16 what products read is in ``halves``, and they write float32 unless they are fused.
"""

from dataclasses import dataclass
from typing import Any

from fastmlp.kernels.cuda import devices
from fastmlp.kernels.cuda.launch import launch
from fastmlp.kernels.cuda.simt.block_sums import SUM_BYTES

from .layout import BIAS_ROWS, WideLayout
from .products import mask_stride

BLOCKS_PER_PROCESSOR = 8  # of THREADS, at most


def blocks_for(n_items, threads):
    """How many blocks share that many numbers."""
    return max(1, min(BLOCKS_PER_PROCESSOR * devices.current().processors, -(-n_items // threads)))


def start(kernel, blocks, threads, stream, *given):
    """A launch with room for sums over a block."""
    launch(kernel, blocks, threads, stream, SUM_BYTES, *given)


def starter(kernel, blocks, threads, *given):
    """A step that launches a kernel with arguments that never change."""
    return lambda stream, X, y, sample_weight: start(kernel, blocks, threads, stream, *given)


def queued(product):
    """A step that is a product."""
    return lambda stream, X, y, sample_weight: product(stream)


@dataclass
class Matrices:
    """Views of the arrays of a WideLayout, for a batch of ``rows`` rows."""

    layout: WideLayout
    rows: int
    P: Any
    gradient: Any
    work: Any
    halves: Any
    mask_bytes: Any

    def _view(self, array, start, rows, width, stride=None):
        stride = stride or width
        matrix = array[start : start + rows * stride].reshape(rows, stride)
        return matrix if stride == width else matrix[:, :width]

    def outputs(self, level, more=0):
        """Outputs as products read them, with as many numbers ``more`` of each row."""
        width, layout = self.layout.network.sizes[level], self.layout
        if not layout.bfloat16:
            return self._view(self.work, layout.outputs[level], self.rows, width)
        return self._view(self.halves, layout.half_outputs[level], self.rows, width + more, layout.strides[level])

    def deltas(self, level):
        """The same of deltas."""
        width, layout = self.layout.blocks[level].fan_out, self.layout
        if not layout.bfloat16:
            return self._view(self.work, layout.deltas[level], self.rows, width)
        return self._view(self.halves, layout.half_deltas[level], self.rows, width, layout.half_stride(width))

    def raw_outputs(self, level):
        """Where products leave x W of layer ``level`` of weights."""
        return self._view(self.work, self.layout.outputs[level + 1], self.rows, self.layout.blocks[level].fan_out)

    def raw_deltas(self, level):
        return self._view(self.work, self.layout.deltas[level], self.rows, self.layout.blocks[level].fan_out)

    def weights(self, level, first, count):
        """``count`` rows of W from ``first`` on."""
        block = self.layout.blocks[level]
        if self.layout.bfloat16:
            stride = self.layout.half_stride(block.fan_out)
            start = self.layout.half_weights[level] + first * stride
            return self._view(self.halves, start, count, block.fan_out, stride)
        return self._view(self.P, block.start + first * block.fan_out, count, block.fan_out)

    def weight_gradient(self, level, first, count):
        block = self.layout.blocks[level]
        return self._view(self.gradient, block.start + first * block.fan_out, count, block.fan_out)

    def bias_at(self, level):
        block = self.layout.blocks[level]
        return block.start + block.fan_in * block.fan_out

    def biases(self, array, level):
        """Of the parameters or their gradient."""
        start = self.bias_at(level)
        return array[start : start + self.layout.blocks[level].fan_out]

    def mask(self, level):
        start = self.layout.masks[level]
        n_bytes = self.rows * mask_stride(self.layout.blocks[level].fan_out) // 8
        return None if start < 0 else self.mask_bytes[start : start + n_bytes]

    def parts(self, level):
        """(outputs that enter, first row of W, number of rows) of a layer: what is below, and what a skip brings."""
        below, skip = self.layout.network.sizes[level], self.layout.skip(level)
        beside = [(skip.source, below, self.layout.network.sizes[skip.source])] if skip and skip.weighted else []
        return [(level, 0, below), *beside]

    def fused_forward(self, level, products):
        """relu(x W + b), or None."""
        if not self.layout.may_fuse(level):
            return None
        below, a, mask = self.layout.network.sizes[level], self.outputs(level + 1), self.mask(level)
        if self.layout.bfloat16:  # with the bias as further rows of W
            x, W = self.outputs(level, BIAS_ROWS), self.weights(level, 0, below + BIAS_ROWS)
            return products.prepare(x, W, a, epilogue="relu", mask=mask)
        x, W = self.outputs(level), self.weights(level, 0, below)
        return products.prepare(x, W, a, epilogue="relu", bias=self.biases(self.P, level), mask=mask)

    def fused_backward(self, level, products):
        """dLoss/dz of a fused layer from that of the layer above, or None.

        Where z is 0 the library's mask takes the derivative to be 1, everything else here 0.
        """
        upper = level + 1
        if self.layout.blocks[upper].fan_out == 1:  # an inner dimension that the library does not take here
            return None
        W = self.weights(upper, 0, self.layout.network.sizes[upper])
        return products.prepare(
            self.deltas(upper), W, self.deltas(level), transpose_b=True, epilogue="relu derivative",
            mask=self.mask(level),
        )  # fmt: skip

    def forward(self, level, products):
        """x W, which may have two parts."""
        z = self.raw_outputs(level)
        return [
            products.prepare(self.outputs(source), self.weights(level, first, count), z, add=first > 0)
            for source, first, count in self.parts(level)
        ]

    def backward(self, level, products):
        """What comes down to the outputs of layer ``level`` through weights."""
        sizes = self.layout.network.sizes
        width, skips = sizes[level + 1], self.layout.skips_from(level)
        ways = [(level + 1, 0), *((upper, sizes[upper]) for upper, weighted in skips if weighted)]
        return [
            products.prepare(
                self.deltas(upper), self.weights(upper, first, width), self.raw_deltas(level), transpose_b=True,
                add=number > 0,
            )
            for number, (upper, first) in enumerate(ways)
        ]  # fmt: skip

    def weight_gradients(self, level, products):
        """(products of the gradient of W, whether they give that of the biases too)."""
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
