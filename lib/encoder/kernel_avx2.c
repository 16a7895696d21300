/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_avx2.c - f32, bf16 weights widened to f32, and int8: any CPU with AVX2 and FMA
 *
 * There is no byte dot product here, and vpmaddubsw saturates, so bytes are widened to 16 bits:
 * the sums are the same integers as on every other instruction set.
 */
#include "lib/encoder/kernel_product.h"
#include "lib/encoder/kernel_table.h"

/* 3 rows of 16 columns, two partial sums each, are 12 registers. */
enum { PAIR_ROWS = 3, PAIR_VECTORS = 4 };

/* Partial sums of 8 columns to sums of 8 columns: of 0 1 | 2 3 and 4 5 | 6 7, in order. */
static ALWAYS_INLINE vi
pair_sums(vi a, vi b)
{
	return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}

static ALWAYS_INLINE void
pair_pass(uint32_t *tile, size_t stride, const uint32_t *a, const uint8_t *panel, size_t units,
	const unsigned rows)
{
	vi sum[PAIR_ROWS][PAIR_VECTORS];

	UNROLL
	for (unsigned r = 0; r < rows; r++)
		for (unsigned v = 0; v < PAIR_VECTORS; v++)
			sum[r][v] = vi_set(0);
	for (size_t u = 0; u < units; u++, panel += IMAGE_ROW_BYTES, a += rows) {
		vi x[PAIR_ROWS];

		_mm_prefetch((const char *)panel + PRODUCT_AHEAD, _MM_HINT_T0);
		UNROLL
		for (unsigned r = 0; r < rows; r++)
			x[r] = _mm256_cvtepu8_epi16(_mm_set1_epi32((int)a[r]));
		UNROLL
		for (unsigned v = 0; v < PAIR_VECTORS; v++) {
			vi b = _mm256_cvtepi8_epi16(
				_mm_loadu_si128((const __m128i *)(panel + v * 16)));

			UNROLL
			for (unsigned r = 0; r < rows; r++)
				sum[r][v] = vi_add(sum[r][v], _mm256_madd_epi16(x[r], b));
		}
	}
	UNROLL
	for (unsigned r = 0; r < rows; r++) {
		vi_store(tile + r * stride, pair_sums(sum[r][0], sum[r][1]));
		vi_store(tile + r * stride + VF_LANES, pair_sums(sum[r][2], sum[r][3]));
	}
}

static void
product_pairs(void *tile, size_t stride, const void *block, const uint8_t *panel, size_t units,
	unsigned rows)
{
	for (size_t at = 0; at < IMAGE_ROW_BYTES; at += PRODUCT_PASS_BYTES) {
		uint32_t *to = (uint32_t *)tile + at / 4;

		if (rows == 1)
			pair_pass(to, stride, block, panel + at, units, 1);
		else if (rows == 2)
			pair_pass(to, stride, block, panel + at, units, 2);
		else
			pair_pass(to, stride, block, panel + at, units, 3);
	}
}

static const struct engine engine_pairs = {.panel = ENCODER_I8,
	.block = ENCODER_I8,
	.rows = PAIR_ROWS,
	.block_bytes = take_block_bytes,
	.take = take_i8,
	.product = product_pairs};

PRODUCT_OF_F32(product_f32)
PRODUCT_OF_WIDE(product_wide)
PRODUCT_ENGINE(engine_f32, ENCODER_F32, ENCODER_F32, take_block_bytes, take_f32, product_f32)
PRODUCT_ENGINE(
	engine_wide, ENCODER_BF16, ENCODER_F32, take_wide_block_bytes, take_wide, product_wide)

KERNEL_TABLE(avx2_f32, ENCODER_ISA_AVX2, ENCODER_F32, KERNEL_CPU_AVX2, engine_f32, engine_f32)
KERNEL_TABLE(avx2_bf16, ENCODER_ISA_AVX2, ENCODER_BF16, KERNEL_CPU_AVX2, engine_wide, engine_f32)
KERNEL_TABLE(avx2_i8, ENCODER_ISA_AVX2, ENCODER_I8, KERNEL_CPU_AVX2, engine_pairs, engine_f32)
