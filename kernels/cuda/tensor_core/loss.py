"""The outputs of a warp's 16 rows: activation, softmax included, losses and deltas.

A lane holds two neighbouring columns of every 8 in two rows; four lanes share these rows, a quad.
"""

from numba import cuda

from fastmlp.kernels.cuda.intrinsics import fresh, pack_bf16, soff, sts_a32
from fastmlp.kernels.cuda.rules import device_rule, rules_for
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES
from fastmlp.kernels.cuda.simt.update import take_up_to_three
from fastmlp.kernels.spec import activation_row, loss_row

from .layers import inlined, layer_product


@inlined
def sum_of_quad(value):
    value += cuda.shfl_xor_sync(ALL_LANES, value, 1)
    return value + cuda.shfl_xor_sync(ALL_LANES, value, 2)


@inlined
def larger(x, y):
    return x if x > y else y


@inlined
def largest_of_quad(value):
    value = larger(value, cuda.shfl_xor_sync(ALL_LANES, value, 1))
    return larger(value, cuda.shfl_xor_sync(ALL_LANES, value, 2))


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
                        top = larger(top, c[n * 4 + half * 2 + i])
            top = largest_of_quad(top)
            total = zero
            for n in range(n_tiles):
                for i in range(2):
                    inside = n * 8 + lane % 4 * 2 + i < width
                    e = exponential(c[n * 4 + half * 2 + i] - top) if inside else zero
                    c[n * 4 + half * 2 + i] = e
                    total += e
            scale = one / sum_of_quad(total)
            for n in range(n_tiles):
                for i in range(2):
                    c[n * 4 + half * 2 + i] *= scale

    return softmax if row.rowwise else elementwise


def output_layer(plan, dtype, weighted):
    """head(c, chip, biases, warp, lane, number, rows, y, sample_weight, total, loss_options) -> the lane's loss.

    Leaves dLoss/dz of the last layer in its deltas. ``number`` is, in lane r < 16, that of the warp's row r, of which
    ``rows`` count.
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
    take_options, T = take_up_to_three(len(loss.options)), dtype.type
    zero = T(0)

    @inlined
    def slope_and_output(z):
        """(f'(z), f(z)) where the derivative is of z; z was kept until here."""
        return derivative(z), function(z)

    @inlined
    def head(c, chip, biases, warp, lane, number, rows, y, sample_weight, total, loss_options):
        product(c, chip, biases, warp, lane)
        chip, lane = fresh(chip), fresh(lane)
        if not of_input:
            activate(c, lane)
        options = take_options(loss_options, 0, 1)
        lost = zero
        mine = soff(chip, (warp * 16 + lane // 4) * stride + lane % 4 * 2 + deltas)
        for half in range(2):
            r = lane // 4 + half * 8
            place = cuda.shfl_sync(ALL_LANES, number, r)
            weight = zero
            if r < rows:
                weight = T((sample_weight[place] if weighted else T(1)) / total)
                if mean:
                    weight = weight / T(width)
            inner = zero
            for n in range(n_tiles):
                for i in range(2):
                    q, j = n * 4 + half * 2 + i, n * 8 + lane % 4 * 2 + i
                    delta = zero
                    if j < width and r < rows:
                        a, slope, target = c[q], T(1), y[place, j]
                        if of_input:
                            slope, a = slope_and_output(c[q])
                        lost += weight * value(a, target, *options)
                        delta = weight * error(a, target, *options)
                        if not linked:
                            if rowwise:
                                inner += a * delta
                                # The activation is needed once more: it stays, and so does the target's place.
                            else:
                                delta *= slope if of_input else derivative(a)
                    if linked or not rowwise:
                        c[q] = delta
            if rowwise and not linked:
                inner = sum_of_quad(inner)
                for n in range(n_tiles):
                    for i in range(2):
                        q, j = n * 4 + half * 2 + i, n * 8 + lane % 4 * 2 + i
                        delta = zero
                        if j < width and r < rows:
                            a = c[q]
                            delta = a * (weight * error(a, y[place, j], *options) - inner)
                        c[q] = delta
            for n in range(n_tiles):
                q = n * 4 + half * 2
                sts_a32(soff(mine, half * 8 * stride + n * 8), pack_bf16(c[q + 1], c[q]))
        cuda.syncwarp()
        return lost

    return head
