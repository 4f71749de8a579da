"""One layer, forward and backward, for the 16 rows of a warp, on tensor cores.

After a matrix product, element (r, j) of a 16 x 8 tile is held by lane 4 (r % 8) + j / 2. The operands of the next
product are loaded by ldmatrix, to which each lane passes the address of a row of 8 elements. The rows of a warp are
accessed by that warp only, until all warps synchronise for the gradients.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import inlined
from fastmlp.kernels.cuda.intrinsics import (
    fresh,
    ldmatrix_x4,
    ldmatrix_x4_t,
    lds_u32,
    mask2,
    mma_bf16,
    pack_bf16,
    pack_bf16_relu,
    soff,
    sts_a32,
    unpack_bf16,
)
from fastmlp.kernels.cuda.rules import device_rule
from fastmlp.kernels.spec import activation_row

RELU = "relu", "noisy_relu"


def matrix_product(k_tiles, n_tiles, load, k_step, n_step):
    """multiply(c, a, b): c += A B. A is row-major at address ``a``; ``load`` and the steps describe B at ``b``."""

    @inlined
    def multiply(c, a, b):
        for k in range(k_tiles):
            left = ldmatrix_x4(soff(a, k * 16))
            for n in range(0, n_tiles, 2):
                q = n * 4
                right = load(soff(b, k * k_step + n * n_step))
                first = mma_bf16(left, right[0], right[1], (c[q], c[q + 1], c[q + 2], c[q + 3]))
                second = mma_bf16(left, right[2], right[3], (c[q + 4], c[q + 5], c[q + 6], c[q + 7]))
                c[q], c[q + 1], c[q + 2], c[q + 3] = first
                c[q + 4], c[q + 5], c[q + 6], c[q + 7] = second

    return multiply


def layer_product(plan, layer):
    """forward(c, smem, biases, warp, lane): x W + b. ``smem`` is the address of shared memory, ``biases`` its array."""
    fan_in, fan_out, stride = plan.widths[layer], plan.widths[layer + 1], plan.strides[layer + 1]
    inputs, inputs_stride = plan.inputs[layer], plan.tile_strides[layer]
    weights, bias, n_tiles = plan.weights[layer], plan.biases[layer], fan_out // 8
    multiply = matrix_product(fan_in // 16, n_tiles, ldmatrix_x4_t, 16 * stride, 8)

    @inlined
    def forward(c, smem, biases, warp, lane):
        smem, lane = fresh(smem), fresh(lane)
        for n in range(n_tiles):
            j = bias + n * 8 + lane % 4 * 2
            c[n * 4] = c[n * 4 + 2] = biases[j]
            c[n * 4 + 1] = c[n * 4 + 3] = biases[j + 1]
        row, column = lane % 16, lane // 16 * 8
        multiply(
            c,
            soff(smem, (warp * 16 + row) * inputs_stride + column + inputs),
            soff(smem, row * stride + column + weights),
        )

    return forward


def hidden_layer(plan, layer, dtype):
    """forward(c, smem, biases, warp, lane): outputs of a layer; also da/dz if it cannot be computed from them."""
    name, n_tiles = plan.network.activations[layer], plan.widths[layer + 1] // 8
    row, relu, stride = activation_row(name), name in RELU, plan.tile_strides[layer + 1]
    outputs = plan.inputs[layer + 1]
    saves_derivatives, derivatives = plan.training and row.of_input, plan.deltas[layer] if plan.training else 0
    product, activate = layer_product(plan, layer), device_rule(row.function, dtype)
    derivative = device_rule(row.derivative, dtype)

    @inlined
    def pack(low, high):
        if relu:
            return pack_bf16_relu(high, low)
        return pack_bf16(activate(high), activate(low))

    @inlined
    def forward(c, smem, biases, warp, lane):
        product(c, smem, biases, warp, lane)
        smem, lane = fresh(smem), fresh(lane)
        mine = soff(smem, (warp * 16 + lane // 4) * stride + lane % 4 * 2)
        cuda.syncwarp()  # outputs may overwrite the inputs
        for n in range(n_tiles):
            for half in range(2):
                low, high = c[n * 4 + half * 2], c[n * 4 + half * 2 + 1]
                sts_a32(soff(mine, half * 8 * stride + n * 8 + outputs), pack(low, high))
                if saves_derivatives:
                    da_dz = pack_bf16(derivative(high), derivative(low))
                    sts_a32(soff(mine, half * 8 * stride + n * 8 + derivatives), da_dz)
        cuda.syncwarp()

    return forward


def layer_errors(plan, layer, dtype):
    """backward(c, smem, warp, lane): compute the deltas of the layer below from those of ``layer``.

    For the first layer of a segment they overwrite its inputs.
    """
    name, n_tiles = plan.network.activations[layer - 1], plan.widths[layer] // 8
    row, relu, weights_stride = activation_row(name), name in RELU, plan.strides[layer + 1]
    stride, stride_above = plan.tile_strides[layer], plan.tile_strides[layer + 1]
    outputs, deltas, above, weights = (
        plan.inputs[layer], plan.deltas.get(layer - 1, plan.inputs[layer]), plan.deltas[layer], plan.weights[layer],
    )  # fmt: skip
    multiply = matrix_product(plan.widths[layer + 1] // 16, n_tiles, ldmatrix_x4, 16, 8 * weights_stride)
    saved, derivative = row.of_input, device_rule(row.derivative, dtype)
    zero, linear = dtype.type(0), name == "identity"

    @inlined
    def delta(low, high, mine):
        if linear:
            return pack_bf16(high, low)
        if relu:
            return mask2(pack_bf16(high, low), lds_u32(soff(mine, outputs)))
        if saved:
            slope_low, slope_high = unpack_bf16(lds_u32(soff(mine, deltas)))
            return pack_bf16(high * slope_high, low * slope_low)
        a_low, a_high = unpack_bf16(lds_u32(soff(mine, outputs)))
        return pack_bf16(high * derivative(a_high), low * derivative(a_low))

    @inlined
    def backward(c, smem, warp, lane):
        smem, lane = fresh(smem), fresh(lane)
        for i in range(n_tiles * 4):
            c[i] = zero
        row, column = lane % 8 + lane // 16 * 8, lane // 8 % 2 * 8
        multiply(
            c,
            soff(smem, (warp * 16 + lane % 16) * stride_above + lane // 16 * 8 + above),
            soff(smem, row * weights_stride + column + weights),
        )
        mine = soff(smem, (warp * 16 + lane // 4) * stride + lane % 4 * 2)
        for n in range(n_tiles):
            for half in range(2):
                at = soff(mine, half * 8 * stride + n * 8)
                sts_a32(soff(at, deltas), delta(c[n * 4 + half * 2], c[n * 4 + half * 2 + 1], at))
        cuda.syncwarp()

    return backward
