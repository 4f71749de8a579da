"""Rows in bf16 on their way to a warp's part of shared memory and back; those of inputs are made from float32."""

from numba import cuda

from fastmlp.kernels.cuda.bfloat16 import to_bfloat16
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

from .layers import inlined

CONVERTING_THREADS = 256


@cuda.jit(launch_bounds=CONVERTING_THREADS)
def convert_rows(X, out):
    """X (rows, inputs) float32 into ``out`` (rows, padded inputs) uint16, as bf16 with zeros after them."""
    columns, width = X.shape[1], out.shape[1]
    for item in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, j = item // width, item % width
        out[i, j] = to_bfloat16(X[i, j]) if j < columns else 0


@inlined
def in_batch(begin, first, rows, lane):
    """In lane r < 16 the place of row first + r of the batch that begins at ``begin`` and has ``rows`` rows; beyond its
    end, of its last."""
    return begin + min(first + lane % 16, rows - 1)


@inlined
def find(order, begin, first, rows, lane):
    """The number of that row of X and y."""
    return order[in_batch(begin, first, rows, lane)]


def row_fetcher(plan):
    """(fetch, put) for the 16 rows of a warp: from global memory to registers, and to shared memory.

    fetch(X, number, lane, x), with the number of row r in lane r < 16, and put(chip, warp, lane, x).
    """
    chunks, stride, inputs = plan.widths[0] // 8, plan.tile_strides[0], plan.inputs[0]
    each = 16 * chunks // 32

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

    return fetch, put


def row_mover(width, tile, stride):
    """(bring, send, announce) for 16 rows of ``width`` numbers between global memory and a warp's part of a tile.

    ``rows`` is memory (uint32) in which row r begins at ``at`` + r width / 2. bring(rows, at, first, chip, warp, lane),
    send(...) with the same arguments, announce(rows, at, first, lane) before rows will be brought.
    """
    chunks = width // 8
    each = 16 * chunks // 32

    @inlined
    def bring(rows, at, first, chip, warp, lane):
        chip, lane = fresh(chip), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            r, chunk = item // chunks, item % chunks
            to = soff(chip, tile + (warp * 16 + r) * stride + chunk * 8)
            cp_async16(to, rows, at + ((first + r) * chunks + chunk) * 4)
        cp_async_commit()
        cp_async_wait0()
        cuda.syncwarp()

    @inlined
    def send(rows, at, first, chip, warp, lane):
        chip, lane = fresh(chip), fresh(lane)
        for i in range(each):
            item = lane + 32 * i
            r, chunk = item // chunks, item % chunks
            four = lds_v4u32(soff(chip, tile + (warp * 16 + r) * stride + chunk * 8))
            stg_v4u32(rows, at + ((first + r) * chunks + chunk) * 4, four)
        cuda.syncwarp()

    @inlined
    def announce(rows, at, first, lane):
        for line in range(lane, 2 * chunks, 32):  # of 128 bytes
            prefetch_l2(rows, at + (first * chunks + line * 8) * 4)

    return bring, send, announce
