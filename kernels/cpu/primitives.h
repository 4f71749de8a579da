/* What the engine needs and Cython does not have: register tiles, transposition, sums by lanes, a barrier.
   The twin of numba/vectors.py, numba/tiles.py, numba/elementary.py and numba/primitives.py: the same names, the same
   results but for rounding. For GCC and Clang. */
#ifndef REAL

#ifndef FASTMLP_PRIMITIVES_H
#define FASTMLP_PRIMITIVES_H
#if __SIZEOF_POINTER__ != 8 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ /* as kernels/machine.py says at run time */
#error "fastmlp needs a 64-bit little-endian machine"
#endif
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(_WIN32)
#include <windows.h>
#define give_way() SwitchToThread()
#else
#include <sched.h>
#define give_way() sched_yield()
#endif

/* A tile's sums fill the registers: 32 of them with AVX-512 and NEON, else 16. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define TILE_ROWS 4
#else
#define VECTOR_BYTES 16
#if defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 4
#endif
#endif

/* The levels of x86-64 that setup.py compiles for, by the features that the engine gains from. */
#if defined(__x86_64__)
#define HAS(feature) __builtin_cpu_supports(feature)
static int has_x86_64_v3(void) { return HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2") && HAS("lzcnt"); }
static int has_x86_64_v4(void) {
    return has_x86_64_v3() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
}
#else
static int has_x86_64_v3(void) { return 0; }
static int has_x86_64_v4(void) { return 0; }
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Random numbers by counters: see engine/primitives.py. */
#define GOLDEN 0x9e3779b97f4a7c15ull
INLINE uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}
INLINE int64_t random_key(int64_t seed, int64_t step, int64_t stream) {
    const uint64_t of_step = mix((uint64_t)seed + GOLDEN * (uint64_t)(step + 1));
    return (int64_t)mix(of_step + GOLDEN * (uint64_t)(stream + 1));
}

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
INLINE int64_t flush_denormals(void) {
    const int64_t state = _mm_getcsr();
    _mm_setcsr((unsigned)state | 0x8040); /* results to 0, and operands */
    return state;
}
INLINE void restore_denormals(int64_t state) { _mm_setcsr((unsigned)state); }
#else
INLINE int64_t flush_denormals(void) { return 0; }
INLINE void restore_denormals(int64_t state) { (void)state; }
#endif

INLINE int64_t arrive(int64_t *counter) { return __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL); }
INLINE int64_t arrivals(int64_t *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }

#define REAL float
#define REDUCE(operation) _mm512_reduce_##operation##_ps
#define MAXIMUM _mm512_max_ps
#define BITS uint32_t
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define RECIPROCAL_BITS 0x7ef311c3u
#define NAMED(name) name##_float
#include "primitives.h"
#undef REAL
#undef BITS
#undef MANTISSA
#undef EXPONENT_BIAS
#undef RECIPROCAL_BITS
#undef NAMED
#undef REDUCE
#undef MAXIMUM
#define REAL double
#define REDUCE(operation) _mm512_reduce_##operation##_pd
#define MAXIMUM _mm512_max_pd
#define BITS uint64_t
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define RECIPROCAL_BITS 0x7fde6238502484bau
#define NAMED(name) name##_double
#include "primitives.h"
#undef REAL
#endif

#else /* once for each type of REAL */

#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL NAMED(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
typedef BITS NAMED(mask) __attribute__((vector_size(VECTOR_BYTES)));

INLINE NAMED(vector) NAMED(load)(const REAL *p) { return *(const NAMED(vector) *)p; }
INLINE void NAMED(store)(REAL *p, NAMED(vector) value) { *(NAMED(vector) *)p = value; }

