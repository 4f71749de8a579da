"""Single operations of a training step by a compiled engine: products, activations and their derivatives."""

import numpy as np

from fastmlp.kernels.engine.plan import is_packed, row_stride
from fastmlp.kernels.engine.products import DEPTH, TILE_VECTORS
from fastmlp.kernels.spec import Network, activation_row, aligned_zeros


def _padded(engine, array):
    """A copy padded like the engine's buffers: rows to SIMD vectors, their number to whole tiles."""
    height, itemsize = engine.tile_rows, array.dtype.itemsize
    lanes = engine.vector_bytes // itemsize
    columns = row_stride(array.shape[1], max(lanes, height), itemsize)
    copy = aligned_zeros((-(-array.shape[0] // height) * height, columns), array.dtype)
    copy[: array.shape[0], : array.shape[1]] = array
    return copy


def prepared_product(engine, A, B, bias, by_column=False, transposed=False):
    """(function that computes A B + bias in one thread, its padded output buffer).

    A is given as its transpose with ``by_column``, B with ``transposed``.
    """
    shape = A.shape[1] if by_column else A.shape[0], B.shape[0] if transposed else B.shape[1]
    inner = A.shape[0] if by_column else A.shape[1]
    n_weights = shape[0] * shape[1] if by_column else B.size  # a gradient has the shape of the weights
    packed = is_packed(n_weights * B.dtype.itemsize, len(A))  # A has a row for each sample
    A, out = _padded(engine, A), _padded(engine, np.zeros(shape, A.dtype))
    lanes = engine.vector_bytes // A.dtype.itemsize
    scratch = TILE_VECTORS * lanes * (DEPTH + 1) + (len(out) * DEPTH if packed and by_column else 0)
    arguments = (
        A, np.arange(len(A)) * A.shape[1], by_column, len(out), inner, B, transposed, packed,
        np.arange(inner) * engine.tile_rows, shape[1], bias, out, aligned_zeros(scratch, A.dtype),
    )  # fmt: skip
    return lambda: engine.entries.run_product(*arguments), out


def product(engine, A, B, bias, **how):
    run, out = prepared_product(engine, A, B, bias, **how)
    run()
    return out


def activation_codes(engine, activation, dtype):
    """(code of the activation, code of its derivative); not for activations with a trainable slope."""
    if activation_row(activation).trainable is not None:
        raise ValueError(f"activation {activation!r} has a trainable slope: it is not a function of z alone.")
    codes = engine.network_codes(Network((1, 1), (activation,), "squared_error"), dtype)
    return codes.activations[0], codes.derivatives[0]
