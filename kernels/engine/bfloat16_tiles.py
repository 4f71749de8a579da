"""Matrix products of operands that are rounded to bfloat16, or to sums of two of them (matmul_precision).

An operand is packed into tiles of 16 x 16 words, each a pair of bfloat16. Along the inner dimension of the product a
tile holds 32 numbers, and word j of them holds numbers j and j + 16: then packing takes no shuffles, and the order of
a sum does not matter. A left operand has the inner dimension along the rows of its tiles, a right one down their
columns; tiles that follow each other along it are contiguous. With two terms to a number, each tile of first terms is
followed by that of the second ones. What is missing at the edges is 0.

Two units take these tiles: AMX, and the instructions of AVX512_BF16. Without either the engine's own products take
operands that are rounded in float32 (engine/reduced_precision.py).

Compiled twice, like engine/products.py.
"""

from __future__ import annotations

from .primitives import (
    Integers,
    Vector,
    amx_tiles,
    at,
    bfloat16_tile,
    bint,
    lanes,
    pack_row,
    transpose_square,
)

SIDE = 16  # rows and columns of a tile
INNER = 32  # numbers along the inner dimension of a tile
WORDS = 256  # of a tile
TILE_SCRATCH = 2 * SIDE + 2 * WORDS  # numbers that these functions need: two parts of rows, and a tile of two terms
FLOAT_UNIT, BFLOAT16_UNIT, AMX_UNIT = range(3)


def part_at(M: Vector, rows: Integers, n_rows: int, n_columns: int, i: int, j: int, zeros: Vector) -> Vector:
    """At least 16 numbers of row i of M from column j on: M's own, or if it has fewer a copy in ``zeros``."""
    T = type(M[0])
    n = n_columns - j if i < n_rows else 0
    source: Vector = at(M, rows[min(i, n_rows - 1)] + j)
    if n >= SIDE:
        return source
    for c in range(SIDE):
        zeros[c] = T(0)
    for c in range(n):
        zeros[c] = source[c]
    return zeros


def transpose_tiles(source: Vector, n_terms: int, to: Vector) -> None:
    """Transpose the tile of each term, by squares that fill the SIMD vectors."""
    step = min(lanes(source), SIDE)
    for term in range(n_terms):
        straight: Vector = at(source, term * WORDS)
        transposed: Vector = at(to, term * WORDS)
        for i in range(0, SIDE, step):
            for j in range(0, SIDE, step):
                transpose_square(at(straight, i * SIDE + j), SIDE, at(transposed, j * SIDE + i), SIDE)


def pack_along(
    M: Vector, rows: Integers, n_rows: int, n_columns: int, n_terms: int, transposed: bint, step: int, out: Vector,
    scratch: Vector,
) -> None:  # fmt: skip
    """Pack M, row i of which is at M + rows[i], with the inner dimension along its columns.

    It becomes a left operand, or with ``transposed`` the right operand M^T. From one 16 rows to the next it is ``step``
    words in ``out``.
    """
    x: Vector = scratch
    y: Vector = at(scratch, SIDE)
    straight: Vector = at(scratch, 2 * SIDE)
    for first in range(0, n_rows, SIDE):
        for k in range(0, n_columns, INNER):
            to: Vector = at(out, first // SIDE * step + k // INNER * n_terms * WORDS)
            packed: Vector = straight if transposed else to
            for i in range(SIDE):
                pack_row(
                    part_at(M, rows, n_rows, n_columns, first + i, k, x),
                    part_at(M, rows, n_rows, n_columns, first + i, k + SIDE, y), n_terms, at(packed, i * SIDE),
                )  # fmt: skip
            if transposed:
                transpose_tiles(straight, n_terms, to)


def pack_down(
    M: Vector, rows: Integers, n_rows: int, n_columns: int, n_terms: int, transposed: bint, step: int, out: Vector,
    scratch: Vector,
) -> None:  # fmt: skip
    """The same with the inner dimension down the rows of M: the right operand M, or with ``transposed`` the left one
    M^T. From one 16 columns to the next it is ``step`` words."""
    x: Vector = scratch
    y: Vector = at(scratch, SIDE)
    straight: Vector = at(scratch, 2 * SIDE)
    for k in range(0, n_rows, INNER):
        for first in range(0, n_columns, SIDE):
            to: Vector = at(out, first // SIDE * step + k // INNER * n_terms * WORDS)
            packed: Vector = straight if transposed else to
            for i in range(SIDE):
                pack_row(
                    part_at(M, rows, n_rows, n_columns, k + i, first, x),
                    part_at(M, rows, n_rows, n_columns, k + SIDE + i, first, y), n_terms, at(packed, i * SIDE),
                )  # fmt: skip
            if transposed:
                transpose_tiles(straight, n_terms, to)


def multiply_tiles(
    unit: int, n_terms: int, left: Vector, right: Vector, step: int, n_tiles: int, n_rows: int, n_columns: int,
    bias: Vector, biased: bint, out: Vector, stride: int, scratch: Vector,
) -> None:  # fmt: skip
    """out = bias + left right, ``n_tiles`` tiles deep.

    From one 16 rows or columns to the next it is ``step`` words in both operands. ``stride`` is a multiple of 16, and
    ``out`` has room for a multiple of 16 rows.
    """
    T = type(out[0])
    start: Vector = scratch
    for j in range(0, n_columns, 2 * SIDE):
        n_right = min(2, (n_columns - j + SIDE - 1) // SIDE)
        b: Vector = at(right, j // SIDE * step)
        for c in range(2 * SIDE):
            start[c] = bias[j + c] if biased and j + c < n_columns else T(0)
        for i in range(0, n_rows, 2 * SIDE):
            n_left = min(2, (n_rows - i + SIDE - 1) // SIDE)
            a: Vector = at(left, i // SIDE * step)
            to: Vector = at(out, i * stride + j)
            if unit == AMX_UNIT:
                amx_tiles(n_terms, n_left, n_right, a, b, step, n_tiles, start, to, stride)
            else:
                for r in range(n_left):
                    for c in range(n_right):
                        bfloat16_tile(
                            n_terms, at(a, r * step), at(b, c * step), n_tiles, at(start, c * SIDE),
                            at(to, r * SIDE * stride + c * SIDE), stride,
                        )  # fmt: skip
