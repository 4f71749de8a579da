"""Rows of inputs in bf16: made from float32, and brought to a warp's part of shared memory."""

from numba import cuda

from fastmlp.kernels.numba_cuda.device_bfloat16 import to_bfloat16
from fastmlp.kernels.numba_cuda.device_sums import ALL_LANES
from fastmlp.kernels.numba_cuda.fused_layers import inlined
from fastmlp.kernels.numba_cuda.intrinsics import fresh, ldg_v4u32, soff, sts_v4u32

CONVERTING_THREADS = 256


@cuda.jit(launch_bounds=CONVERTING_THREADS)
def convert_rows(X, out):
    """X (rows, inputs) float32 into ``out`` (rows, padded inputs) uint16, as bf16 with zeros after them."""
    columns, width = X.shape[1], out.shape[1]
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, j = item // width, item % width
        out[i, j] = to_bfloat16(X[i, j]) if j < columns else 0


def row_fetcher(plan, gathered=True):
    """(find, fetch, put) for the 16 rows of a warp: their numbers; from global memory to registers; to shared memory.

    find(order, begin, first, rows, lane) -> in lane r < 16 the number of row first + r of the batch that begins at
    ``begin`` and has ``rows`` rows; beyond its end, of its last. fetch(X, number, lane, x), put(chip, warp, lane, x).
    """
    chunks, stride, inputs = plan.widths[0] // 8, plan.tile_strides[0], plan.inputs[0]
    each = 16 * chunks // 32

    @inlined
    def find(order, begin, first, rows, lane):
        place = begin + min(first + lane % 16, rows - 1)
        return order[place] if gathered else place

    @inlined
    def fetch(X, number, lane, x):
        lane = fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            row = cuda.shfl_sync(ALL_LANES, number, item // chunks)
            part = ldg_v4u32(X, row * (4 * chunks) + item % chunks * 4)
            x[i * 4], x[i * 4 + 1], x[i * 4 + 2], x[i * 4 + 3] = part

    @inlined
    def put(chip, warp, lane, x):
        chip, lane = fresh(chip), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            at = inputs + (warp * 16 + item // chunks) * stride + item % chunks * 8
            sts_v4u32(soff(chip, at), (x[i * 4], x[i * 4 + 1], x[i * 4 + 2], x[i * 4 + 3]))
        cuda.syncwarp()

    return find, fetch, put
