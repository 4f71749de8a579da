"""Copies of bfloat16 rows between global memory and a warp's part of shared memory, and the conversion from float32."""

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
from fastmlp.kernels.cuda.composition import inlined
from fastmlp.kernels.cuda.intrinsics import (
    cp_async16,
    cp_async_commit,
    cp_async_wait0,
    fresh,
    ldg_v4u32,
    lds_v4u32,
    prefetch_l2,
    soff,
    stg_v4u32,
    sts_v4u32,
)
from fastmlp.kernels.cuda.simt.block_sums import ALL_LANES

CONVERTING_THREADS = 256


@cuda.jit(launch_bounds=CONVERTING_THREADS)
def convert_rows(X, out):
    """Convert X (rows, inputs) float32 to bfloat16 in ``out`` (rows, padded inputs) uint16, padded with zeros."""
    columns, width = X.shape[1], out.shape[1]
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, j = item // width, item % width
        out[i, j] = to_bfloat16(X[i, j]) if j < columns else 0


@inlined
def position_in_order(begin, first, rows, lane):
    """In lane r < 16: the position in ``order`` of row first + r of a batch that begins at ``begin``.

    Beyond the end of the batch, which has ``rows`` rows: the position of its last row.
    """
    return begin + min(first + lane % 16, rows - 1)


@inlined
def sample_index(order, begin, first, rows, lane):
    """The index in X and y of the sample at ``position_in_order``."""
    return order[position_in_order(begin, first, rows, lane)]


def row_fetcher(plan):
    """(fetch, put): copy the 16 rows of a warp from global memory to registers, and from there to shared memory.

    fetch(X, index, lane, x), with the sample index of row r in lane r < 16, and put(smem, warp, lane, x).
    """
    chunks, stride, inputs = plan.widths[0] // 8, plan.tile_strides[0], plan.inputs[0]
    each = 16 * chunks // 32

    @inlined
    def fetch(X, index, lane, x):
        lane = fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            row = cuda.shfl_sync(ALL_LANES, index, item // chunks)
            part = ldg_v4u32(X, row * (4 * chunks) + item % chunks * 4)
            x[i * 4], x[i * 4 + 1], x[i * 4 + 2], x[i * 4 + 3] = part

    @inlined
    def put(smem, warp, lane, x):
        smem, lane = fresh(smem), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            at = inputs + (warp * 16 + item // chunks) * stride + item % chunks * 8
            sts_v4u32(soff(smem, at), (x[i * 4], x[i * 4 + 1], x[i * 4 + 2], x[i * 4 + 3]))
        cuda.syncwarp()

    return fetch, put


def row_mover(width, tile, stride):
    """(load, store, prefetch) for 16 rows of ``width`` elements between global memory and a warp's part of a tile.

    ``rows`` is global memory (uint32) in which row r begins at ``at`` + r width / 2. load(rows, at, first, smem, warp,
    lane), store(...) with the same arguments, prefetch(rows, at, first, lane) before a load.
    """
    chunks = width // 8
    each = 16 * chunks // 32

    @inlined
    def load(rows, at, first, smem, warp, lane):
        smem, lane = fresh(smem), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            r, chunk = item // chunks, item % chunks
            to = soff(smem, tile + (warp * 16 + r) * stride + chunk * 8)
            cp_async16(to, rows, at + ((first + r) * chunks + chunk) * 4)
        cp_async_commit()
        cp_async_wait0()
        cuda.syncwarp()

    @inlined
    def store(rows, at, first, smem, warp, lane):
        smem, lane = fresh(smem), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            r, chunk = item // chunks, item % chunks
            four = lds_v4u32(soff(smem, tile + (warp * 16 + r) * stride + chunk * 8))
            stg_v4u32(rows, at + ((first + r) * chunks + chunk) * 4, four)
        cuda.syncwarp()

    @inlined
    def prefetch(rows, at, first, lane):
        for line in range(lane, 2 * chunks, 32):  # of 128 bytes
            prefetch_l2(rows, at + (first * chunks + line * 8) * 4)

    return load, store, prefetch
