/* Words of two bfloat16, and their products by AMX and AVX512_BF16. The twin of numba/bfloat16_tiles.py;
   engine/bfloat16_tiles.py says how tiles are laid out, engine/primitives.py what each function promises. */
#ifndef FASTMLP_BFLOAT16_TILES_H
#define FASTMLP_BFLOAT16_TILES_H
#include "primitives.h"

#define WORDS_OF_TILE 256
#define AMX_CODE 2 /* AMX_UNIT of the engine, which declares it later */

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
INLINE float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
#define UPPER_HALF 0xffff0000u
/* Adds half of the last bit that stays, less 1 if that bit is 0: the upper half is then rounded, ties to even. */
#define ROUNDED(bits) ((bits) + 0x7fff + ((bits) >> 16 & 1))

/* NaN for a NaN, whatever its rounded bits. */
INLINE float lower_term_float(float x) { return x - of_bits(ROUNDED(bits_of(x)) & UPPER_HALF); }

/* The bits of a NaN, rounded, may be those of infinity or 0: it gets all bits instead. */
INLINE mask_float rounded(vector_float v) { return ROUNDED((mask_float)v) | (mask_float)(v != v); }
#define PAIRS(x, y) (vector_float)((x) >> 16 | ((y) & UPPER_HALF))
/* Loads come before stores: the compiler need not ask whether they overlap. */
INLINE void pack_row_float(const float *x, const float *y, ptrdiff_t n_terms, float *to) {
    enum { COUNT = VECTOR_BYTES / sizeof(float) };
    UNROLL for (int j = 0; j < 16; j += COUNT) {
        const vector_float first = load_float(x + j), second = load_float(y + j);
        const mask_float upper = rounded(first), upper_second = rounded(second);
        store_float(to + j, PAIRS(upper, upper_second));
        if (n_terms > 1) {
            const vector_float rest = first - (vector_float)(upper & UPPER_HALF);
            const vector_float rest_second = second - (vector_float)(upper_second & UPPER_HALF);
            store_float(to + WORDS_OF_TILE + j, PAIRS(rounded(rest), rounded(rest_second)));
        }
    }
}

#define TILE_ARGUMENTS                                                                                                \
    const float *a, const float *b, ptrdiff_t step, ptrdiff_t n_tiles, const float *start, float *out, ptrdiff_t stride

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define MULTIPLIES_TILES 1
#define AMX __attribute__((target("amx-tile,amx-bf16"), noinline))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bf16"), noinline))

/* A palette, and 16 rows of 64 bytes for each of the 8 registers. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;

/* The operand is the whole structure: some versions of the intrinsics name only a part of it as read or written. */
static AMX void amx_open(tile_configuration *saved) {
    tile_configuration wanted = {.palette = 1};
    for (int i = 0; i < 8; i++) wanted.row_bytes[i] = 64, wanted.rows[i] = 16;
    __asm__ volatile("sttilecfg %0" : "=m"(*saved));
    __asm__ volatile("ldtilecfg %0" ::"m"(wanted));
}
static AMX void amx_close(const tile_configuration *saved) {
    if (saved->palette) __asm__ volatile("ldtilecfg %0" ::"m"(*saved));
    else __asm__ volatile("tilerelease");
}

/* Registers 0 to 3 hold the sums, 4 and 5 tiles of rows, 6 and 7 tiles of columns. */
#define LOAD(number, from, stride)                                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #number ::"r"(from), "r"((ptrdiff_t)(stride)) : "memory")
#define STORE(number, to, stride)                                                                                     \
    __asm__ volatile("tilestored %%tmm" #number ", (%0,%1,1)" ::"r"(to), "r"((ptrdiff_t)(stride)) : "memory")
#define MULTIPLY(sum, row, column) __asm__ volatile("tdpbf16ps %%tmm" #column ", %%tmm" #row ", %%tmm" #sum ::)
#define ROW_BYTES 64

#define AMX_BODY static inline __attribute__((always_inline, target("amx-tile,amx-bf16")))
/* Adds the products of one term of A and one of B to the sums; ``new_columns`` is 0 if the last call has loaded B. */
AMX_BODY void amx_products(const int n_left, const int n_right, const int new_columns, const float *a, const float *b,
                           ptrdiff_t step) {
    LOAD(4, a, ROW_BYTES);
    if (new_columns) LOAD(6, b, ROW_BYTES);
    MULTIPLY(0, 4, 6);
    if (new_columns && n_right > 1) LOAD(7, b + step, ROW_BYTES);
    if (n_right > 1) MULTIPLY(1, 4, 7);
    if (n_left > 1) LOAD(5, a + step, ROW_BYTES);
    if (n_left > 1) MULTIPLY(2, 5, 6);
    if (n_left > 1 && n_right > 1) MULTIPLY(3, 5, 7);
}
AMX_BODY void amx_body(const int n_terms, const int n_left, const int n_right, TILE_ARGUMENTS) {
    float *lower = out + 16 * stride;
    LOAD(0, start, 0);
    if (n_right > 1) LOAD(1, start + 16, 0);
    if (n_left > 1) LOAD(2, start, 0);
    if (n_left > 1 && n_right > 1) LOAD(3, start + 16, 0);
    for (ptrdiff_t t = 0; t < n_tiles; t++, a += n_terms * WORDS_OF_TILE, b += n_terms * WORDS_OF_TILE) {
        if (n_terms > 1) { /* what is smaller comes first */
            amx_products(n_left, n_right, 1, a, b + WORDS_OF_TILE, step);
            amx_products(n_left, n_right, 1, a + WORDS_OF_TILE, b, step);
        }
        amx_products(n_left, n_right, n_terms == 1, a, b, step);
    }
    STORE(0, out, 4 * stride);
    if (n_right > 1) STORE(1, out + 16, 4 * stride);
    if (n_left > 1) STORE(2, lower, 4 * stride);
    if (n_left > 1 && n_right > 1) STORE(3, lower + 16, 4 * stride);
}

#define AMX_TILES(n_terms, n_left, n_right)                                                                           \
    static AMX void amx_tiles_##n_terms##n_left##n_right(TILE_ARGUMENTS) {                                            \
        amx_body(n_terms, n_left, n_right, a, b, step, n_tiles, start, out, stride);                                  \
    }
