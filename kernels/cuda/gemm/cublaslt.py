"""The little of NVIDIA's library cuBLASLt that products of matrices need, through ctypes.

Names and numbers are those of cublasLt.h, cublas_api.h and library_types.h of CUDA 13. The library is found wherever
a wheel, another package or a toolkit has put it.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache

from fastmlp.kernels.cuda import INSTALL, devices

NAME, LEAST_VERSION = "cublasLt", 130000
SUCCESS, ALLOC_FAILED, INVALID_VALUE, NOT_SUPPORTED = 0, 3, 7, 15  # cublasStatus_t
TRANSPOSE = 1  # cublasOperation_t, of which 0 is none
FLOAT32, FLOAT64, BFLOAT16 = 0, 1, 14  # cudaDataType_t
COMPUTE_FLOAT32, COMPUTE_FLOAT64 = 68, 70  # cublasComputeType_t; never the "fast" ones, which round to TF32

# cublasLtMatmulDescAttributes_t, of which those on transposes, types and the epilogue are 32 bits wide.
TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER, AUX_POINTER, AUX_STRIDE, BIAS_TYPE = 3, 4, 7, 8, 11, 12, 26

# cublasLtEpilogue_t: DEFAULT; RELU, to which AUX and BIAS may be added; DRELU; BGRADA, sums of A's rows
PLAIN, RELU, WITH_BIAS, WITH_MASK, RELU_DERIVATIVE, BIAS_GRADIENT_OF_A = 1, 2, 4, 128, 8 | 128, 256

# cublasLtMatmulPreferenceAttributes_t
WORKSPACE_BYTES, LEAST_ALIGNMENTS = 1, (5, 6, 7, 8)  # of A, B, C and D


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t"""

    _fields_ = [("data", c_uint64 * 8)]


