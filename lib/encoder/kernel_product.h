/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_product.h - a few rows of a block times a panel, in vector registers
 *
 * AVX-512: 14 rows of two vectors are 28 sums; with the two vectors of the panel's row and one
 * broadcast unit they fill the 32 registers. AVX2: 6 rows of two vectors, 12 sums of 16 registers,
 * in two passes, because a panel's row is four vectors. Each multiply-add needs about half a load.
 * One body, compiled for each height, because only then the sums stay in registers.
 */
#pragma once

#include "lib/encoder/kernel_engine.h"
#include "lib/encoder/kernel_vec.h"

enum {
	PRODUCT_ROWS = VF_LANES == 16 ? 14 : 6,
	PRODUCT_PASS_BYTES = 2 * VF_LANES * 4, /* of a panel's row that one pass takes */
	/* How far ahead of its reading a panel is asked for, in bytes: the hardware's own prefetch
	 * stops at the end of a page. */
	PRODUCT_AHEAD = 6144,
};

/* What a unit of a block and a unit of a panel's column make. */
enum product_dot {
	DOT_F32,
	DOT_WIDE, /* two floats with two bf16, widened */
	DOT_BF16,
	DOT_BYTES,
};

static ALWAYS_INLINE vi
product_fma(vi sum, vi a, vi b)
{
	return vi_of_bits(vf_fma(vf_of_bits(a), vf_of_bits(b), vf_of_bits(sum)));
}

static ALWAYS_INLINE vi
product_dot(const enum product_dot kind, vi sum, vi a, vi b)
{
#ifdef __AVX512BF16__
	if (kind == DOT_BF16)
		return vi_of_bits(_mm512_dpbf16_ps(vf_of_bits(sum), (__m512bh)a, (__m512bh)b));
#endif
#if defined(__AVX512VNNI__)
	if (kind == DOT_BYTES)
		return _mm512_dpbusd_epi32(sum, a, b);
#elif defined(__AVXVNNI__)
	if (kind == DOT_BYTES)
		return _mm256_dpbusd_avx_epi32(sum, a, b);
#endif
	(void)kind;
	return product_fma(sum, a, b);
}

/*
 * The rows of a block are written out, each with two sums of its own name: of sums in an array not
 * every compiler makes registers. `rows` is known where product_pass is inlined.
 */
#if VF_IS_512
#define PRODUCT_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)
#else
#define PRODUCT_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5)
#endif

#define PRODUCT_ZERO(r) vi left##r = vi_set(0), right##r = vi_set(0);
#define PRODUCT_STEP(r)                                                                            \
	if (r < rows) {                                                                            \
		vi x = vi_set((int32_t)a[r]);                                                      \
                                                                                                   \
		left##r = product_dot(kind, left##r, x, b0);                                       \
		right##r = product_dot(kind, right##r, x, b1);                                     \
	}
#define PRODUCT_STORE(r)                                                                           \
	if (r < rows) {                                                                            \
		vi_store(tile + r * stride, left##r);                                              \
		vi_store(tile + r * stride + VF_LANES, right##r);                                  \
	}

static ALWAYS_INLINE void
product_pass(const enum product_dot kind, uint32_t *tile, size_t stride, const uint32_t *a,
	const uint8_t *panel, size_t units, const unsigned rows)
{
	const vi high = vi_set((int32_t)0xffff0000);

	PRODUCT_EACH(PRODUCT_ZERO)
	for (size_t u = 0; u < units; u++) {
		vi b0 = vi_load(panel), b1 = vi_load(panel + VF_LANES * 4);

		_mm_prefetch((const char *)panel + PRODUCT_AHEAD, _MM_HINT_T0);
		if (PRODUCT_PASS_BYTES > 64)
			_mm_prefetch((const char *)panel + PRODUCT_AHEAD + 64, _MM_HINT_T0);
		panel += IMAGE_ROW_BYTES;
		if (kind == DOT_WIDE) {
			/* The low bf16 moved up, then the high one without the low. */
			vi high0 = vi_and(b0, high), high1 = vi_and(b1, high);

			b0 = vi_shl(b0, 16);
			b1 = vi_shl(b1, 16);
			PRODUCT_EACH(PRODUCT_STEP)
			a += rows;
			b0 = high0;
			b1 = high1;
		}
		PRODUCT_EACH(PRODUCT_STEP)
		a += rows;
	}
	PRODUCT_EACH(PRODUCT_STORE)
}

static ALWAYS_INLINE void
product_rows(const enum product_dot kind, uint32_t *tile, size_t stride, const uint32_t *a,
	const uint8_t *panel, size_t units, const unsigned rows)
{
	for (size_t at = 0; at < IMAGE_ROW_BYTES; at += PRODUCT_PASS_BYTES)
		product_pass(kind, tile + at / 4, stride, a, panel + at, units, rows);
}

/* PRODUCT_OF_F32(name) and its like: the product of an engine, for every height of a block. */
#define PRODUCT_DEFINE(name, CASE)                                                                 \
	static void name(void *tile, size_t stride, const void *block, const uint8_t *panel,       \
		size_t units, unsigned rows)                                                       \
	{                                                                                          \
		switch (rows) {                                                                    \
			PRODUCT_EACH(CASE)                                                      \
		}                                                                                  \
	}
/* The body for n + 1 rows. */
#define PRODUCT_CASE(kind, n)                                                                      \
	case n + 1:                                                                                \
		product_rows(kind, tile, stride, block, panel, units, n + 1);                        \
		break;
#define PRODUCT_CASE_F32(n) PRODUCT_CASE(DOT_F32, n)
#define PRODUCT_CASE_WIDE(n) PRODUCT_CASE(DOT_WIDE, n)
#define PRODUCT_CASE_BF16(n) PRODUCT_CASE(DOT_BF16, n)
#define PRODUCT_CASE_BYTES(n) PRODUCT_CASE(DOT_BYTES, n)
#define PRODUCT_OF_F32(name) PRODUCT_DEFINE(name, PRODUCT_CASE_F32)
#define PRODUCT_OF_WIDE(name) PRODUCT_DEFINE(name, PRODUCT_CASE_WIDE)
#define PRODUCT_OF_BF16(name) PRODUCT_DEFINE(name, PRODUCT_CASE_BF16)
#define PRODUCT_OF_BYTES(name) PRODUCT_DEFINE(name, PRODUCT_CASE_BYTES)

/* An engine of interleaved blocks: panels of one dtype, blocks of another (kernel_engine.h). */
#define PRODUCT_ENGINE(name, panel_dtype, block_dtype, bytes_fn, take_fn, product_fn)              \
	static const struct engine name = {.panel = panel_dtype,                                   \
		.block = block_dtype,                                                              \
		.rows = PRODUCT_ROWS,                                                              \
		.block_bytes = bytes_fn,                                                           \
		.take = take_fn,                                                                   \
		.product = product_fn};