/* 2^n by way of n's last bits as the exponent of another number: this vectorises. */
INLINE REAL NAMED(power_of_two)(REAL n) {
    REAL shifted = n + ((REAL)1.5 * ((BITS)1 << MANTISSA) + EXPONENT_BIAS), power;
    BITS bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= MANTISSA;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* A difference of bits turns the exponent's sign; the constant gives the mantissa the smallest error. */
INLINE REAL NAMED(reciprocal_estimate)(REAL z) {
    BITS bits;
    memcpy(&bits, &z, sizeof bits);
    bits = RECIPROCAL_BITS - bits;
    memcpy(&z, &bits, sizeof z);
    return z;
}

/* C (TILE_ROWS x n_vectors vectors) = start + A B, accumulated in registers over the whole inner dimension.
   Row k of B is at b + k b_stride. Element (i, k) of A is at a + rows[i] + k, or by column at a + rows[k] + i. */
#define TILE_ARGUMENTS                                                                                                \
    const REAL *a, const int64_t *rows, const int64_t *ahead, const REAL *b, ptrdiff_t b_stride, ptrdiff_t inner,      \
        const REAL *start, ptrdiff_t start_stride, REAL *out, ptrdiff_t out_stride

INLINE void NAMED(tile_body)(const int n_vectors, const int by_column, const int prefetching, TILE_ARGUMENTS) {
    NAMED(vector) sums[TILE_ROWS][TILE_VECTORS];
    const REAL *a_rows[TILE_ROWS];
    const ptrdiff_t line = 64 / sizeof(REAL);
    UNROLL for (int i = 0; i < TILE_ROWS; i++) {
        UNROLL for (int v = 0; v < n_vectors; v++) sums[i][v] = (NAMED(vector)){0};
        if (!by_column) a_rows[i] = a + rows[i];
    }
    for (ptrdiff_t k = 0; k < inner; k++, b += b_stride) {
        if (prefetching && (k & (line - 1)) == 0)
            UNROLL for (int i = 0; i < TILE_ROWS; i++) __builtin_prefetch(a + ahead[i] + k, 0, 2);
        const REAL *column = by_column ? a + rows[k] : a;
        NAMED(vector) row[TILE_VECTORS];
        UNROLL for (int v = 0; v < n_vectors; v++) row[v] = NAMED(load)(b + v * LANES);
        UNROLL for (int i = 0; i < TILE_ROWS; i++) {
            const REAL value = by_column ? column[i] : a_rows[i][k];
            UNROLL for (int v = 0; v < n_vectors; v++) sums[i][v] += row[v] * value;
        }
    }
    UNROLL for (int i = 0; i < TILE_ROWS; i++) {
        UNROLL for (int v = 0; v < n_vectors; v++)
            NAMED(store)(out + i * out_stride + v * LANES,
                         NAMED(load)(start + i * start_stride + v * LANES) + sums[i][v]);
    }
}

_Static_assert(TILE_VECTORS == 3, "tiles are made for 1, 2 and 3 vectors");
#define TILE(name, n_vectors, by_column, prefetching)                                                                \
    static __attribute__((noinline)) void NAMED(name)(TILE_ARGUMENTS) {                                              \
        NAMED(tile_body)(n_vectors, by_column, prefetching, a, rows, ahead, b, b_stride, inner, start, start_stride,   \
                         out, out_stride);                                                                           \
    }
TILE(row_tile_1, 1, 0, 0)
TILE(row_tile_2, 2, 0, 0)
TILE(row_tile_3, 3, 0, 0)
TILE(column_tile_1, 1, 1, 0)
TILE(column_tile_2, 2, 1, 0)
TILE(column_tile_3, 3, 1, 0)
TILE(prefetching_tile_1, 1, 0, 1)
TILE(prefetching_tile_2, 2, 0, 1)
TILE(prefetching_tile_3, 3, 0, 1)
#undef TILE

INLINE void NAMED(tile)(ptrdiff_t n_vectors, ptrdiff_t kind, TILE_ARGUMENTS) {
    static void (*const tiles[3][TILE_VECTORS])(TILE_ARGUMENTS) = { /* by kind: see engine/primitives.py */
        {NAMED(row_tile_1), NAMED(row_tile_2), NAMED(row_tile_3)},
        {NAMED(column_tile_1), NAMED(column_tile_2), NAMED(column_tile_3)},
        {NAMED(prefetching_tile_1), NAMED(prefetching_tile_2), NAMED(prefetching_tile_3)},
    };
    tiles[kind][n_vectors - 1](a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride);
}
#undef TILE_ARGUMENTS

/* out[j, i] = source[i, j] for a square of as many rows as a vector has lanes: each round interleaves the rows of the
   upper half with those of the lower, which shifts the bits of a number's row into those of its column. */
INLINE void NAMED(transpose_square)(const REAL *source, ptrdiff_t source_stride, REAL *out, ptrdiff_t out_stride) {
#if defined(__clang__)
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) out[j * out_stride + i] = source[i * source_stride + j];
#else
    NAMED(vector) rows[LANES], interleaved[LANES];
    NAMED(mask) low, high;
    UNROLL for (int j = 0; j < LANES; j++) {
        low[j] = j / 2 + j % 2 * LANES;
        high[j] = low[j] + LANES / 2;
    }
    UNROLL for (int i = 0; i < LANES; i++) rows[i] = NAMED(load)(source + i * source_stride);
    UNROLL for (int size = 1; size < LANES; size *= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            interleaved[2 * i] = __builtin_shuffle(rows[i], rows[i + LANES / 2], low);
            interleaved[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + LANES / 2], high);
        }
        UNROLL for (int i = 0; i < LANES; i++) rows[i] = interleaved[i];
    }
    UNROLL for (int i = 0; i < LANES; i++) NAMED(store)(out + i * out_stride, rows[i]);
