"""Primitives that each compiler supplies, and the names of the engine's types.

Numba's are in numba/vectors.py, numba/tiles.py, numba/primitives.py and numba/rule_loops.py; Cython's in
cpu/primitives.h and cpu/engine.pyx, and tools/generate_engine.py writes the loops around each rule. Nothing here is
ever called: Python only needs the names, readers what they promise.

``Vector`` points to numbers of the network's dtype, ``Number`` is one of them, ``Integers`` points to int64,
``Indices`` to int32, ``Doubles`` to float64. Local names without annotation are integers.
"""

Vector = Number = Integers = Indices = Doubles = bint = None


def at(pointer, offset):
    """pointer + offset, counted in numbers or records."""


def lanes(pointer):
    """Number of elements in a SIMD vector."""


def tile_rows():
    """Rows of a tile."""


# Operands A of a tile: by rows, by columns, and by rows while others are loaded into the cache.
BY_ROW, BY_COLUMN, PREFETCHING = range(3)


def tile(n_vectors, kind, a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride):
    """out = start + A B for tile_rows() rows and up to TILE_VECTORS vectors of columns, in registers over ``inner``.

    Row k of B is at b + k b_stride. Element (i, k) of A is at a + rows[i] + k, or by column at a + rows[k] + i. The
    kind PREFETCHING loads as many numbers from each a + ahead[i] on into the cache meanwhile.
    """


def copy(source, n, out):
    """n numbers; the two must not overlap."""


def transpose_square(source, source_stride, out, out_stride):
    """out[j, i] = source[i, j] for a square of as many rows as a vector has lanes."""


def sum_of_squares(vector, n):
    """In float64, in an order of additions that depends on n alone."""


def dot(a, b, n):
    """Dot product of two rows of ``n`` SIMD vectors, by lanes."""


def combine(rows, stride, coefficients, n, out):
    """out += sum over i < n of coefficients[i] rows[i], rows of ``stride`` numbers, a multiple of the SIMD width."""


def outer(column, n, row, stride, out):
    """out = column row^T, for n rows of ``stride`` numbers, a multiple of the SIMD width."""


def random_key(seed, step, stream):
    """Key of the random numbers of one purpose in one step: mix(mix(seed + G (step + 1)) + G (stream + 1)).

    With G = 0x9e3779b97f4a7c15, modulo 2^64, and mix the finisher of SplitMix64 (Steele, Lea & Flood 2014).
    """


def random_integer(draw, generator):
    """The next 32 random bits of a generator of NumPy, by the address of its function ``next_uint32`` and its state."""


def drop(row, n, key, first, rate):
    """row[j] <- 0 where u < rate, else row[j] / (1 - rate), with u = (mix(key + G (first + j + 1)) >> 40) / 2^24."""


def fill_normal(row, n, key, first):
    """row[j] <- sqrt(-2 log u) cos(2 pi v) (Box & Muller 1958), computed in float64.

    With h = mix(key + G (first + j + 1)), u = ((h >> 40) + 1) / 2^24 and v = (h mod 2^24) / 2^24.
    """


def flush_denormals():
    """Treat denormal numbers as 0 in this thread; return the previous state.

    They cost a hundred times as much, and moments of units that get no gradient decay into that range.
    """


def restore_denormals(state):
    """Restore the state before ``flush_denormals``."""


def arrive(counter):
    """Atomically counter[0] += 1."""


def arrivals(counter):
    """Atomically counter[0]."""


def give_way():
    """Let another thread have the processor."""


# Words of two bfloat16 (engine/bfloat16_tiles.py), in float32; with float64 they are never used.


def pack_row(x, y, n_terms, to):
    """A row of a tile: 16 words of x[j] and y[j], rounded to bfloat16 (ties to even); x takes the lower half.

    With two terms, 256 words further the same follows of what the rounding has left over.
    """


def lower_term(x):
    """x less itself rounded to bfloat16."""


def open_tiles(unit, saved):
    """Prepare this thread for ``unit``; the registers' configuration so far goes to ``saved``, 64 bytes."""


def close_tiles(unit, saved):
    """Restore what ``open_tiles`` has saved."""


def amx_tiles(n_terms, n_left, n_right, a, b, step, n_tiles, start, out, stride):
    """out = start + A B for 1 or 2 tiles of rows and of columns, on AMX; each row of the sum starts from the same row.

    From the first tiles of A and of B to the second ones it is ``step`` words; rows of ``out`` are ``stride`` apart.
    """


def bfloat16_tile(n_terms, a, b, n_tiles, start, out, stride):
    """The same for one tile of each, by the instructions of AVX512_BF16."""


# Loops around the rules, which go by a code: a number of their table in Cython, an address in Numba, NO_RULE for none.
NO_RULE = 0


def activate(code, z, rows, columns, stride):
    """z <- f(z) for rows of ``columns`` numbers, ``stride`` apart."""


def activate_trainable(code, z, own, step, derivative, slope_derivative, n):
    """A row z <- f(z, p) with the parameter p = own[j step]; da/dz goes to derivative and da/dp to slope_derivative."""


def derive(code, a, delta, rows, columns, stride):
    """delta <- delta f'(a), from dLoss/da to dLoss/dz."""


def weighted_loss(code, prediction, target, weight, delta, n, options):
    """Weighted loss of a row of n outputs, in float64; its derivative goes to delta."""


def apply_update(code, w, g, slots, stride, n, rate, options):
    """One step of an optimizer for n parameters; their slots are ``stride`` apart."""


def step_rate(code, learning_rate, step, options):
    """The rate of one step, in float64."""
