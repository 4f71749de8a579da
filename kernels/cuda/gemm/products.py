"""Matrix products by cuBLASLt, each prepared once for given arrays.

cuBLASLt is column-major and sees a row-major matrix as its transpose, so D = A B is computed as D' = B' A'. A bias then
runs along the rows of D', as cuBLASLt requires, and so do the bits of a ReLU's mask.
"""

from ctypes import byref
from functools import partial

import numpy as np
from numba import cuda

from fastmlp.kernels.cuda import devices

from . import cublaslt

WORKSPACE_BYTES = 2**25  # NVIDIA's recommendation for Hopper
ALIGNMENT = 256  # bytes; the largest that cuBLASLt distinguishes
MASK_BITS = 128  # the length of a row of a mask is a multiple of this

# Operations fused into a product. "relu": relu(D + bias); also writes a mask of positive elements, unless it is None.
# "relu derivative": D where the mask is set, else 0. "bias gradient": writes the column sums of B to the bias.
EPILOGUES = {
    "relu": cublaslt.RELU,
    "relu derivative": cublaslt.RELU_DERIVATIVE,
    "bias gradient": cublaslt.BIAS_GRADIENT_OF_A,
}
_KINDS = {"float32": cublaslt.FLOAT32, "float64": cublaslt.FLOAT64, "uint16": cublaslt.BFLOAT16}


def mask_stride(width):
    """Bits from one row of a mask to the next."""
    return -(-width // MASK_BITS) * MASK_BITS


def _address(array):
    return array.device_ctypes_pointer.value


def _alignment(address):
    return min(ALIGNMENT, address & -address)


class Products:
    """Prepares products that share a workspace, to be used on one stream at a time. uint16 arrays hold bfloat16."""

    def __init__(self):
        self.workspace = cuda.device_array(WORKSPACE_BYTES, np.uint8)
        self._algorithms = {}

    def prepare(self, A, B, D, *, transpose_a=False, transpose_b=False, add=False, epilogue=None, bias=None, mask=None):
        """Return a function of a stream that queues D = A B, or None if the epilogue is not supported.

        With ``transpose_a`` or ``transpose_b`` that operand is transposed; with ``add`` the product is added to D.
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
        layouts = of_b, of_a, of_d, of_d  # C is D itself
        addresses = [_address(matrix) for matrix in (B, A, D, D)]
        alignments = [_alignment(address) for address in addresses]
        of_epilogue = [_alignment(_address(array)) for array in (bias, mask) if array is not None]
        alignments[2:] = [min(alignments[3], *of_epilogue)] * 2 if of_epilogue else alignments[2:]
        key = (*shapes, transpose_a, transpose_b, add, code, tuple(alignments))
        if key not in self._algorithms:
            preferred = cublaslt.preference(WORKSPACE_BYTES, alignments)
            self._algorithms[key] = cublaslt.best_algorithm(operation, layouts, preferred)
        best = self._algorithms[key]
        if best is None and epilogue:
            return None
        if best is None:
            raise devices.DeviceError(f"the GPU failed: cuBLASLt has no algorithm for {A.shape} x {B.shape}.")
        factors = cublaslt.scalar(double, 1), cublaslt.scalar(double, add)
        return partial(_queue, operation, factors, addresses, layouts, best, self.workspace)


def _queue(operation, factors, addresses, layouts, best, workspace, stream):
    (alpha, beta), (a, b, c, d), (of_a, of_b, of_c, of_d) = factors, addresses, layouts
    cublaslt.call(
        "Matmul", cublaslt.context(), operation, byref(alpha), a, of_a, b, of_b, byref(beta), c, of_c, d, of_d,
        byref(best.algorithm), _address(workspace), best.workspace_bytes, int(stream),
    )  # fmt: skip