#endif
}

/* In float64, by lanes: the order of additions depends on n alone. */
static double NAMED(sum_of_squares)(const REAL *p, ptrdiff_t n) {
    enum { COUNT = 16 };
    double lanes[COUNT] = {0}, total = 0;
    ptrdiff_t i = 0;
    for (; i + COUNT <= n; i += COUNT)
        UNROLL for (int lane = 0; lane < COUNT; lane++) lanes[lane] += (double)p[i + lane] * p[i + lane];
    for (; i < n; i++) total += (double)p[i] * p[i];
    for (int lane = 0; lane < COUNT; lane++) total += lanes[lane];
    return total;
}

/* Reductions by lanes, and of the lanes pairwise: few steps wait for each other. */
INLINE REAL NAMED(sum_lanes)(NAMED(vector) lanes) {
#if defined(__AVX512F__)
    return REDUCE(add)(lanes);
#else
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    return lanes[0];
#endif
}

INLINE REAL NAMED(dot)(const REAL *a, const REAL *b, ptrdiff_t n) {
    NAMED(vector) sums = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) sums += NAMED(load)(a + i) * NAMED(load)(b + i);
    return NAMED(sum_lanes)(sums);
}

INLINE REAL NAMED(sum_of)(const REAL *p, ptrdiff_t n) {
    NAMED(vector) sums = {0};
    REAL rest = 0;
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) sums += NAMED(load)(p + i);
    for (; i < n; i++) rest += p[i];
    return rest + NAMED(sum_lanes)(sums);
}

INLINE REAL NAMED(largest)(const REAL *p, ptrdiff_t n) {
    REAL top = p[0];
    ptrdiff_t i = 0;
#if defined(__AVX512F__)
    if (n >= LANES) {
        NAMED(vector) tops = NAMED(load)(p);
        for (i = LANES; i + LANES <= n; i += LANES) tops = MAXIMUM(NAMED(load)(p + i), tops);
        top = REDUCE(max)(tops);
    }
#endif
    for (; i < n; i++) top = p[i] > top ? p[i] : top;
    return top;
}

INLINE void NAMED(combine)(const REAL *rows, ptrdiff_t stride, const REAL *coefficients, ptrdiff_t n, REAL *out) {
    ptrdiff_t j = 0;
    for (; j + 4 * LANES <= stride; j += 4 * LANES) { /* four sums that need not wait for each other */
        NAMED(vector) sums[4];
        UNROLL for (int v = 0; v < 4; v++) sums[v] = NAMED(load)(out + j + v * LANES);
        for (ptrdiff_t i = 0; i < n; i++)
            UNROLL for (int v = 0; v < 4; v++)
                sums[v] += NAMED(load)(rows + i * stride + j + v * LANES) * coefficients[i];
        UNROLL for (int v = 0; v < 4; v++) NAMED(store)(out + j + v * LANES, sums[v]);
    }
    for (; j < stride; j += LANES) {
        NAMED(vector) sum = NAMED(load)(out + j);
        for (ptrdiff_t i = 0; i < n; i++) sum += NAMED(load)(rows + i * stride + j) * coefficients[i];
        NAMED(store)(out + j, sum);
    }
}

INLINE void NAMED(outer)(const REAL *column, ptrdiff_t n, const REAL *row, ptrdiff_t stride, REAL *out) {
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < stride; j += LANES)
            NAMED(store)(out + i * stride + j, NAMED(load)(row + j) * column[i]);
}

INLINE void NAMED(drop)(REAL *row, ptrdiff_t n, int64_t key, int64_t first, double rate) {
    const uint64_t limit = (uint64_t)ceil(rate * 16777216.0);
    const REAL scale = (REAL)(1 / (1 - rate));
    for (ptrdiff_t j = 0; j < n; j++) {
        const uint64_t bits = mix((uint64_t)key + GOLDEN * (uint64_t)(first + j + 1)) >> 40;
        row[j] = bits < limit ? 0 : row[j] * scale;
    }
}

INLINE void NAMED(fill_normal)(REAL *row, ptrdiff_t n, int64_t key, int64_t first) {
    for (ptrdiff_t j = 0; j < n; j++) {
        const uint64_t bits = mix((uint64_t)key + GOLDEN * (uint64_t)(first + j + 1));
        const double u = (double)((bits >> 40) + 1) / 16777216.0, v = (double)(bits & 0xffffff) / 16777216.0;
        row[j] = (REAL)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
}

#undef LANES
#endif