class Suggestion(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t"""

    _fields_ = [
        ("algorithm", Algorithm), ("workspace_bytes", c_size_t), ("state", c_int), ("waves", c_float),
        ("reserved", c_int * 4),
    ]  # fmt: skip


_PROTOTYPES = {
    "Create": [POINTER(c_void_p)],
    "Destroy": [c_void_p],
    "MatmulDescCreate": [POINTER(c_void_p), c_int, c_int],
    "MatmulDescDestroy": [c_void_p],
    "MatmulDescSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "MatmulDescGetAttribute": [c_void_p, c_int, c_void_p, c_size_t, POINTER(c_size_t)],
    "MatrixLayoutCreate": [POINTER(c_void_p), c_int, c_uint64, c_uint64, c_int64],
    "MatrixLayoutDestroy": [c_void_p],
    "MatmulPreferenceCreate": [POINTER(c_void_p)],
    "MatmulPreferenceDestroy": [c_void_p],
    "MatmulPreferenceSetAttribute": [c_void_p, c_int, c_void_p, c_size_t],
    "MatmulAlgoGetHeuristic": [*[c_void_p] * 7, c_int, POINTER(Suggestion), POINTER(c_int)],
    "Matmul": [*[c_void_p] * 13, c_void_p, c_size_t, c_void_p],
}


def library():
    """The library, loaded.

    Raises
    ------
    ImportError
        If it is not there; the message says how to get it.
    """
    found = _found()
    if isinstance(found, Exception):
        raise ImportError(f"wide layers need the library {NAME} of CUDA 13: {INSTALL}") from found
    return found


@cache
def _found():
    """The library, or why it cannot be loaded: looking for it takes time."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        path = load_nvidia_dynamic_lib(NAME).abs_path
        found = ctypes.CDLL(path)
        found.cublasLtGetVersion.restype = c_size_t
        if found.cublasLtGetVersion() < LEAST_VERSION:
            return RuntimeError(f"{path} is of version {found.cublasLtGetVersion()}")
    except (ImportError, RuntimeError, OSError) as error:
        return error
    for name, arguments in _PROTOTYPES.items():
        function = getattr(found, f"cublasLt{name}")
        function.argtypes, function.restype = arguments, c_int
    found.cublasLtGetStatusString.argtypes, found.cublasLtGetStatusString.restype = [c_int], c_char_p
    return found


def call(name, *arguments):
    """cublasLt<name>(...), or one clear error."""
    _check(name, getattr(library(), f"cublasLt{name}")(*arguments))


def _check(name, status):
    if status == ALLOC_FAILED:
        raise devices.OutOfDeviceMemory(f"the GPU has not enough free memory for cublasLt{name}.")
    if status != SUCCESS:
        text = library().cublasLtGetStatusString(status).decode()
        raise devices.DeviceError(f"the GPU failed: cublasLt{name} gave {status} ({text}).")


class Handle:
    """What a creating function makes; it goes with this object."""

    def __init__(self, kind, *arguments):
        self.kind, self.value = kind, c_void_p()
        call(f"{kind}Create", byref(self.value), *arguments)

    @property
    def _as_parameter_(self):
        return self.value

    def __del__(self):
        if self.value and not sys.is_finalizing():  # then the driver may be gone
            getattr(library(), f"cublasLt{self.kind}Destroy")(self.value)


@cache
def context():
    """The library's own handle, which threads may share."""
    return Handle("")


def layout(kind, rows, columns, stride):
    """Of a matrix whose columns lie ``stride`` numbers apart."""
    return Handle("MatrixLayout", kind, rows, columns, stride)


def descriptor(double, transpose_a, transpose_b, epilogue=PLAIN, bias=None, aux=None):
    """Of a product, in float32 or, if ``double``, in float64.

    ``bias`` is (address on the device, type), ``aux`` (address, numbers from a column to the next).
    """
    compute, scale = (COMPUTE_FLOAT64, FLOAT64) if double else (COMPUTE_FLOAT32, FLOAT32)
    found = Handle("MatmulDesc", compute, scale)
    wanted = [
        (TRANSPOSE_A, c_int32(TRANSPOSE * transpose_a)),
        (TRANSPOSE_B, c_int32(TRANSPOSE * transpose_b)),
        (EPILOGUE, c_int32(epilogue)),
    ]
    if bias is not None:
        wanted += [(BIAS_POINTER, c_void_p(bias[0])), (BIAS_TYPE, c_int32(bias[1]))]
    if aux is not None:
        wanted += [(AUX_POINTER, c_void_p(aux[0])), (AUX_STRIDE, c_int64(aux[1]))]
    for attribute, value in wanted:
        call("MatmulDescSetAttribute", found, attribute, byref(value), ctypes.sizeof(value))
    return found


def preference(workspace_bytes, alignments):
    """What an algorithm may use: bytes of workspace, and alignments of A, B, C and D in bytes."""
    found = Handle("MatmulPreference")
    room = c_uint64(workspace_bytes)
    call("MatmulPreferenceSetAttribute", found, WORKSPACE_BYTES, byref(room), ctypes.sizeof(room))
    for attribute, n_bytes in zip(LEAST_ALIGNMENTS, alignments):
        value = ctypes.c_uint32(n_bytes)
        call("MatmulPreferenceSetAttribute", found, attribute, byref(value), ctypes.sizeof(value))
    return found


def suggestion(operation, layouts, preferred):
    """The algorithm that the library's heuristic puts first, as a Suggestion, or None where it knows of none."""
    best, count = Suggestion(), c_int()
    status = library().cublasLtMatmulAlgoGetHeuristic(
        context(), operation, *layouts, preferred, 1, byref(best), byref(count)
    )
    if status in (NOT_SUPPORTED, INVALID_VALUE) or (status == SUCCESS and count.value == 0):
        return None  # an epilogue that a type does not have counts as an invalid value
    _check("MatmulAlgoGetHeuristic", status)
    return best if best.state == SUCCESS else None


def scalar(double, value):
    """A factor of a product, in the host's memory."""
    return (c_double if double else c_float)(value)
