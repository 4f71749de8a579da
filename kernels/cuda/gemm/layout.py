"""Where the layers of a batch lie when whole layers are products of matrices, each an array with an address of its own.

Beside the workspace of a Layout there are two: masks of ReLUs, and ``halves``, with bfloat16 copies of all that enters
a product in that mode.
"""

import numpy as np

from fastmlp.kernels.cuda.simt.layout import Layout
from fastmlp.kernels.rules.activations import relu, relu_derivative
from fastmlp.kernels.spec import activation_row

from .products import mask_stride

ONE = 0x3F80  # in bfloat16
UNIT = 128  # numbers: arrays begin where fast loads can
HALF_UNIT = 8  # bfloat16 numbers that are loaded at once; rows begin at a multiple
BIAS_PARTS, BIAS_ROWS = 3, 8  # bfloat16 numbers that add up to a float32; rows for them below a W, the others 0


def _up(n, unit):
    return -(-n // unit) * unit


class WideLayout(Layout):
    """A Layout that begins with a copy of the batch's inputs, and has no transposed weights.

    ``half_outputs[i]``, with rows ``strides[i]`` apart, ``half_deltas[level]`` and ``half_weights[level]``, with rows
    ``half_stride(width)`` apart, are offsets into halves; ``masks[level]`` into the bytes of masks. -1 is for what is
    not there. A fused layer adds its bias within its product: as rows of W, against ones beside its inputs.
    """

    def __init__(self, network, features, rows):
        self.bfloat16, self.disturbed = network.bfloat16, features.inputs
        super().__init__(network, features._replace(inputs=True), rows)
        learning, levels = features.learning, range(len(self.blocks))
        self.flipped, self.n_flipped = [-1 for _ in levels], 0
        self.n_halves = self.n_mask_bytes = 0
        sizes = network.sizes
        more = [BIAS_ROWS if self.may_fuse(level) else 0 for level in levels]
        self.strides = [self.half_stride(sizes[level] + more[level]) for level in levels]
        self.half_outputs = [self._take_half(rows, stride) for stride in self.strides]
        self.half_deltas = [self._take_half(rows, width, learning) for width in sizes[1:]]
        self.half_weights = [self._take_half(self.blocks[i].fan_in + more[i], sizes[i + 1]) for i in levels]
        self.masks = [self._take_mask(sizes[level + 1], learning and self.may_fuse(level)) for level in levels]

    def _take(self, width, wanted=True):
        self.size = _up(self.size, UNIT)
        return super()._take(width, wanted)

    def _take_half(self, rows, width, wanted=True):
        start = self.n_halves
        wanted = wanted and self.bfloat16
        self.n_halves += _up(rows * self.half_stride(width), UNIT) if wanted else 0
        return start if wanted else -1

    def _take_mask(self, width, wanted):
        start = self.n_mask_bytes
        self.n_mask_bytes += _up(self.rows * mask_stride(width) // 8, UNIT) if wanted else 0
        return start if wanted else -1

    def new_halves(self):
        """What is in halves before the first batch: zeros, and ones against biases."""
        halves = np.zeros(max(self.n_halves, 1), np.uint16)
        for level in range(len(self.blocks)):
            if self.bfloat16 and self.may_fuse(level):
                start, stride, width = self.half_outputs[level], self.strides[level], self.network.sizes[level]
                rows = halves[start : start + self.rows * stride].reshape(self.rows, stride)
                rows[:, width : width + BIAS_PARTS] = ONE
        return halves

    @staticmethod
    def half_stride(width):
        return _up(width, HALF_UNIT)

    def may_fuse(self, level):
        """Whether a layer's product and its activation, and their ways back, can be one kernel each: a plain ReLU."""
        row = activation_row(self.network.activations[level])
        plain = row.function is relu and row.derivative is relu_derivative and not self.deviates(level)
        skips = [skip for skip in self.network.skips if skip is not None]
        met_by_skip = self.skip(level) is not None or any(skip.source == level + 1 for skip in skips)
        last = level == len(self.blocks) - 1
        return plain and not (last or self.drops(level) or self.features.activity or met_by_skip)

    @property
    def raw_inputs(self):
        """Whether inputs are read otherwise than by products in bfloat16."""
        skips = [skip for skip in self.network.skips if skip is not None]
        return not self.bfloat16 or any(skip.source == 0 and not skip.weighted for skip in skips)

    def skips_from(self, level):
        """(layer, whether weighted) of each skip connection that begins at the outputs of a layer of weights."""
        uppers = [(upper, self.skip(upper)) for upper in range(level + 1, len(self.blocks))]
        return [(upper, skip.weighted) for upper, skip in uppers if skip is not None and skip.source == level + 1]
