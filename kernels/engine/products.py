"""Matrix products by tiles in registers, on operands in rows: what dense layers are made of.

Compiled twice, like the rules: by Numba as it stands, and by Cython with the types that the annotations name.

The engine's buffers have rows padded to SIMD vectors, and a number of rows padded to whole tiles: a tile never needs
a mask. What lies in the padding is never used.

``product`` and the two functions around it are the innermost ones, and take their operands one by one: others take
records (engine/records.py), which would have to be filled here for each layer of each batch.
"""

from __future__ import annotations

from .primitives import (
    BY_COLUMN,
    BY_ROW,
    NO_RULE,
    Integers,
    Vector,
    activate,
    at,
    bint,
    copy,
    derive,
    lanes,
    tile,
    tile_rows,
    transpose_square,
)

TILE_VECTORS = 3  # of columns in the widest tile
DEPTH = 1024  # of a product's inner dimension per pass
ROWS = 512  # of a product per pass, where operands are too large for the caches


def pack(b: Vector, stride: int, depth: int, columns: int, width: int, panel: Vector) -> None:
    """Copy ``columns`` columns of B into rows of ``width``, filled up with zeros."""
    T = type(b[0])
    if columns < width:
        for j in range(depth * width):
            panel[j] = T(0)
    for k in range(depth):
        source: Vector = at(b, k * stride)
        packed: Vector = at(panel, k * width)
        for j in range(columns):
            packed[j] = source[j]


def pack_transposed(b: Vector, stride: int, depth: int, columns: int, width: int, panel: Vector) -> None:
    """Like the function above for B given as its transpose: column j is row j at b."""
    T = type(b[0])
    step = lanes(b)
    whole = depth // step * step if columns == width else 0
    if columns < width:
        for j in range(depth * width):
            panel[j] = T(0)
    for j in range(0, columns, step):
        for k in range(0, whole, step):
            transpose_square(at(b, j * stride + k), stride, at(panel, k * width + j), width)
    for k in range(whole, depth):
        packed: Vector = at(panel, k * width)
        for j in range(columns):
            packed[j] = b[j * stride + k]


def pack_columns(a: Vector, rows: Integers, depth: int, n: int, block: Vector) -> None:
    """Copy columns of A, each row k of which begins at a + rows[k], into strips as wide as a tile is high."""
    height = tile_rows()
    for i in range(0, n, height):
        for k in range(depth):
            source: Vector = at(a, rows[k] + i)
            copy(source, height, at(block, i * depth + k * height))


def product(
    a: Vector, rows: Integers, ahead: Integers, kind: int, first_row: int, stop_row: int, inner: int, b: Vector,
    b_stride: int, transposed: bint, packed: bint, strips: Integers, first: int, stop: int, bias: Vector, biased: bint,
    out: Vector, out_stride: int, scratch: Vector,
) -> None:  # fmt: skip
    """out[i, j] = bias[j] + sum over k < inner of A[i, k] B[k, j], for rows and columns from first to stop.

    Element (i, k) of A is at a + rows[i] + k, or by column at a + rows[k] + i; see ``tile`` for ``kind`` and ``ahead``.
    B is at b in rows of ``b_stride``, or its transpose is. ``packed`` asks for copies of B by panels and of a by-column
    A by strips, where operands are large; ``strips`` holds where each row of a strip begins. Sums are made in passes,
    in the same order whatever part of ``out`` is asked for.
    """
    T = type(out[0])
    step = lanes(out)
    by_column = kind == BY_COLUMN
    start: Vector = scratch
    panel: Vector = at(scratch, TILE_VECTORS * step)
    strip: Vector = at(scratch, TILE_VECTORS * step * (DEPTH + 1))
    for c in range(TILE_VECTORS * step):
        start[c] = T(0)  # and what biases leave behind a narrower panel is in its padding
    for k in range(0, inner, DEPTH):
        depth = min(DEPTH, inner - k)
        if by_column and packed:
            pack_columns(a, at(rows, k), depth, stop_row, strip)
        j = first
        while j < stop:
            left = (stop - j + step - 1) // step
            n_vectors = 3 if left == 3 or left > 4 else min(left, 2)  # 4 are 2 + 2
            columns = min(n_vectors * step, stop - j)
            block: Vector = panel
            block_stride = n_vectors * step
            if transposed:
                pack_transposed(at(b, j * b_stride + k), b_stride, depth, columns, block_stride, panel)
            elif packed or columns % step != 0:
                pack(at(b, k * b_stride + j), b_stride, depth, columns, block_stride, panel)
            else:
                block = at(b, k * b_stride + j)
                block_stride = b_stride
            if biased:
                for c in range(columns):
                    start[c] = bias[j + c]
            for i in range(first_row, stop_row, tile_rows()):
                to: Vector = at(out, i * out_stride + j)
                column: Vector = at(a, i if by_column else k)
                offsets: Integers = at(rows, k if by_column else i)
                if by_column and packed:
                    column = at(strip, i * depth)
                    offsets = strips
                tile(
                    n_vectors, kind if j == first else by_column, column, offsets, at(ahead, i), block, block_stride,
                    depth, start if k == 0 else to, 0 if k == 0 else out_stride, to, out_stride,
                )  # fmt: skip
            j += columns


def dense_rows(
    a: Vector, rows: Integers, ahead: Integers, kind: int, first_row: int, stop_row: int, fan_in: int, fan_out: int,
    W: Vector, b: Vector, packed: bint, activation: int, out: Vector, stride: int, scratch: Vector,
) -> None:  # fmt: skip
    """A layer's outputs f(A W + b) for some rows, or A W + b where f is NO_RULE."""
    for i in range(first_row, stop_row, ROWS):
        end = min(i + ROWS, stop_row)
        product(
            a, rows, ahead, kind, i, end, fan_in, W, fan_out, 0, packed, rows, 0, fan_out, b, 1, out, stride, scratch
        )
        if activation != NO_RULE:
            activate(activation, at(out, i * stride), end - i, fan_out, stride)


def delta_rows(
    delta: Vector, rows: Integers, first_row: int, stop_row: int, fan_in: int, fan_out: int, W: Vector,
    activation: int, a: Vector, out: Vector, stride: int, scratch: Vector,
) -> None:  # fmt: skip
    """dLoss/dz of the layer below, f'(a) * (delta W^T), for some rows, or dLoss/da where f is NO_RULE."""
    for i in range(first_row, stop_row, ROWS):
        end = min(i + ROWS, stop_row)
        product(
            delta, rows, rows, BY_ROW, i, end, fan_out, W, fan_out, 1, 1, rows, 0, fan_in, W, 0, out, stride, scratch
        )
        if activation != NO_RULE:
            derive(activation, at(a, i * stride), at(out, i * stride), end - i, fan_in, stride)
