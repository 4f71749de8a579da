"""Matrix products by NumPy, which replace those of cuBLASLt in the simulator."""

import numpy as np

from fastmlp.kernels.cuda.gemm.products import mask_stride


def rounded(x):
    """Round float32 to bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def values(array):
    """The contents of an array of the simulator as floats; uint16 holds bfloat16."""
    array = np.asarray(array._ary if hasattr(array, "_ary") else array)
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


class NumpyProducts:
    """Replacement for gemm.products.Products."""

    def prepare(self, A, B, D, *, transpose_a=False, transpose_b=False, add=False, epilogue=None, bias=None, mask=None):
        def run(stream):
            left, right = values(A), values(B)
            result = (left.T if transpose_a else left) @ (right.T if transpose_b else right)
            if add:
                result = result + values(D)
            if epilogue == "bias gradient":
                bias[:] = values(B).sum(axis=0).astype(bias.dtype)
            if epilogue == "relu":
                result = result if bias is None else result + values(bias)
                if mask is not None:
                    bits = np.zeros((len(result), mask_stride(result.shape[1])), bool)
                    bits[:, : result.shape[1]] = result >= 0  # as cuBLASLt has it
                    mask[:] = np.packbits(bits, bitorder="little")
                result = np.maximum(result, 0)
            if epilogue == "relu derivative":
                bits = np.unpackbits(values(mask), bitorder="little").reshape(len(result), -1)
                result = result * bits[:, : result.shape[1]]
            if D.dtype == np.uint16:
                result = (rounded(result).view(np.uint32) >> 16).astype(np.uint16)
            D[:, :] = result.astype(D.dtype)

        return run
