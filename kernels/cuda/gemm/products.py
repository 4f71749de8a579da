"""Products of row-major matrices on the device, by cuBLASLt, each prepared once for the arrays that it will always use.

cuBLASLt counts by columns: a row-major matrix is its transpose there, so D = A B is made as D' = B' A'. Then a bias
runs along the rows of D', as the library wants it, and so do the bits of a ReLU's mask.
"""

from ctypes import byref
from functools import partial

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda import devices

from . import cublaslt

WORKSPACE_BYTES = 2**25  # what NVIDIA advises for Hopper
ALIGNMENT = 256  # bytes; the most that the library asks for
MASK_BITS = 128  # a row of a mask is a multiple of this

# What may follow a product. "relu": of D + bias, with a mask of what stayed unless that is None. "relu derivative":
# D where the mask has a bit, else 0. "bias gradient": the sums of the columns of B into the bias.
EPILOGUES = {
    "relu": cublaslt.RELU,
    "relu derivative": cublaslt.RELU_DERIVATIVE,
    "bias gradient": cublaslt.BIAS_GRADIENT_OF_A,
}
_KINDS = {"float32": cublaslt.FLOAT32, "float64": cublaslt.FLOAT64, "uint16": cublaslt.BFLOAT16}


def mask_stride(width):
    """Bits from a row of a mask to the next."""
    return -(-width // MASK_BITS) * MASK_BITS


def _address(array):
    return array.device_ctypes_pointer.value


def _alignment(address):
    return min(ALIGNMENT, address & -address)


class Products:
    """A maker of products that share a workspace: for one stream at a time. Arrays of uint16 hold bfloat16."""

    def __init__(self):
        self.workspace = cuda.device_array(WORKSPACE_BYTES, np.uint8)
        self._known = {}

    def prepare(self, A, B, D, *, transpose_a=False, transpose_b=False, add=False, epilogue=None, bias=None, mask=None):
        """A function of a stream that queues D = A B there, or None where the GPU or a type lacks the epilogue.

        A and B are taken as their transposes where that is said; with ``add`` the product is added to D.
        """
        double, code = D.dtype == np.float64, EPILOGUES[epilogue] if epilogue else cublaslt.PLAIN
        if epilogue == "relu":
            code |= (cublaslt.WITH_BIAS if bias is not None else 0) | (cublaslt.WITH_MASK if mask is not None else 0)
        operation = cublaslt.descriptor(
            double, transpose_b, transpose_a, code,
            None if bias is None else (_address(bias), _KINDS[str(bias.dtype)]),
            None if mask is None else (_address(mask), mask_stride(D.shape[1])),
        )  # fmt: skip
        shapes = [
            (_KINDS[str(matrix.dtype)], matrix.shape[1], matrix.shape[0], matrix.strides[0] // matrix.dtype.itemsize)
            for matrix in (B, A, D)
        ]
        of_b, of_a, of_d = (cublaslt.layout(*shape) for shape in shapes)
        layouts = of_b, of_a, of_d, of_d  # what is added to is D itself
        addresses = [_address(matrix) for matrix in (B, A, D, D)]
        alignments = [_alignment(address) for address in addresses]
        beside = [_alignment(_address(array)) for array in (bias, mask) if array is not None]
        alignments[2:] = [min(alignments[3], *beside)] * 2 if beside else alignments[2:]
        key = (*shapes, transpose_a, transpose_b, add, code, tuple(alignments))
        if key not in self._known:
            preferred = cublaslt.preference(WORKSPACE_BYTES, alignments)
            self._known[key] = cublaslt.suggestion(operation, layouts, preferred)
        best = self._known[key]
        if best is None and epilogue:
            return None
        if best is None:
            raise devices.DeviceError(f"the GPU failed: cuBLASLt knows no way to make {A.shape} x {B.shape}.")
        factors = cublaslt.scalar(double, 1), cublaslt.scalar(double, add)
        return partial(_queue, operation, factors, addresses, layouts, best, self.workspace)


def _queue(operation, factors, addresses, layouts, best, workspace, stream):
    (alpha, beta), (a, b, c, d), (of_a, of_b, of_c, of_d) = factors, addresses, layouts
    cublaslt.call(
        "Matmul", cublaslt.context(), operation, byref(alpha), a, of_a, b, of_b, byref(beta), c, of_c, d, of_d,
        byref(best.algorithm), _address(workspace), best.workspace_bytes, int(stream),
    )  # fmt: skip
