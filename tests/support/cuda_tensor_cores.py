"""The simulator's version of kernels/cuda/intrinsics.py: bfloat16 matrix products of a warp, in NumPy.

An address in shared memory is a tuple of the array and an index.
"""

import sys
from types import ModuleType

import numpy as np
from cuda_simulator import SimulationError, _now, collective, note_access


def bf16(x):
    """Round float32 to bfloat16, in uint16."""
    x = np.asarray(x, np.float32)
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1))) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def single(bits):
    """Convert bfloat16 to float32."""
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def rounded(x):
    """Round float32 to the precision of bfloat16."""
    return single(bf16(x))


def plain(array, index, count, writes):
    """A view of ``count`` elements from ``index``, checked here and not for each element."""
    if index < 0 or index + count > array.size or index % count:
        raise SimulationError(f"{count} numbers at {index} of {array.size}")
    view = array.view(np.ndarray)
    if _now.races:
        address = view.__array_interface__["data"][0] + int(index) * view.itemsize
        for word in range(address, address + count * view.itemsize, 4):
            note_access(word, writes)
    return view[index : index + count]


def smem_addr(array, index):
    return array, int(index)


def soff(address, elements):
    return address[0], address[1] + int(elements)


def fresh(number):
    return number


def ldg_v4u32(array, index):
    return tuple(plain(array, index, 4, False))


def cp_async16(address, array, index):
    count = 16 // array.itemsize
    plain(*address, 8, True).view(np.uint32)[:] = plain(array, index, count, False).view(np.uint32)


def lds_u32(address):
    return plain(*address, 2, False).view(np.uint32)[0]


def sts_a32(address, pair):
    plain(*address, 2, True).view(np.uint32)[0] = pair


def sts_v4u32(address, four):
    plain(*address, 8, True).view(np.uint32)[:] = four


def lds_v4u32(address):
    return tuple(plain(*address, 8, False).view(np.uint32))


def stg_v4u32(array, index, four):
    plain(array, index, 4, True)[:] = four


def nothing(*given):
    pass


def _pack(high, low):
    return np.array([low, high], np.float32)


def pack_bf16(high, low):
    return bf16(_pack(high, low)).view(np.uint32)[0]


def pack_bf16_relu(high, low):
    x = _pack(high, low)
    return bf16(np.where(x < 0, np.float32(0), x)).view(np.uint32)[0]


def unpack_bf16(pair):
    low, high = single(np.array([pair], np.uint32).view(np.uint16))
    return low, high


def mask2(pair, output):
    x, a = (single(np.array([word], np.uint32).view(np.uint16)) for word in (pair, output))
    return bf16(x * (a > 0)).view(np.uint32)[0]


def _ldmatrix(transposed):
    def load(address):
        def choose(lane, rows):
            made = rows[0][1]
            if not made:
                matrices = np.array([row for row, _ in rows]).reshape(4, 8, 8)
                matrices = matrices.transpose(0, 2, 1) if transposed else matrices
                made["words"] = np.ascontiguousarray(matrices).view(np.uint32).reshape(4, 32).T
            return tuple(made["words"][lane])

        return collective((plain(*address, 8, False), {}), choose)

    return load


def mma_bf16(a, b0, b1, c):
    def choose(lane, values):
        made = values[0][-1]
        if not made:
            A = np.array([v[0] for v in values], np.uint32).view(np.uint16).reshape(8, 4, 2, 2, 2)
            A = single(A.transpose(3, 0, 2, 1, 4).reshape(16, 16))
            B = np.array([v[1:3] for v in values], np.uint32).view(np.uint16).reshape(8, 4, 2, 2)
            B = single(B.transpose(2, 1, 3, 0).reshape(16, 8))
            C = np.array([v[3] for v in values], np.float32).reshape(8, 4, 2, 2).transpose(2, 0, 1, 3).reshape(16, 8)
            made["c"] = (A @ B + C).reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 4)
        return tuple(made["c"][lane])

    return collective((a, b0, b1, c, {}), choose)


def install():
    """Replace the module imported by kernels."""
    module = ModuleType("fastmlp.kernels.cuda.intrinsics")
    vars(module).update({
        function.__name__: function
        for function in (
            smem_addr, soff, fresh, ldg_v4u32, cp_async16, lds_u32, sts_a32, sts_v4u32, lds_v4u32, stg_v4u32, pack_bf16,
            pack_bf16_relu, unpack_bf16, mask2, mma_bf16,
        )
    })  # fmt: skip
    module.ldmatrix_x4, module.ldmatrix_x4_t = _ldmatrix(False), _ldmatrix(True)
    module.cp_async_commit = module.cp_async_wait0 = module.prefetch_l2 = nothing
    sys.modules[module.__name__] = module
