"""The output layer for the 16 rows of a warp: activation or softmax, losses and deltas.

A lane holds two neighbouring columns of every 8, in two rows. The four lanes with the same rows are called a quad.
"""

from numba import cuda

from fastmlp.kernels.cuda.composition import inlined
from fastmlp.kernels.cuda.intrinsics import fresh, pack_bf16, soff, sts_a32
from fastmlp.kernels.cuda.rules import device_rule, rules_for
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES
from fastmlp.kernels.cuda.simt.update import loss_arguments
from fastmlp.kernels.spec import activation_row, loss_row

from .layers import layer_product


@inlined
def quad_sum(value):
    value += cuda.shfl_xor_sync(ALL_LANES, value, 1)
    return value + cuda.shfl_xor_sync(ALL_LANES, value, 2)


@inlined
def maximum(x, y):
    return x if x > y else y


@inlined
def quad_max(value):
    value = maximum(value, cuda.shfl_xor_sync(ALL_LANES, value, 1))
    return maximum(value, cuda.shfl_xor_sync(ALL_LANES, value, 2))


def output_activation(plan, dtype):
    """activate(c, lane): f(z) in place."""
    row, width, n_tiles = activation_row(plan.network.activations[-1]), plan.network.sizes[-1], plan.widths[-1] // 8
    function, T = device_rule(row.function, dtype), dtype.type
    exponential = rules_for(dtype)["exponential"]
    low, zero, one = T(-3e38), T(0), T(1)

    @inlined
    def elementwise(c, lane):
        for i in range(n_tiles * 4):
            c[i] = function(c[i])

    @inlined
    def softmax(c, lane):
        for half in range(2):
            top = low
            for n in range(n_tiles):
                for i in range(2):
                    if n * 8 + lane % 4 * 2 + i < width:
                        top = maximum(top, c[n * 4 + half * 2 + i])
            top = quad_max(top)
            total = zero
            for n in range(n_tiles):
                for i in range(2):
                    inside = n * 8 + lane % 4 * 2 + i < width
                    e = exponential(c[n * 4 + half * 2 + i] - top) if inside else zero
                    c[n * 4 + half * 2 + i] = e
                    total += e
            scale = one / quad_sum(total)
            for n in range(n_tiles):
                for i in range(2):
                    c[n * 4 + half * 2 + i] *= scale

    return softmax if row.rowwise else elementwise


def output_layer(plan, dtype, weighted):
    """head(c, smem, biases, warp, lane, index, rows, y, sample_weight, total, loss_options) -> the lane's loss.

    Writes dLoss/dz of the last layer to its deltas. In lane r < 16, ``index`` is the sample of the warp's row r;
    ``rows`` is the number of valid rows.
    """
    network, last = plan.network, plan.layers[-1]
    row, loss = activation_row(network.activations[-1]), loss_row(network.loss)
    width, n_tiles, stride = network.sizes[-1], plan.widths[-1] // 8, plan.tile_strides[-1]
    deltas, linked, mean, rowwise, of_input = (
        plan.deltas[last], loss.link is not None, loss.mean, row.rowwise, row.of_input,
    )  # fmt: skip
    value, error = device_rule(loss.function, dtype), device_rule(loss.derivative, dtype)
    derivative, function = device_rule(row.derivative, dtype), device_rule(row.function, dtype)
    product, activate = layer_product(plan, last), output_activation(plan, dtype)
    take_options, T = loss_arguments(network), dtype.type
    zero = T(0)

    @inlined
    def derivative_and_output(z):
        """(f'(z), f(z)), for activations whose derivative is a function of z."""
        return derivative(z), function(z)

    @inlined
    def head(c, smem, biases, warp, lane, index, rows, y, sample_weight, total, loss_options):
        product(c, smem, biases, warp, lane)
        smem, lane = fresh(smem), fresh(lane)
        if not of_input:
            activate(c, lane)
        options = take_options(loss_options)
        loss_sum = zero
        mine = soff(smem, (warp * 16 + lane // 4) * stride + lane % 4 * 2 + deltas)
        for half in range(2):
            r = lane // 4 + half * 8
            sample = cuda.shfl_sync(ALL_LANES, index, r)
            weight = zero
            if r < rows:
                weight = T((sample_weight[sample] if weighted else T(1)) / total)
                if mean:
                    weight = weight / T(width)
            inner = zero
            for n in range(n_tiles):
                for i in range(2):
                    q, j = n * 4 + half * 2 + i, n * 8 + lane % 4 * 2 + i
                    delta = zero
                    if j < width and r < rows:
                        a, da_dz, target = c[q], T(1), y[sample, j]
                        if of_input:
                            da_dz, a = derivative_and_output(c[q])
                        loss_sum += weight * value(a, target, *options)
                        delta = weight * error(a, target, *options)
                        if not linked:
                            if rowwise:
                                inner += a * delta
                                # c keeps the activation, which is needed again below.
                            else:
                                delta *= da_dz if of_input else derivative(a)
                    if linked or not rowwise:
                        c[q] = delta
            if rowwise and not linked:
                inner = quad_sum(inner)
                for n in range(n_tiles):
                    for i in range(2):
                        q, j = n * 4 + half * 2 + i, n * 8 + lane % 4 * 2 + i
                        delta = zero
                        if j < width and r < rows:
                            a = c[q]
                            delta = a * (weight * error(a, y[sample, j], *options) - inner)
                        c[q] = delta
            for n in range(n_tiles):
                q = n * 4 + half * 2
                sts_a32(soff(mine, half * 8 * stride + n * 8), pack_bf16(c[q + 1], c[q]))
        cuda.syncwarp()
        return loss_sum

    return head
