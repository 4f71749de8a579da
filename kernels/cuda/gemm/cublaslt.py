"""ctypes bindings for the part of cuBLASLt that is used here.

Names and numbers are those of cublasLt.h, cublas_api.h and library_types.h of CUDA 13. The library may come from a
wheel, another package or a CUDA toolkit.
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import cache

from fastmlp.kernels.cuda import INSTALL, devices

NAME, MIN_VERSION = "cublasLt", 130000
SUCCESS, ALLOC_FAILED, INVALID_VALUE, NOT_SUPPORTED = 0, 3, 7, 15  # cublasStatus_t
TRANSPOSE = 1  # cublasOperation_t; 0 is no transpose
FLOAT32, FLOAT64, BFLOAT16 = 0, 1, 14  # cudaDataType_t
COMPUTE_FLOAT32, COMPUTE_FLOAT64 = 68, 70  # cublasComputeType_t; not the "fast" ones, which round to TF32

# cublasLtMatmulDescAttributes_t; transposes, types and epilogue are 32-bit.
TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER, AUX_POINTER, AUX_STRIDE, BIAS_TYPE = 3, 4, 7, 8, 11, 12, 26

# cublasLtEpilogue_t: DEFAULT; RELU, to which AUX and BIAS may be added; DRELU; BGRADA, sums of A's rows
PLAIN, RELU, WITH_BIAS, WITH_MASK, RELU_DERIVATIVE, BIAS_GRADIENT_OF_A = 1, 2, 4, 128, 8 | 128, 256

# cublasLtMatmulPreferenceAttributes_t
WORKSPACE_BYTES, MIN_ALIGNMENTS = 1, (5, 6, 7, 8)  # of A, B, C and D


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t"""

    _fields_ = [("data", c_uint64 * 8)]


class HeuristicResult(ctypes.Structure):
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
    "MatmulAlgoGetHeuristic": [*[c_void_p] * 7, c_int, POINTER(HeuristicResult), POINTER(c_int)],
    "Matmul": [*[c_void_p] * 13, c_void_p, c_size_t, c_void_p],
}


def library():
    """Return the loaded library.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to install it.
    """
    loaded = _loaded()
    if isinstance(loaded, Exception):
        raise ImportError(f"wide layers need the library {NAME} of CUDA 13: {INSTALL}") from loaded
    return loaded


@cache
def _loaded():
    """The library, or the exception that loading it raised; cached, because the search takes time."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        path = load_nvidia_dynamic_lib(NAME).abs_path
        loaded = ctypes.CDLL(path)
        loaded.cublasLtGetVersion.restype = c_size_t
        if loaded.cublasLtGetVersion() < MIN_VERSION:
            return RuntimeError(f"{path} is of version {loaded.cublasLtGetVersion()}")
    except (ImportError, RuntimeError, OSError) as error:
        return error
    for name, arguments in _PROTOTYPES.items():
        function = getattr(loaded, f"cublasLt{name}")
        function.argtypes, function.restype = arguments, c_int
    loaded.cublasLtGetStatusString.argtypes, loaded.cublasLtGetStatusString.restype = [c_int], c_char_p
    return loaded


def call(name, *arguments):
    """Call cublasLt<name>(...) and check its status."""
    _check(name, getattr(library(), f"cublasLt{name}")(*arguments))


def _check(name, status):
    if status == ALLOC_FAILED:
        raise devices.OutOfDeviceMemory(f"the GPU is out of memory in cublasLt{name}.")
    if status != SUCCESS:
        text = library().cublasLtGetStatusString(status).decode()
        raise devices.DeviceError(f"the GPU failed: cublasLt{name} returned status {status} ({text}).")


class Handle:
    """An object created by cublasLt<kind>Create, destroyed with this one."""

    def __init__(self, kind, *arguments):
        self.kind, self.value = kind, c_void_p()
        call(f"{kind}Create", byref(self.value), *arguments)

    @property
    def _as_parameter_(self):
        return self.value

    def __del__(self):
        if self.value and not sys.is_finalizing():  # the driver may be unloaded at exit
            getattr(library(), f"cublasLt{self.kind}Destroy")(self.value)


@cache
def context():
    """The library handle, which threads may share."""
    return Handle("")


def layout(kind, rows, columns, stride):
    """The layout of a column-major matrix whose columns are ``stride`` elements apart."""
    return Handle("MatrixLayout", kind, rows, columns, stride)


def descriptor(double, transpose_a, transpose_b, epilogue=PLAIN, bias=None, aux=None):
    """The descriptor of a product in float32, or in float64 if ``double``.

    ``bias`` is (device address, type), ``aux`` (device address, elements from one column to the next).
    """
    compute, scale = (COMPUTE_FLOAT64, FLOAT64) if double else (COMPUTE_FLOAT32, FLOAT32)
    operation = Handle("MatmulDesc", compute, scale)
    attributes = [
        (TRANSPOSE_A, c_int32(TRANSPOSE * transpose_a)),
        (TRANSPOSE_B, c_int32(TRANSPOSE * transpose_b)),
        (EPILOGUE, c_int32(epilogue)),
    ]
    if bias is not None:
        attributes += [(BIAS_POINTER, c_void_p(bias[0])), (BIAS_TYPE, c_int32(bias[1]))]
    if aux is not None:
        attributes += [(AUX_POINTER, c_void_p(aux[0])), (AUX_STRIDE, c_int64(aux[1]))]
    for attribute, value in attributes:
        call("MatmulDescSetAttribute", operation, attribute, byref(value), ctypes.sizeof(value))
    return operation


def preference(workspace_bytes, alignments):
    """Constraints on algorithms: bytes of workspace, and alignments of A, B, C and D in bytes."""
    constraints = Handle("MatmulPreference")
    n_workspace = c_uint64(workspace_bytes)
    call("MatmulPreferenceSetAttribute", constraints, WORKSPACE_BYTES, byref(n_workspace), ctypes.sizeof(n_workspace))
    for attribute, n_bytes in zip(MIN_ALIGNMENTS, alignments):
        value = ctypes.c_uint32(n_bytes)
        call("MatmulPreferenceSetAttribute", constraints, attribute, byref(value), ctypes.sizeof(value))
    return constraints


def best_algorithm(operation, layouts, preferred):
    """The first result of cuBLASLt's heuristic, or None if there is no algorithm."""
    best, count = HeuristicResult(), c_int()
    status = library().cublasLtMatmulAlgoGetHeuristic(
        context(), operation, *layouts, preferred, 1, byref(best), byref(count)
    )
    if status in (NOT_SUPPORTED, INVALID_VALUE) or (status == SUCCESS and count.value == 0):
        return None  # INVALID_VALUE: the epilogue does not exist for this type
    _check("MatmulAlgoGetHeuristic", status)
    return best if best.state == SUCCESS else None


def scalar(double, value):
    """A scaling factor of a product, in host memory."""
    return (c_double if double else c_float)(value)
