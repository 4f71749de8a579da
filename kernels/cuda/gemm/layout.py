"""Memory layout for layers that are matrix products.

Beside the workspace of a Layout there are two more arrays: the masks of ReLUs, and ``bf16``, which holds the operands
of all products in mode bfloat16.
"""

import numpy as np

from fastmlp.kernels.cuda.simt.layout import Layout
from fastmlp.kernels.rules.activations import relu, relu_derivative
from fastmlp.kernels.spec import activation_row

from .products import mask_stride

ONE = 0x3F80  # in bfloat16
ALIGNMENT = 128  # elements
BF16_ALIGNMENT = 8  # elements; of the rows of matrices in bf16
BIAS_PARTS, BIAS_ROWS = (
    3,
    8,
)  # bfloat16 numbers whose sum is a float32 bias; rows of W for them


def _up(n, unit):
    return -(-n // unit) * unit


class GemmLayout(Layout):
    """A Layout that begins with a copy of the batch's inputs, and has no transposed weights.

    Offsets into bf16 are ``bf16_outputs[i]`` (rows ``strides[i]`` apart), ``bf16_deltas[level]`` and
    ``bf16_weights[level]`` (rows ``bf16_stride(width)`` apart). ``masks[level]`` are offsets into the bytes of masks.
    An offset of -1 means absent. A fused layer in bfloat16 adds its bias within its product: as rows of W that are
    multiplied by ones beside the inputs.
    """

    def __init__(self, network, features, rows):
        self.bfloat16, self.has_input_noise = network.matmul_precision == "medium", features.inputs
        super().__init__(network, features._replace(inputs=True), rows)
        training, levels = features.training, range(len(self.blocks))
        self.transposed_at, self.n_transposed = [-1 for _ in levels], 0
        self.n_bf16 = self.n_mask_bytes = 0
        sizes = network.sizes
        more = [BIAS_ROWS if self.may_fuse(level) else 0 for level in levels]
        self.strides = [self.bf16_stride(sizes[level] + more[level]) for level in levels]
        self.bf16_outputs = [self._take_bf16(rows, stride) for stride in self.strides]
        self.bf16_deltas = [self._take_bf16(rows, width, training) for width in sizes[1:]]
        self.bf16_weights = [self._take_bf16(self.blocks[i].fan_in + more[i], sizes[i + 1]) for i in levels]
        self.masks = [self._take_mask(sizes[level + 1], training and self.may_fuse(level)) for level in levels]

    def _take(self, width, needed=True):
        self.size = _up(self.size, ALIGNMENT)
        return super()._take(width, needed)

    def _take_bf16(self, rows, width, needed=True):
        start = self.n_bf16
        needed = needed and self.bfloat16
        self.n_bf16 += _up(rows * self.bf16_stride(width), ALIGNMENT) if needed else 0
        return start if needed else -1

    def _take_mask(self, width, needed):
        start = self.n_mask_bytes
        self.n_mask_bytes += _up(self.rows * mask_stride(width) // 8, ALIGNMENT) if needed else 0
        return start if needed else -1

    def initial_bf16(self):
        """The initial contents of bf16: zeros, and the ones that multiply biases."""
        bf16 = np.zeros(max(self.n_bf16, 1), np.uint16)
        for level in range(len(self.blocks)):
            if self.bfloat16 and self.may_fuse(level):
                start, stride, width = self.bf16_outputs[level], self.strides[level], self.network.sizes[level]
                rows = bf16[start : start + self.rows * stride].reshape(self.rows, stride)
                rows[:, width : width + BIAS_PARTS] = ONE
        return bf16

    @staticmethod
    def bf16_stride(width):
        return _up(width, BF16_ALIGNMENT)

    def may_fuse(self, level):
        """Whether a layer's activation can be fused into its products, forward and backward: a plain ReLU."""
        row = activation_row(self.network.activations[level])
        plain = row.function is relu and row.derivative is relu_derivative and not self.adds_noise(level)
        skips = [skip for skip in self.network.skips if skip is not None]
        has_skip = self.skip(level) is not None or any(skip.source == level + 1 for skip in skips)
        last = level == len(self.blocks) - 1
        return plain and not (last or self.has_dropout(level) or self.features.activity or has_skip)

    @property
    def raw_inputs(self):
        """Whether inputs are needed in the parameters' dtype, not only in bf16."""
        skips = [skip for skip in self.network.skips if skip is not None]
        return not self.bfloat16 or any(skip.source == 0 and not skip.weighted for skip in skips)

    def skips_from(self, level):
        """(target layer, whether weighted) of each skip connection that starts at the outputs of a layer."""
        uppers = [(upper, self.skip(upper)) for upper in range(level + 1, len(self.blocks))]
        return [(upper, skip.weighted) for upper, skip in uppers if skip is not None and skip.source == level + 1]