AMX_TILES(1, 1, 1)
AMX_TILES(1, 1, 2)
AMX_TILES(1, 2, 1)
AMX_TILES(1, 2, 2)
AMX_TILES(2, 1, 1)
AMX_TILES(2, 1, 2)
AMX_TILES(2, 2, 1)
AMX_TILES(2, 2, 2)

INLINE void amx_tiles_float(ptrdiff_t n_terms, ptrdiff_t n_left, ptrdiff_t n_right, TILE_ARGUMENTS) {
    static void (*const tiles[2][2][2])(TILE_ARGUMENTS) = {
        {{amx_tiles_111, amx_tiles_112}, {amx_tiles_121, amx_tiles_122}},
        {{amx_tiles_211, amx_tiles_212}, {amx_tiles_221, amx_tiles_222}},
    };
    tiles[n_terms - 1][n_left - 1][n_right - 1](a, b, step, n_tiles, start, out, stride);
}

INLINE void open_tiles(ptrdiff_t unit, int64_t *saved) {
    if (unit == AMX_CODE) amx_open((tile_configuration *)saved);
}
INLINE void close_tiles(ptrdiff_t unit, const int64_t *saved) {
    if (unit == AMX_CODE) amx_close((const tile_configuration *)saved);
}

/* Adds the products of one term of A and one of B to the sums of a tile. */
#define AVX512_BF16_BODY static inline __attribute__((always_inline, target("avx512f,avx512bf16")))
AVX512_BF16_BODY void add_products(__m512 *sums, const float *a, const float *b) {
    for (int j = 0; j < 16; j++) {
        const __m512i row = _mm512_loadu_si512(b + 16 * j);
        UNROLL for (int i = 0; i < 16; i++) {
            int32_t word;
            memcpy(&word, a + 16 * i + j, sizeof word);
            sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)_mm512_set1_epi32(word), (__m512bh)row);
        }
    }
}
static AVX512_BF16 void bfloat16_tile_float(ptrdiff_t n_terms, const float *a, const float *b, ptrdiff_t n_tiles,
                                            const float *start, float *out, ptrdiff_t stride) {
    __m512 sums[16];
    UNROLL for (int i = 0; i < 16; i++) sums[i] = _mm512_loadu_ps(start);
    for (ptrdiff_t t = 0; t < n_tiles; t++, a += n_terms * WORDS_OF_TILE, b += n_terms * WORDS_OF_TILE) {
        if (n_terms > 1) {
            add_products(sums, a, b + WORDS_OF_TILE);
            add_products(sums, a + WORDS_OF_TILE, b);
        }
        add_products(sums, a, b);
    }
    UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_ps(out + i * stride, sums[i]);
}
#else
#define MULTIPLIES_TILES 0 /* the functions below do nothing, and must not be called */
static inline void amx_tiles_float(ptrdiff_t n_terms, ptrdiff_t n_left, ptrdiff_t n_right, TILE_ARGUMENTS) {}
static inline void bfloat16_tile_float(ptrdiff_t n_terms, const float *a, const float *b, ptrdiff_t n_tiles,
    const float *start, float *out, ptrdiff_t stride) {}
static inline void open_tiles(ptrdiff_t unit, int64_t *saved) {}
static inline void close_tiles(ptrdiff_t unit, const int64_t *saved) {}
#endif
#endif
